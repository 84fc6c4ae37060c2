//! An open device, shared by the sessions on it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use drupe_format::plan::{ArchivedDeviceNeeds, ArchivedPlan, ArchivedShader, ArchivedShaderVariant};
use drupe_runtime::{Device, DeviceError, Program};
use wgpu::{DeviceDescriptor, ExperimentalFeatures, Features};

use crate::constants::Batch;
use crate::faults::Faults;
use crate::info::{DeviceInfo, DeviceKind, adapters, describe, plan_features, takes_whole_subgroups};
use crate::load::Loaded;
use crate::priority::open_low;
use crate::runner::Runner;
use crate::submit::Signal;

/// How to choose and use a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Part of the name of the device to use; none for the best GPU.
    pub adapter: Option<String>,
    /// Whether software that acts as a GPU may be used though it is not named.
    pub software: bool,
    /// A folder, of this user alone, for compiled shaders and the results of their tests; none to keep
    /// nothing. It is made when missing. What is there is trusted like the artifact.
    pub cache: Option<PathBuf>,
    /// The longest wait for the device: 60 s unless changed.
    pub time_limit: Duration,
    /// Dispatches after which work is given to the device even if nothing waits for it; none
    /// for as late as possible. Small numbers, as 8, leave gaps for others who use the device, such
    /// as a phone's screen, and cost some microseconds each.
    pub dispatches_per_submit: Option<NonZeroU32>,
    /// Whether all others who use the device go first, if it has queues of such priority:
    /// [`DeviceInfo::low_priority`]. Without them, or on top, `dispatches_per_submit` leaves gaps.
    pub low_priority: bool,
    /// Whether to measure each dispatch by the device's clock, if it has one. Makes runs slower: every
    /// dispatch is then a pass of its own.
    pub timestamps: bool,
}

impl Default for GpuOptions {
    fn default() -> GpuOptions {
        GpuOptions {
            adapter: None,
            software: false,
            cache: None,
            time_limit: Duration::from_secs(60),
            dispatches_per_submit: None,
            low_priority: false,
            timestamps: false,
        }
    }
}

/// An open device. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) info: DeviceInfo,
    pub(crate) adapter: wgpu::AdapterInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    /// None where wgpu's waits alone have to do.
    pub(crate) signal: Option<Signal>,
    pub(crate) options: GpuOptions,
    pub(crate) faults: Arc<Faults>,
    /// What is loaded for which program and plan, as long as a session has it.
    loaded: Mutex<Vec<(u64, usize, Weak<Loaded>)>>,
}

/// The text that a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Spirv,
    Msl,
    Wgsl,
}

