//! `drupe bench`: how fast a model runs here, and how far that is from what the machine can do.

use crate::commands::inputs::{InputArgs, RandomArgs, views};
use crate::commands::model::{ModelArgs, runtime_error};
use crate::commands::peak::{self, Peak};
use crate::commands::table::Table;
use crate::console;
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Session, TensorView};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Measure a model: latency, kernels against this machine's peak, memory, load time.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe bench mobilenetv2.drupe --threads 2
  drupe bench bert.onnx --shape ids=1,128 --runs 200 --json
  drupe bench detector.drupe --shape image=1,3,320,320

Inputs that are not given are seeded noise. Each kernel's percentage is of the limit that binds it: arithmetic or
memory bandwidth, both measured here with the same number of threads.")]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    random: RandomArgs,
    /// Threads, with the calling one; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Runs that are not counted
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Runs that are counted
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// Kernels to list, those that take most time first; 0: none
    #[arg(long, default_value_t = 20)]
    kernels: usize,
    /// List steps instead of kernels: one row for every place in the model
    #[arg(long)]
    steps: bool,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// What was measured.
struct Figures {
    threads: usize,
    level: String,
    load: Duration,
    runs: Vec<Duration>,
    kernels: Vec<Usage>,
    flops: f64,
    memory: drupe_runtime::MemoryUse,
    peak_memory: Option<u64>,
    peak: Option<Peak>,
}

