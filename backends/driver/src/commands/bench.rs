//! `drupe bench`: how fast a model runs here, and how far that is from what the machine can do.

use crate::commands::bench_language::{self, LanguageBenchArgs};
use crate::commands::devices::session;
use crate::commands::figures::{Figures, StepTimes, Usage};
use crate::commands::inputs::{InputArgs, RandomArgs, views};
use crate::commands::model::{ModelArgs, runtime_error};
use crate::commands::peak;
use crate::console;
use clap::builder::RangedU64ValueParser;
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Session, TensorView};
use drupe_runtime_llm::LanguageModel;
use std::time::{Duration, Instant};

/// Measure a model: latency, kernels against this machine's peak, memory, load time.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe bench mobilenetv2.drupe --threads 2
  drupe bench bert.onnx --shape ids=1,128 --runs 200 --json
  drupe bench detector.drupe --shape image=1,3,320,320
  drupe bench smollm2.drupe --prompt 512 --gen 128

Inputs that are not given are seeded noise. Each kernel's percentage is of the limit that binds it: arithmetic, or
reading as many bytes as a call touches again and again, from the caches if they hold them. Both limits are measured
here, with the same number of threads.")]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    random: RandomArgs,
    /// Threads, with the calling one; 0: as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(..=1024))]
    threads: usize,
    #[command(flatten)]
    language: LanguageBenchArgs,
    /// Runs that are not counted
    #[arg(long, default_value_t = 5)]
    warm_up: usize,
    /// Runs that are counted
    #[arg(long, default_value_t = 50, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Kernels to list, those that take most time first; 0: none, and the machine's limits are not measured
    #[arg(long, default_value_t = 20)]
    kernels: usize,
    /// List steps instead of kernels: one row for every place in the model
    #[arg(long)]
    steps: bool,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let compiled = if self.model.is_artifact() { None } else { Some(self.model.artifact()?) };
        let memory_before = resident_peak();
        console::progress("load");
        let start = Instant::now();
        let program = match &compiled {
            Some(artifact) => self.model.load(artifact)?,
            None => self.model.program()?,
        };
        let opened = start.elapsed();
        if LanguageModel::is_one(&program) {
            let table = (self.kernels, self.steps);
            return bench_language::bench(&self.model, &program, self.threads, &self.language, table, self.json);
        }
        let given = self.inputs.given(program.plan())?;
        let inputs = self.random.complete(program.plan(), given, &self.model.compile.shapes)?;
        let inputs = views(&inputs);
        let start = Instant::now();
        let options = Options { threads: self.threads, ..Options::default() };
        let (mut session, device) =
            session(&self.model.compile, self.model.adapter.as_deref(), &program, options, false)?;
        session.run_views(&inputs).map_err(runtime_error)?;
        let load = opened + start.elapsed();
        let runs = self.time(&mut session, &inputs)?;
        let kernels = match device {
            // The device's clock, which slows runs down.
            Some(_) => self.time_kernels(
                &mut self::session(&self.model.compile, self.model.adapter.as_deref(), &program, options, true)?.0,
                &inputs,
            )?,
            None => self.time_kernels(&mut session, &inputs)?,
        };
        let peak_memory = resident_peak();
        console::progress("measuring this machine's limits");
        let peak = (self.kernels > 0 && device.is_none()).then(|| peak::measure(session.threads())).transpose()?;
        let figures = Figures {
            model: self.model.model.display().to_string(),
            device,
            threads: session.threads(),
            level: program.level().unwrap_or("none").to_owned(),
            load,
            runs,
            kernels,
            memory: session.memory(),
            memory_before,
            peak_memory,
            peak,
        };
        let what = if self.steps { "step" } else { "kernel" };
        console::print(&if self.json { figures.to_json() } else { figures.to_text(self.kernels, what) })
    }

    fn time(&self, session: &mut Session, inputs: &[(&str, TensorView)]) -> Result<Vec<Duration>, Diagnostic> {
        let mut runs = Vec::with_capacity(self.runs);
        for run in 0..self.warm_up + self.runs {
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
        let mut times = StepTimes::default();
        for _ in 0..self.runs.clamp(3, 15) {
            session.run_observed(inputs, &mut |step| times.record(&step)).map_err(runtime_error)?;
        }
        Ok(times.usages(self.steps))
    }
}

/// The most memory that the process has had, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