impl Gpu {
    /// Opens the device that `options` choose.
    ///
    /// # Errors
    /// When there is none, or the driver refuses.
    pub fn open(options: &GpuOptions) -> Result<Gpu, DeviceError> {
        let wanted = |info: &DeviceInfo| match &options.adapter {
            Some(name) => info.name.to_lowercase().contains(&name.to_lowercase()),
            None => options.software || info.kind != DeviceKind::Software,
        };
        let adapters = adapters();
        let usable = |adapter: &&wgpu::Adapter| {
            let info = describe(adapter);
            info.takes_shaders && wanted(&info)
        };
        let none = || DeviceError::NoDevice { name: options.adapter.clone() };
        let adapter = adapters.iter().find(usable).ok_or_else(none)?;
        let beside = Features::PASSTHROUGH_SHADERS | Features::PIPELINE_CACHE | Features::TIMESTAMP_QUERY;
        let wanted = adapter.features() & (plan_features() | beside);
        let opened = open_with(adapter, wanted, options.low_priority).or_else(|error| {
            // Some drivers list sizes of cooperative matrices, and refuse them.
            let others = wanted - Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            if others == wanted { Err(error) } else { open_with(adapter, others, options.low_priority) }
        });
        let (device, queue) = opened.map_err(DeviceError::Driver)?;
        let mut info = describe(adapter);
        if !device.features().contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            info.features.retain(|name| !takes_whole_subgroups(name));
        }
        let (faults, signal) = (Faults::of(&device), Signal::new(&device));
        let shared = Shared {
            info,
            adapter: adapter.get_info(),
            device,
            queue,
            signal,
            options: options.clone(),
            faults,
            loaded: Mutex::default(),
        };
        Ok(Gpu { shared: Arc::new(shared) })
    }

    /// What the device is.
    pub fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    /// The program with its first device plan that this device can run.
    ///
    /// # Errors
    /// For every device plan the reason why it cannot run here; none if there is no device plan.
    pub fn pick(&self, program: &Program) -> Result<Program, Vec<(usize, DeviceError)>> {
        let mut refused = Vec::new();
        for index in 0..program.device_plans() {
            let Some(candidate) = program.for_device_plan(index) else { continue };
            match self.meets(candidate.plan()) {
                Ok(()) => return Ok(candidate),
                Err(why) => refused.push((index, why)),
            }
        }
        Err(refused)
    }

    /// Compiles and tests the shaders of a program's device plan and uploads its constants. A second
    /// session of the same program and plan shares them, and one of another entry shares the constants.
    ///
    /// # Errors
    /// When the device does not meet the plan's needs, computes a shader wrongly, or fails.
    pub fn prepare(&self, program: &Program) -> Result<Box<dyn Device>, DeviceError> {
        let index = program.device_plan().ok_or(DeviceError::CpuPlan)?;
        self.meets(program.plan())?;
        self.shared.faults.check()?;
        let key = (program.fingerprint(), index);
        let mut all = self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, _, loaded)| loaded.strong_count() > 0);
        let known = all.iter().find(|(program, plan, _)| (*program, *plan) == key);
        let loaded = match known.and_then(|(_, _, loaded)| loaded.upgrade()) {
            Some(loaded) => loaded,
            None => {
                let others = all.iter().filter(|(program, _, _)| *program == key.0);
                let uploaded = batches(others.map(|(_, _, loaded)| loaded));
                let loaded = Arc::new(Loaded::new(self, program, uploaded)?);
                all.push((key.0, key.1, Arc::downgrade(&loaded)));
                loaded
            }
        };
        Ok(Box::new(Runner::new(self.clone(), loaded)?))
    }

    /// Bytes of constants on the device, of all programs that there are sessions of.
    pub fn constant_bytes(&self) -> u64 {
        let all = self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        batches(all.iter().map(|(_, _, loaded)| loaded)).iter().map(|batch| batch.bytes()).sum()
    }

    /// Gives the device and its memory back at once, as an app may have to in the background. Every clone and
    /// session of it then fails with [`DeviceError::Lost`].
    pub fn destroy(&self) {
        self.shared.faults.lose("it was given back".into());
        self.shared.device.destroy();
    }

    /// Whether the device has what the plan needs.
    pub(crate) fn meets(&self, plan: &ArchivedPlan) -> Result<(), DeviceError> {
        let needs = plan.device.as_ref().ok_or(DeviceError::CpuPlan)?;
        if let Some(feature) = needs.features.iter().find(|name| !self.has(name)) {
            return Err(DeviceError::MissingFeature { feature: feature.as_str().into() });
        }
        self.within(needs)?;
        for shader in plan.shaders.iter() {
            self.variants(shader).map(|_| ())?;
        }
        Ok(())
    }

    fn within(&self, needs: &ArchivedDeviceNeeds) -> Result<(), DeviceError> {
        let limits = &self.shared.info.limits;
        for (what, need, has) in [
            ("bytes of workgroup memory", needs.workgroup_bytes.to_native().into(), limits.workgroup_bytes.into()),
            ("invocations of a workgroup", needs.invocations.to_native().into(), limits.invocations.into()),
            ("storage buffers", needs.storage_buffers.to_native().into(), limits.storage_buffers.into()),
            ("bytes of an argument", needs.binding_bytes.to_native(), limits.binding_bytes),
        ] {
            if need > has {
                return Err(DeviceError::Limit { what, need, has });
            }
        }
        Ok(())
    }

    /// Whether the device has `feature` for workgroups of `workgroup`.
    fn has_for(&self, feature: &str, workgroup: u32) -> bool {
        let most = self.shared.info.subgroup.1.max(1);
        self.has(feature) && (workgroup.is_multiple_of(most) || !takes_whole_subgroups(feature))
    }

    fn has(&self, feature: &str) -> bool {
        self.shared.info.features.contains(&feature)
    }

    /// The variants of a shader that this device can run, best first, with their positions; at least
    /// one.
    pub(crate) fn variants<'a>(
        &self,
        shader: &'a ArchivedShader,
    ) -> Result<Vec<(usize, &'a ArchivedShaderVariant)>, DeviceError> {
        let language = self.language();
        let mut missing = None;
        let mut usable = Vec::new();
        for (index, variant) in shader.variants.iter().enumerate() {
            let text = match language {
                Language::Spirv => &variant.spirv,
                Language::Msl => &variant.msl,
                Language::Wgsl => &variant.wgsl,
            };
            let workgroup = shader.workgroup.to_native();
            let lacks = variant.features.iter().find(|name| !self.has_for(name, workgroup));
            match lacks {
                Some(feature) => missing = Some(feature.as_str().to_owned()),
                None if text.len == 0 => {}
                None => usable.push((index, variant)),
            }
        }
        match missing {
            _ if !usable.is_empty() => Ok(usable),
            Some(feature) => Err(DeviceError::MissingFeature { feature }),
            None => Err(DeviceError::NoText { shader: shader.name.as_str().into(), language: language.name() }),
        }
    }

    pub(crate) fn language(&self) -> Language {
        let passes = self.shared.device.features().contains(Features::PASSTHROUGH_SHADERS);
        match self.shared.adapter.backend {
            wgpu::Backend::Vulkan if passes => Language::Spirv,
            wgpu::Backend::Metal if passes => Language::Msl,
            wgpu::Backend::Vulkan
            | wgpu::Backend::Metal
            | wgpu::Backend::Noop
            | wgpu::Backend::Dx12
            | wgpu::Backend::Gl
            | wgpu::Backend::BrowserWebGpu => Language::Wgsl,
        }
    }

    /// The device with its driver, for people and to name what is cached.
    pub(crate) fn full_name(&self) -> String {
        format!("{} ({}, {})", self.shared.info.name, self.shared.info.backend, self.shared.info.driver)
    }
}

