//! The plans of the tests, their shaders, and how they are opened.

use drupe_format::plan::{
    BufferId, DeviceNeeds, ExprId, Range, SelfTest, Shader, ShaderId, ShaderVariant, StepOp, StepResult, SymbolSource,
    TestValue,
};
use drupe_format::{DType, ExprOp, Plan, test_pattern};
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};
use drupe_runtime_gpu::{Choice, Gpu, GpuOptions};

use crate::support::Maker;

/// `out = a + factor * w[i % 64]` over `n` floats: numbers are n, tasks, 0, 0, factor.
pub const AFFINE: &str = "
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
struct Numbers { all: array<vec4<i32>, 2> }
@group(0) @binding(3) var<uniform> numbers: Numbers;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let task = group.x + group.y * groups.x;
    if (task >= u32(numbers.all[0].y)) { return; }
    let index = task * 64u + local;
    if (index >= u32(numbers.all[0].x)) { return; }
    out[index] = a[index] + f32(numbers.all[1].x) * w[index % 64u];
}
";

/// The factor in the plans of this file.
pub const FACTOR: f32 = 3.0;

/// SPIR-V of a WGSL text.
pub fn spirv(wgsl: &str) -> Vec<u8> {
    use naga::back::spv;
    let module = naga::front::wgsl::parse_str(wgsl).expect("valid WGSL");
    let capabilities = naga::valid::Capabilities::all();
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).expect("valid module");
    let options = spv::Options { flags: spv::WriterFlags::empty(), ..spv::Options::default() };
    let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    let words = spv::write_vec(&module, &info, &options, Some(&entry)).expect("writable");
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A program being made: a CPU plan and device plans of the same interface, and their shaders.
pub struct Model {
    cpu: Maker,
    devices: Vec<Plan>,
    texts: Vec<u8>,
    big: bool,
}

/// The ids that steps of a device plan need.
pub struct Ids {
    pub n: ExprId,
    pub bytes: ExprId,
    pub x: BufferId,
    pub w: BufferId,
    pub y: BufferId,
    /// A constant of `BIG` times 0.5, if the model has it.
    pub big: Option<BufferId>,
}

/// Elements of the large constant: more bytes than cross to the device at once.
pub const BIG: usize = 5_000_001;

fn start(big: bool) -> (Maker, Ids) {
    let mut make = Maker::new("affine");
    // The kernel that doubles needs it.
    make.plan.scratch = make.number(64);
    let n = make.symbol("n", 0, 1 << 40, SymbolSource::Input);
    let bytes = make.times(n, 4);
    let x = make.input("x", DType::F32, &[n], bytes);
    let w = make.constant("w", &(0..64).map(|index| index as f32).collect::<Vec<_>>());
    let big = big.then(|| make.constant("big", &vec![0.5; BIG]));
    let y = make.output_buffer("y", DType::F32, &[n], bytes);
    (make, Ids { n, bytes, x, w, y, big })
}

impl Model {
    /// The CPU's plan is no more than a pass of a kernel: what it computes does not matter here.
    pub fn new() -> Model {
        Model::with(false)
    }

    /// [`Model::new`], with the large constant or without.
    pub fn with(big: bool) -> Model {
        let (mut cpu, ids) = start(big);
        cpu.kernel(1, ids.n, &[ids.x, ids.y]);
        Model { cpu, devices: Vec::new(), texts: Vec::new(), big }
    }

    pub fn variant(&mut self, wgsl: &str, features: &[&str]) -> ShaderVariant {
        let features = features.iter().map(|&feature| feature.into()).collect();
        ShaderVariant { features, ..self.variant_of(&spirv(wgsl)) }
    }

    /// A variant of this SPIR-V.
    pub fn variant_of(&mut self, bytes: &[u8]) -> ShaderVariant {
        let spirv = Range { offset: self.texts.len() as u64, len: bytes.len() as u64 };
        self.texts.extend(bytes);
        ShaderVariant { features: vec![], spirv, msl: Range::default(), wgsl: Range::default() }
    }

    /// The shader `AFFINE` as the only variant, without a test.
    pub fn affine(&mut self) -> Shader {
        let variant = self.variant(AFFINE, &[]);
        Shader {
            name: "affine".into(),
            source: None,
            workgroup: 64,
            writes: vec![false, false, true],
            dims: 5,
            variants: vec![variant],
            test: None,
        }
    }

    /// Adds a device plan whose steps `steps` makes.
    pub fn device(&mut self, shader: Shader, steps: impl FnOnce(&mut Maker, &Ids)) -> &mut Plan {
        let (mut make, ids) = start(self.big);
        make.plan.device = Some(DeviceNeeds {
            name: format!("test-{}", self.devices.len()),
            features: vec![],
            workgroup_bytes: 0,
            invocations: 64,
            storage_buffers: 3,
            binding_bytes: 4096,
        });
        make.plan.shaders = vec![shader];
        steps(&mut make, &ids);
        make.complete();
        self.devices.push(make.plan);
        self.devices.last_mut().expect("just added")
    }

