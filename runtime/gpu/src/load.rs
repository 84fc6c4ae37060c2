//! What sessions of one plan on one device share: compiled and tested shaders, and the constants.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use drupe_format::plan::{ArchivedShader, ArchivedShaderVariant};
use drupe_runtime::{DeviceError, Program};
use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, BufferBindingType, ComputePipeline,
    ComputePipelineDescriptor, PassthroughShaderEntryPoint, PipelineCache, PipelineCompilationOptions, PipelineLayout,
    PipelineLayoutDescriptor, ShaderModule, ShaderModuleDescriptorPassthrough, ShaderStages,
};

use crate::cache::Cache;
use crate::constants::{Batch, Constants};
use crate::faults::scoped;
use crate::gpu::{Gpu, Language};
use crate::spirv::words;
use crate::test::run_test;

/// Threads that compile shaders: beyond, drivers wait for each other.
const MOST_THREADS: usize = 16;

/// A plan's shaders and constants on a device.
pub(crate) struct Loaded {
    pub(crate) shaders: Vec<Compiled>,
    pub(crate) constants: Constants,
}

/// A shader ready to run.
pub(crate) struct Compiled {
    pub(crate) pipeline: ComputePipeline,
    pub(crate) layout: BindGroupLayout,
}

/// What is used of a shader, and what was found when it was chosen.
struct Taken {
    /// The position of the variant.
    variant: usize,
    compiled: Compiled,
    /// Of each variant that was tried in vain: the features that it has, and the one that is taken has not.
    wrong: Vec<Features>,
}

/// Features, as plans call them.
type Features = Vec<String>;

/// How a shader is bound; the same for all with as many arguments.
struct Signature {
    group: BindGroupLayout,
    pipeline: PipelineLayout,
}

impl Loaded {
    /// `uploaded` are constants of the same program that are on the device already.
    pub(crate) fn new(gpu: &Gpu, program: &Program, uploaded: Vec<Arc<Batch>>) -> Result<Loaded, DeviceError> {
        let plan = program.plan();
        let mut signatures = BTreeMap::new();
        for shader in plan.shaders.iter() {
            let key = key(shader);
            if let Entry::Vacant(place) = signatures.entry(key) {
                place.insert(signature(gpu, key)?);
            }
        }
        let cache = Cache::new(gpu, program);
        let (pipelines, warm) = cache.as_ref().and_then(|cache| cache.pipelines(gpu)).unzip();
        let known = cache.as_ref().and_then(|cache| cache.variants(plan.shaders.len()));
        let job = Job { gpu, program, signatures, cache: pipelines };
        let taken = job.compile_all(known.as_deref())?;
        if let Some(cache) = &cache {
            let variants: Vec<usize> = taken.iter().map(|taken| taken.variant).collect();
            let same = known.is_some_and(|known| known == variants);
            if !same {
                cache.keep_variants(&variants);
            }
            if !same || warm == Some(false) {
                job.cache.iter().for_each(|pipelines| cache.keep_pipelines(pipelines));
            }
        }
        let shaders = taken.into_iter().map(|taken| taken.compiled).collect();
        Ok(Loaded { shaders, constants: Constants::new(gpu, program, uploaded)? })
    }
}

/// What a variant needs.
fn features(variant: &ArchivedShaderVariant) -> Features {
    variant.features.iter().map(|name| name.as_str().to_owned()).collect()
}

fn has_all(variant: &ArchivedShaderVariant, wanted: &Features) -> bool {
    wanted.iter().all(|wanted| variant.features.iter().any(|name| name.as_str() == wanted))
}

/// Number of storage buffers, and whether there are numbers.
fn key(shader: &ArchivedShader) -> (usize, bool) {
    (shader.writes.len(), shader.dims > 0)
}