/// The device with these features, and its queue, of low priority where that is wanted and there is such.
fn open_with(adapter: &wgpu::Adapter, features: Features, low: bool) -> Result<(wgpu::Device, wgpu::Queue), String> {
    let description = DeviceDescriptor {
        label: Some("drupe"),
        required_features: features,
        required_limits: adapter.limits(),
        // Safety: what is experimental of cooperative matrices is how wgpu reads shaders, and it is given none to
        // read: they go to the driver as they are.
        experimental_features: unsafe { ExperimentalFeatures::enabled() },
        ..DeviceDescriptor::default()
    };
    let low = low.then(|| open_low(adapter, &description)).flatten();
    let usual = || pollster::block_on(adapter.request_device(&description)).map_err(|error| error.to_string());
    low.unwrap_or_else(usual)
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.full_name())
    }
}

/// The constants of what is loaded, each batch once.
fn batches<'a>(all: impl Iterator<Item = &'a Weak<Loaded>>) -> Vec<Arc<Batch>> {
    let mut found: Vec<Arc<Batch>> = Vec::new();
    for loaded in all.filter_map(Weak::upgrade) {
        for batch in loaded.constants.batches() {
            if !found.iter().any(|known| Arc::ptr_eq(known, batch)) {
                found.push(batch.clone());
            }
        }
    }
    found
}

impl Language {
    fn name(self) -> &'static str {
        match self {
            Language::Spirv => "SPIR-V",
            Language::Msl => "MSL",
            Language::Wgsl => "WGSL",
        }
    }
}