    /// A device plan of one shader step between copies, then a kernel that doubles: `y = 2 * (x + factor * w)`.
    pub fn usual(&mut self, shader: Shader) -> &mut Plan {
        self.device(shader, |make, ids| {
            let sum = make.arena("sum", ids.bytes);
            copy(make, ids, StepOp::Upload, ids.x);
            affine_step(make, ids, [ids.x, ids.w, sum], FACTOR as i64);
            copy(make, ids, StepOp::Download, sum);
            make.kernel(1, ids.n, &[sum, ids.y]);
        })
    }

    pub fn bytes(self) -> Vec<u8> {
        let devices: Vec<&Plan> = self.devices.iter().collect();
        self.cpu.finish_with(&devices, &self.texts)
    }

    pub fn program(self) -> Program {
        Program::from_bytes(&self.bytes(), &LoadOptions::default()).expect("valid artifact")
    }
}

pub fn copy(make: &mut Maker, ids: &Ids, op: StepOp, buffer: BufferId) {
    let one = make.number(1);
    make.step(op, &[(buffer, ids.bytes, false)], &[], one);
}

pub fn affine_step(make: &mut Maker, ids: &Ids, args: [BufferId; 3], factor: i64) {
    let (zero, factor, all, group) = (make.number(0), make.number(factor), make.number(256), make.number(64));
    let up = make.number(63);
    let sum = make.exprs.binary(ExprOp::Add, ids.n, up).expect("small");
    let tasks = make.exprs.binary(ExprOp::FloorDiv, sum, group).expect("small");
    let args: Vec<_> = args
        .iter()
        .enumerate()
        .map(|(index, &buffer)| (buffer, if buffer == ids.w { all } else { ids.bytes }, index == 2))
        .collect();
    let result = args[2].0;
    make.step(StepOp::Shader(ShaderId(0)), &args, &[ids.n, tasks, zero, zero, factor], tasks);
    let name = make.plan.buffers[result.index()].name.clone();
    let step = make.plan.steps.last_mut().expect("just added");
    step.result = Some(StepResult { name, dtype: DType::F32, shape: vec![ids.n], buffer: result });
}

/// The test of the shader `AFFINE`: 100 numbers, of which the first task does 64.
pub fn affine_test() -> SelfTest {
    let pattern = |argument, index| f32::from_bits(test_pattern(argument, index, DType::F32) as u32);
    let expected = [0, 1, 63].map(|index| TestValue {
        argument: 2,
        offset: index * 4,
        bits: (pattern(0, index) + 2.0 * pattern(1, index)).to_bits(),
    });
    // The second task has not run.
    let untouched = TestValue { argument: 2, offset: 256, bits: pattern(2, 64).to_bits() };
    SelfTest {
        family: "elementwise".into(),
        dims: vec![100, 2, 0, 0, 2],
        sizes: vec![400, 256, 400],
        dtypes: vec![DType::F32; 3],
        expected: expected.into_iter().chain([untouched]).collect(),
        tolerance: 0.0,
    }
}

pub fn input(count: usize) -> Tensor {
    Tensor::from_slice(&[count], &(0..count).map(|index| index as f32).collect::<Vec<_>>()).expect("as many")
}

/// What the usual plan gives for `input(count)`.
pub fn expected(count: usize) -> Vec<f32> {
    (0..count).map(|index| 2.0 * (index as f32 + FACTOR * (index % 64) as f32)).collect()
}

/// Options that choose software Vulkan; none when the environment says that there is no GPU to test with.
pub fn options() -> Option<GpuOptions> {
    if std::env::var_os("DRUPE_NO_GPU").is_some() {
        eprintln!("skipped: DRUPE_NO_GPU is set");
        return None;
    }
    Some(GpuOptions { adapter: Some("llvmpipe".into()), ..GpuOptions::default() })
}

pub fn open(options: &GpuOptions) -> Gpu {
    Gpu::open(options).unwrap_or_else(|error| {
        panic!("{error}: `./x setup gpu` installs lavapipe; set DRUPE_NO_GPU to skip these tests")
    })
}

pub fn session(gpu: &Gpu, program: &Program) -> Session {
    let (session, choice) = gpu.open_session(program, Options::default()).expect("the CPU at least");
    assert!(matches!(choice, Choice::Gpu { .. }), "{choice:?}");
    session
}

pub fn run(session: &mut Session, count: usize) -> Vec<f32> {
    let outputs = session.run(&[("x", input(count).view())]).unwrap_or_else(|error| panic!("{error}"));
    outputs[0].1.as_slice::<f32>().expect("floats").to_vec()
}