/// All uses of a kernel (or step) in one run.
#[derive(Clone, Debug, Default)]
struct Usage {
    name: String,
    calls: usize,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let compiled = if self.model.is_artifact() { None } else { Some(self.model.artifact()?) };
        console::progress("load");
        let start = Instant::now();
        let program = match &compiled {
            Some(artifact) => self.model.load(artifact)?,
            None => self.model.program()?,
        };
        let opened = start.elapsed();
        let given = self.inputs.given(program.plan())?;
        let inputs = self.random.complete(program.plan(), given, &self.model.compile.shapes)?;
        let inputs = views(&inputs);
        let start = Instant::now();
        let options = Options { threads: self.threads, ..Options::default() };
        let mut session = Session::new(&program, options).map_err(runtime_error)?;
        session.run_views(&inputs).map_err(runtime_error)?;
        let load = opened + start.elapsed();
        let runs = self.time(&mut session, &inputs)?;
        let kernels = self.time_kernels(&mut session, &inputs)?;
        let peak_memory = resident_peak();
        console::progress("measuring this machine's limits");
        let peak = match self.kernels > 0 || self.json {
            true => Some(peak::measure(&self.model.compile.options(false)?, session.threads())?),
            false => None,
        };
        let figures = Figures {
            threads: session.threads(),
            level: program.level().unwrap_or("none").to_owned(),
            load,
            runs,
            flops: kernels.iter().map(|usage| usage.flops).sum(),
            kernels,
            memory: session.memory(),
            peak_memory,
            peak,
        };
        console::print(&if self.json { self.to_json(&figures) } else { self.to_text(&figures) })
    }

    fn time(&self, session: &mut Session, inputs: &[(&str, TensorView)]) -> Result<Vec<Duration>, Diagnostic> {
        let mut runs = Vec::with_capacity(self.runs);
        for run in 0..self.warm_up + self.runs.max(1) {
            if run % 10 == 0 {
                console::progress(&format!("run {run}"));
            }
            let start = Instant::now();
            session.run_views(inputs).map_err(runtime_error)?;
            if run >= self.warm_up {
                runs.push(start.elapsed());
            }
        }
        runs.sort();
        Ok(runs)
    }

    /// Where the time goes: the median of each step over a few runs, steps of one kernel added up.
    fn time_kernels(&self, session: &mut Session, inputs: &[(&str, TensorView)]) -> Result<Vec<Usage>, Diagnostic> {
        let mut steps: Vec<(Usage, Vec<Duration>)> = Vec::new();
        for _ in 0..self.runs.clamp(3, 15) {
            let mut observe = |step: drupe_runtime::StepReport| {
                if steps.len() <= step.index {
                    let name = if self.steps { format!("{} {}", step.name, step.origin) } else { step.name.to_owned() };
                    let (flops, bytes) = (step.flops as f64, step.bytes as f64);
                    steps.push((Usage { name, calls: 1, seconds: 0.0, flops, bytes }, Vec::new()));
                }
                steps[step.index].1.push(step.elapsed);
            };
            session.run_observed(inputs, &mut observe).map_err(runtime_error)?;
        }
        let mut merged: BTreeMap<(usize, String), Usage> = BTreeMap::new();
        for (index, (step, mut times)) in steps.into_iter().enumerate() {
            times.sort();
            let key = (if self.steps { index } else { 0 }, step.name.clone());
            let usage = merged.entry(key).or_insert_with(|| Usage { name: step.name, ..Usage::default() });
            usage.calls += step.calls;
            usage.seconds += times[times.len() / 2].as_secs_f64();
            usage.flops += step.flops;
            usage.bytes += step.bytes;
        }
        let mut kernels: Vec<Usage> = merged.into_values().collect();
        kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(kernels)
    }

    fn to_text(&self, figures: &Figures) -> String {
        let percentile = |percent: usize| figures.percentile(percent);
        let seconds = percentile(50).as_secs_f64();
        let mut text = format!(
            "{}  threads {}  level {}\nmedian {}   p10 {}   p90 {}   ({} runs)   {:.1} GFLOP/s\n",
            self.model.model.display(),
            figures.threads,
            figures.level,
            console::duration(percentile(50)),
            console::duration(percentile(10)),
            console::duration(percentile(90)),
            figures.runs.len(),
            figures.flops / seconds / 1e9,
        );
        let memory = figures.memory;
        text += &format!(
            "open to first result {}\narena {} (no plan needs less than {})   weights {}   code {}   process at most {}\n",
            console::duration(figures.load),
            console::bytes(memory.arena),
            console::bytes(memory.arena_lower_bound),
            console::bytes(memory.constants),
            console::bytes(memory.code),
            figures.peak_memory.map_or("unknown".into(), console::bytes),
        );
        let Some(peak) = figures.peak else { return text };
        text += &format!(
            "this machine: {:.1} GFLOP/s f32, {:.1} GB/s read, {} threads\n\n",
            peak.flops / 1e9,
            peak.bytes / 1e9,
            figures.threads
        );
        let total: f64 = figures.kernels.iter().map(|usage| usage.seconds).sum();
        let what = if self.steps { "step" } else { "kernel" };
        let mut table = Table::new([what, "calls", "ms", "time %", "GFLOP/s", "GB/s", "% of limit"]);
        for usage in figures.kernels.iter().take(self.kernels) {
            table.row([
                usage.name.clone(),
                usage.calls.to_string(),
                format!("{:.3}", usage.seconds * 1e3),
                format!("{:.1}", 100.0 * usage.seconds / total),
                format!("{:.1}", usage.flops / usage.seconds / 1e9),
                format!("{:.1}", usage.bytes / usage.seconds / 1e9),
                format!("{:.0}", 100.0 * usage.share_of(peak)),
            ]);
        }
        let shown = self.kernels.min(figures.kernels.len());
        text += &table.text();
        if shown < figures.kernels.len() {
            text += &format!("  and {} more: --kernels {}\n", figures.kernels.len() - shown, figures.kernels.len());
        }
        text
    }

    fn to_json(&self, figures: &Figures) -> String {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let kernels: Vec<_> = (figures.kernels.iter())
            .map(|usage| {
                json!({
                    "name": usage.name, "calls": usage.calls, "ms": usage.seconds * 1e3,
                    "flops": usage.flops, "bytes": usage.bytes,
                    "share_of_limit": figures.peak.map(|peak| usage.share_of(peak)),
                })
            })
            .collect();
        let value = json!({
            "model": self.model.model.display().to_string(),
            "threads": figures.threads,
            "level": figures.level,
            "runs": figures.runs.len(),
            "median_ms": milliseconds(figures.percentile(50)),
            "p10_ms": milliseconds(figures.percentile(10)),
            "p90_ms": milliseconds(figures.percentile(90)),
            "load_ms": milliseconds(figures.load),
            "flops": figures.flops,
            "arena_bytes": figures.memory.arena,
            "arena_lower_bound_bytes": figures.memory.arena_lower_bound,
            "constant_bytes": figures.memory.constants,
            "code_bytes": figures.memory.code,
            "peak_memory_bytes": figures.peak_memory,
            "machine_flops": figures.peak.map(|peak| peak.flops),
            "machine_read_bytes": figures.peak.map(|peak| peak.bytes),
            "kernels": kernels,
        });
        format!("{value:#}\n")
    }
}

impl Figures {
    fn percentile(&self, percent: usize) -> Duration {
        self.runs[(self.runs.len() - 1) * percent / 100]
    }
}

impl Usage {
    /// Time at the limit that binds, over the time taken.
    fn share_of(&self, peak: Peak) -> f64 {
        (self.flops / peak.flops).max(self.bytes / peak.bytes) / self.seconds
    }
}

/// The most memory that the process has had, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
