//! What a device plan has beyond a CPU plan: what it needs of a device, and its shaders.

use rkyv::{Archive, Deserialize, Serialize};

use crate::dtype::DType;

/// What a device must have to run a device plan.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DeviceNeeds {
    /// The target the plan was scheduled for, for people: `gpu-mobile`.
    pub name: String,
    /// What every shader may use: `f16`, `int64`, `int8`, `subgroups`. A runtime takes a name that it does not know as
    /// missing.
    pub features: Vec<String>,
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Most invocations of a workgroup.
    pub invocations: u32,
    /// Most storage buffers of a shader.
    pub storage_buffers: u32,
    /// Bytes of the largest argument of a shader; in a plan with symbols of the usual largest, and
    /// binding sizes that give more to a device that cannot is an error.
    pub binding_bytes: u64,
}

/// A function for the device: `grid` workgroups of it are a step. Its arguments are storage
/// buffers at bindings `0..writes.len()` of group 0, all of them declared read_write. If it takes
/// numbers, the next binding is a uniform buffer: an array of `dims.div_ceil(4)` vectors of four
/// i32, number k in component `k % 4` of element `k / 4`. The workgroup with the number
/// `id.x + id.y * count.x` does the task of that number; there may be more workgroups than tasks,
/// and those have nothing to do. The entry point is `main`, in MSL `main_`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Shader {
    /// For people and profilers.
    pub name: String,
    /// Kernel IR text for `drupe inspect`.
    pub source: Option<String>,
    /// Invocations of a workgroup, all along x.
    pub workgroup: u32,
    /// For every argument whether it is written.
    pub writes: Vec<bool>,
    /// Numbers it takes.
    pub dims: u32,
    /// Ways to do the same, best first; at least one.
    pub variants: Vec<ShaderVariant>,
    /// What it must compute on a device before that device is trusted with it.
    pub test: Option<SelfTest>,
}

/// A shader's texts for one set of features. At least one of them is there.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ShaderVariant {
    /// What it uses beyond [`DeviceNeeds::features`].
    pub features: Vec<String>,
    /// SPIR-V words, little-endian; offset and length are multiples of 4.
    pub spirv: Range,
    /// Metal shading language, UTF-8.
    pub msl: Range,
    /// WebGPU shading language, UTF-8.
    pub wgsl: Range,
}

/// Bytes of the shaders section; none of them (`len` 0) when a text is not there.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[rkyv(derive(Debug, Clone, Copy))]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// What a shader gives on arguments filled by [`crate::test_pattern`]: a driver that compiles it
/// wrongly is found before it is used. Task 0 runs, alone, once.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct SelfTest {
    /// What kind of shader it is, for people: `matmul f32 tiled`.
    pub family: String,
    /// The numbers it is given.
    pub dims: Vec<i32>,
    /// Bytes of every argument.
    pub sizes: Vec<u64>,
    /// Element type of every argument, as it is filled.
    pub dtypes: Vec<DType>,
    /// What must be there afterwards.
    pub expected: Vec<TestValue>,
    /// For floats: by how much a value may be off, as a part of the larger of it and 1. 0 means that
    /// it must be equal. Integers always must.
    pub tolerance: f32,
}

/// An element that a test looks at.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy))]
pub struct TestValue {
    /// The argument.
    pub argument: u32,
    /// First byte of the element in it, a multiple of its size.
    pub offset: u64,
    /// The element's bits; of integers of 64 bits the lower 32. There are none of type f64.
    pub bits: u32,
}