fn signature(gpu: &Gpu, (arguments, numbers): (usize, bool)) -> Result<Signature, DeviceError> {
    let buffer = |binding, ty| BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    // Arguments of one shader may be ranges of one buffer, which wgpu allows if all are writable.
    let storage = BufferBindingType::Storage { read_only: false };
    let mut entries: Vec<_> = (0..arguments as u32).map(|binding| buffer(binding, storage)).collect();
    if numbers {
        entries.push(buffer(arguments as u32, BufferBindingType::Uniform));
    }
    let device = &gpu.shared.device;
    scoped(device, &gpu.shared.faults, 0, || {
        let group = device.create_bind_group_layout(&BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline = device.create_pipeline_layout(&PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        Signature { group, pipeline }
    })
}

struct Job<'a> {
    gpu: &'a Gpu,
    program: &'a Program,
    signatures: BTreeMap<(usize, bool), Signature>,
    cache: Option<PipelineCache>,
}

impl Job<'_> {
    /// All shaders in order. Those with a test come first: what features they cannot have here, others do without.
    fn compile_all(&self, known: Option<&[usize]>) -> Result<Vec<Taken>, DeviceError> {
        let shaders = &self.program.plan().shaders;
        let (tested, others): (Vec<usize>, _) = (0..shaders.len()).partition(|index| shaders[*index].test.is_some());
        let mut all = self.compile_some(&tested, known, &[])?;
        let wrong: Vec<Features> = all.iter().flat_map(|(_, taken)| taken.wrong.clone()).collect();
        all.extend(self.compile_some(&others, known, &wrong)?);
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, taken)| taken).collect())
    }

    /// The shaders at these positions. Drivers take most of the time, so several threads do it.
    fn compile_some(
        &self,
        which: &[usize],
        known: Option<&[usize]>,
        wrong: &[Features],
    ) -> Result<Vec<(usize, Taken)>, DeviceError> {
        let shaders = &self.program.plan().shaders;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(index) = which.get(next.fetch_add(1, Ordering::Relaxed)) {
                let taken = self.compile(&shaders[*index], known.map(|known| known[*index]), wrong);
                let failed = taken.is_err();
                done.push((*index, taken));
                if failed {
                    next.store(which.len(), Ordering::Relaxed);
                }
            }
            done
        };
        let mut all = std::thread::scope(|scope| {
            let threads = cores.min(MOST_THREADS).min(which.len());
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                all.extend(other.join().map_err(|_| DeviceError::Driver("a shader's compilation panicked".into()))?);
            }
            Ok::<_, DeviceError>(all)
        })?;
        // The first fault, whichever thread met it.
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(index, taken)| Ok((index, taken?))).collect()
    }

    /// The best variant that is right; `known` is one that was, with this driver, and what has all of `wrong` is not, if
    /// there is another.
    fn compile(&self, shader: &ArchivedShader, known: Option<usize>, wrong: &[Features]) -> Result<Taken, DeviceError> {
        let mut variants = self.gpu.variants(shader)?;
        let doubtful = |variant: &ArchivedShaderVariant| wrong.iter().any(|wrong| has_all(variant, wrong));
        variants.sort_by_key(|(_, variant)| doubtful(variant));
        let signature = &self.signatures[&key(shader)];
        let kept = known.and_then(|known| variants.iter().find(|(index, _)| *index == known));
        if let Some(&(index, variant)) = kept
            && let Ok(pipeline) = self.pipeline(shader, variant, signature)
        {
            let compiled = Compiled { pipeline, layout: signature.group.clone() };
            return Ok(Taken { variant: index, compiled, wrong: Vec::new() });
        }
        let (mut fault, mut tried_in_vain) = (None, Vec::<Features>::new());
        for (index, variant) in variants {
            let tried = self.pipeline(shader, variant, signature).and_then(|pipeline| {
                run_test(self.gpu, shader, &pipeline, &signature.group)?;
                Ok(Compiled { pipeline, layout: signature.group.clone() })
            });
            match tried {
                Ok(compiled) => {
                    let taken = features(variant);
                    for tried in &mut tried_in_vain {
                        tried.retain(|name| !taken.contains(name));
                    }
                    tried_in_vain.retain(|wrong| !wrong.is_empty());
                    let wrong = tried_in_vain;
                    return Ok(Taken { variant: index, compiled, wrong });
                }
                Err(error @ (DeviceError::Lost { .. } | DeviceError::Timeout { .. })) => return Err(error),
                Err(error) => {
                    fault = fault.or(Some(error));
                    tried_in_vain.push(features(variant));
                }
            }
        }
        Err(fault.unwrap_or(DeviceError::Driver("a shader has no variant".into())))
    }

    fn pipeline(
        &self,
        shader: &ArchivedShader,
        variant: &ArchivedShaderVariant,
        signature: &Signature,
    ) -> Result<ComputePipeline, DeviceError> {
        let language = self.gpu.language();
        let entry = if language == Language::Msl { "main_" } else { "main" };
        let device = &self.gpu.shared.device;
        let faults = &self.gpu.shared.faults;
        let module = self.module(shader, variant, language, entry)?;
        scoped(device, faults, 0, || {
            device.create_compute_pipeline(&ComputePipelineDescriptor {
                label: Some(&shader.name),
                layout: Some(&signature.pipeline),
                module: &module,
                entry_point: Some(entry),
                // Shaders write all that they read of workgroup memory.
                compilation_options: PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..PipelineCompilationOptions::default()
                },
                cache: self.cache.as_ref(),
            })
        })
    }

    fn module(
        &self,
        shader: &ArchivedShader,
        variant: &ArchivedShaderVariant,
        language: Language,
        entry: &str,
    ) -> Result<ShaderModule, DeviceError> {
        let text = |range| {
            let bytes = self.program.shader_bytes(range);
            let invalid = |_| DeviceError::Driver(format!("the text of shader {:?} is no UTF-8", shader.name.as_str()));
            std::str::from_utf8(bytes).map_err(invalid)
        };
        let workgroup_size = (shader.workgroup.to_native(), 1, 1);
        let entry_points = [PassthroughShaderEntryPoint { name: entry.into(), workgroup_size }];
        let mut descriptor = ShaderModuleDescriptorPassthrough {
            label: Some(shader.name.as_str()),
            entry_points: entry_points.as_slice().into(),
            ..ShaderModuleDescriptorPassthrough::default()
        };
        match language {
            Language::Spirv => {
                let words = words(self.program.shader_bytes(&variant.spirv)).ok_or_else(|| {
                    DeviceError::Driver(format!("the text of shader {:?} is no SPIR-V", shader.name.as_str()))
                })?;
                descriptor.spirv = Some(words.into());
            }
            Language::Msl => descriptor.msl = Some(text(&variant.msl)?.into()),
            Language::Wgsl => return self.parsed(text(&variant.wgsl)?),
        }
        let device = &self.gpu.shared.device;
        scoped(device, &self.gpu.shared.faults, 0, || {
            // Safety: an artifact is code and trusted as such (see `drupe_runtime`); its checksums fit, and its
            // compiler has proved the bounds of its shaders' accesses.
            unsafe { device.create_shader_module_passthrough(descriptor) }
        })
    }

    #[cfg(feature = "wgsl")]
    fn parsed(&self, text: &str) -> Result<ShaderModule, DeviceError> {
        let device = &self.gpu.shared.device;
        let source = wgpu::ShaderSource::Wgsl(text.into());
        scoped(device, &self.gpu.shared.faults, 0, || {
            device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source })
        })
    }

    #[cfg(not(feature = "wgsl"))]
    fn parsed(&self, _: &str) -> Result<ShaderModule, DeviceError> {
        Err(DeviceError::MissingFeature { feature: "the runtime's feature `wgsl`".into() })
    }
}
