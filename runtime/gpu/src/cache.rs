//! What is kept in files from one process to the next: compiled shaders, and which variants passed
//! their tests. A file that is missing, damaged or of another driver is as if it were not there.

use std::path::{Path, PathBuf};

use drupe_runtime::Program;
use wgpu::{Features, PipelineCache, PipelineCacheDescriptor};

use crate::gpu::Gpu;

/// First line of a file of variants.
const VARIANTS: &str = "drupe-gpu-variants 1";

/// The files for a program's plan on a device.
pub(crate) struct Cache {
    folder: PathBuf,
    stem: String,
}

impl Cache {
    /// None when the options name no folder.
    pub(crate) fn new(gpu: &Gpu, program: &Program) -> Option<Cache> {
        let folder = gpu.shared.options.cache.clone()?;
        let plan = program.device_plan()?;
        let device = twox_hash::XxHash3_64::oneshot(gpu.full_name().as_bytes());
        let stem = format!("{:016x}-{plan}-{device:016x}", program.fingerprint());
        Some(Cache { folder, stem })
    }

    /// For every shader the variant that is known to be right here.
    pub(crate) fn variants(&self, shaders: usize) -> Option<Vec<usize>> {
        let text = std::fs::read_to_string(self.path("variants")).ok()?;
        let mut lines = text.lines();
        if lines.next() != Some(VARIANTS) {
            return None;
        }
        let variants: Vec<usize> = lines.map(|line| line.parse().ok()).collect::<Option<_>>()?;
        (variants.len() == shaders).then_some(variants)
    }

    pub(crate) fn keep_variants(&self, variants: &[usize]) {
        let lines: String = variants.iter().map(|variant| format!("{variant}\n")).collect();
        self.keep("variants", format!("{VARIANTS}\n{lines}").as_bytes());
    }

    /// The driver's cache of pipelines, with what was kept; and whether anything was.
    pub(crate) fn pipelines(&self, gpu: &Gpu) -> Option<(PipelineCache, bool)> {
        if !gpu.shared.device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let kept = std::fs::read(self.path("pipelines")).ok();
        let data = kept.as_ref().and_then(|bytes| {
            let (sum, data) = bytes.split_first_chunk::<8>()?;
            (u64::from_le_bytes(*sum) == twox_hash::XxHash3_64::oneshot(data)).then_some(data)
        });
        let descriptor = PipelineCacheDescriptor { label: None, data, fallback: true };
        // Safety: the data is what `get_data` gave: the checksum fits and the folder is the user's alone, as the
        // options ask for. That it is of this driver, wgpu checks.
        let cache = unsafe { gpu.shared.device.create_pipeline_cache(&descriptor) };
        Some((cache, data.is_some()))
    }

    pub(crate) fn keep_pipelines(&self, cache: &PipelineCache) {
        if let Some(data) = cache.get_data() {
            let sum = twox_hash::XxHash3_64::oneshot(&data).to_le_bytes();
            self.keep("pipelines", &[&sum[..], &data].concat());
        }
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.stem))
    }

    /// Replaces a file at once or not at all; a failure only means that nothing is kept.
    fn keep(&self, kind: &str, bytes: &[u8]) {
        let path = self.path(kind);
        let new = self.folder.join(format!("{}.{kind}.{}", self.stem, std::process::id()));
        let replace = |folder: &Path| -> std::io::Result<()> {
            std::fs::create_dir_all(folder)?;
            std::fs::write(&new, bytes)?;
            std::fs::rename(&new, &path)
        };
        if replace(&self.folder).is_err() {
            drop(std::fs::remove_file(&new));
        }
    }
}
