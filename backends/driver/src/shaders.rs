//! Shaders of a program: emitted, and as rows of its plan.

use drupe_format::plan::{self, DeviceNeeds};
use drupe_gpu::{Needs, Shader};
use drupe_ir::Diagnostic;
use drupe_kernel::Kernel;
use drupe_lower::{Program, ShaderVariants, Work};
use drupe_target::{Gpu, Os, Target};
use std::collections::HashMap;

/// One kernel as a GPU takes it, in ways that do the same.
#[derive(Clone, Debug)]
pub struct ShaderCode {
    /// Best first; at least one.
    pub variants: Vec<Shader>,
    /// What it must compute on a device, where it is the one of its family to be tested.
    pub(crate) test: Option<plan::SelfTest>,
}

/// The shaders of `program`, for its target's GPU.
pub(crate) fn emit(program: &Program, target: &Target) -> Result<Vec<ShaderCode>, Diagnostic> {
    let has = |feature: &str| target.gpu.as_ref().is_some_and(|gpu| gpu.has(feature));
    let (subgroups, int8_dot) = (has("subgroups"), has("int8-dot"));
    // So that scales of weights ask nothing of a device.
    let unpack_halves = target.os == Os::Browser && !has("f16");
    let ways = |differs: bool| if differs { [true, false].as_slice() } else { &[false] };
    let emit = |kernel: &Kernel, options: &drupe_gpu::Options| {
        drupe_gpu::emit(kernel, options).map_err(|error| Diagnostic::new("gpu", error))
    };
    let code = |shader: &ShaderVariants| {
        // No browser has tiles.
        let tiled = shader.cooperative.iter().filter(|_| target.os != Os::Browser);
        let mut variants = tiled.map(|kernel| emit(kernel, &Default::default())).collect::<Result<Vec<_>, _>>()?;
        let kernel = &shader.plain;
        // Only what combines values across a workgroup differs by the one, and what multiplies octets by the other.
        for subgroups in ways(subgroups && kernel.combines_across()) {
            for int8_dot in ways(int8_dot && kernel.multiplies_octets()) {
                let (subgroups, int8_dot) = (*subgroups, *int8_dot);
                let options = drupe_gpu::Options { subgroups, int8_dot, unpack_halves, ..Default::default() };
                variants.push(emit(kernel, &options)?);
            }
        }
        Ok(ShaderCode { variants, test: None })
    };
    program.shaders.iter().map(code).collect()
}

/// The shaders section as it grows; equal texts are there once.
#[derive(Default)]
pub(crate) struct Texts {
    /// The section.
    pub bytes: Vec<u8>,
    seen: HashMap<Vec<u8>, plan::Range>,
}

impl Texts {
    fn add(&mut self, text: Vec<u8>) -> plan::Range {
        if text.is_empty() {
            return plan::Range::default();
        }
        if let Some(range) = self.seen.get(&text) {
            return *range;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let range = plan::Range { offset: self.bytes.len() as u64, len: text.len() as u64 };
        self.bytes.extend(&text);
        self.seen.insert(text, range);
        range
    }
}

impl ShaderCode {
    /// The plan's row, with the texts added to `texts`: in the language that GPUs take on `os`, and in WGSL for where
    /// a driver cannot be given that.
    pub(crate) fn row(&self, texts: &mut Texts, os: Os) -> plan::Shader {
        let first = &self.variants[0];
        let (vulkan, metal) = match os {
            Os::Linux | Os::Android | Os::Windows => (true, false),
            Os::Ios | Os::Macos => (false, true),
            Os::Browser => (false, false),
        };
        let words = |shader: &Shader| shader.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
        let variants = self.variants.iter().map(|shader| plan::ShaderVariant {
            features: features(shader.needs).into_iter().map(Into::into).collect(),
            spirv: texts.add(if vulkan { words(shader) } else { Vec::new() }),
            msl: texts.add(shader.msl.clone().filter(|_| metal).unwrap_or_default().into_bytes()),
            wgsl: texts.add(shader.wgsl.clone().unwrap_or_default().into_bytes()),
        });
        plan::Shader {
            name: first.name.clone(),
            source: None,
            workgroup: first.workgroup,
            writes: first.writes.clone(),
            dims: first.dims,
            variants: variants.collect(),
            test: self.test.clone(),
        }
    }
}

/// What a shader needs, as plans call it.
fn features(needs: Needs) -> Vec<&'static str> {
    let all = [
        ("cooperative-16", needs.cooperative == Some(16)),
        ("cooperative-8", needs.cooperative == Some(8)),
        ("f16", needs.f16),
        ("f64", needs.float64),
        ("int64", needs.int64),
        ("int8-dot", needs.int8_dot),
        ("subgroups", needs.subgroups),
    ];
    all.into_iter().filter_map(|(name, needed)| needed.then_some(name)).collect()
}

/// What a device must have for the plan of `program`.
pub(crate) fn needs(program: &Program, shaders: &[ShaderCode], target: &Target, gpu: &Gpu) -> DeviceNeeds {
    // Features that every variant of some shader uses.
    let mut features: Vec<String> = Vec::new();
    for code in shaders {
        for name in self::features(code.variants[0].needs) {
            let always = code.variants.iter().all(|shader| self::features(shader.needs).contains(&name));
            if always && !features.iter().any(|known| known == name) {
                features.push(name.into());
            }
        }
    }
    features.sort();
    let shared = |kernel: &Kernel| -> u32 {
        kernel.shared.iter().map(|array| array.dtype.bytes_of(array.length as usize) as u32).sum()
    };
    // Devices that run tiles have the memory for them.
    let kernels = || program.shaders.iter().map(|shader| &shader.plain);
    let steps = program.steps.iter().filter(|step| matches!(step.work, Work::Shader(_)));
    let states = program.state_buffers();
    let most = |symbol: &str| program.symbols.get(symbol).map(|range| range.max as i64);
    let sizes = steps.flat_map(|step| &step.args).map(|arg| {
        let bytes = &program.buffers[arg.buffer.0].bytes;
        // A state is bound whole, with all the rows that there can be.
        if states.contains(&arg.buffer) { bytes.eval(&most).ok() } else { bytes.as_const() }
    });
    DeviceNeeds {
        name: format!("{}, {}", target.name, gpu.name),
        features,
        workgroup_bytes: kernels().map(shared).max().unwrap_or(0),
        invocations: kernels().map(|kernel| kernel.workgroup).max().unwrap_or(1),
        storage_buffers: kernels().map(|kernel| kernel.buffers.len() as u32).max().unwrap_or(0),
        binding_bytes: sizes.map(|size| size.unwrap_or(0) as u64).max().unwrap_or(0),
    }
}
