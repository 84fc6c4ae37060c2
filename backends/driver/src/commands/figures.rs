//! What `drupe bench` found, as text and as JSON.

use crate::commands::peak::Peak;
use crate::commands::table::Table;
use crate::console;
use drupe_runtime::StepReport;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was measured.
pub(crate) struct Figures {
    pub model: String,
    /// The GPU, if it ran on one.
    pub device: Option<String>,
    pub threads: usize,
    pub level: String,
    pub load: Duration,
    /// Sorted.
    pub runs: Vec<Duration>,
    /// By time, the longest first.
    pub kernels: Vec<Usage>,
    pub memory: drupe_runtime::MemoryUse,
    /// The most memory that the process had before it opened the artifact.
    pub memory_before: Option<u64>,
    pub peak_memory: Option<u64>,
    pub peak: Option<Peak>,
}

/// All uses of a kernel (or one step) in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub name: String,
    /// Of the first use, as the artifact tells it.
    pub origin: String,
    pub calls: usize,
    pub seconds: f64,
    pub flops: f64,
    pub bytes: f64,
}

impl Usage {
    /// Time at the limit that binds over the time taken, and that limit's name.
    fn share_of(&self, peak: &Peak) -> (f64, &'static str) {
        let arithmetic = self.flops / peak.flops;
        let memory = self.bytes / peak.bytes(self.bytes / self.calls as f64);
        let (seconds, limit) = if arithmetic >= memory { (arithmetic, "arithmetic") } else { (memory, "memory") };
        (seconds / self.seconds, limit)
    }

    /// For machines.
    pub(crate) fn to_json(&self, peak: Option<&Peak>) -> serde_json::Value {
        let share = peak.map(|peak| self.share_of(peak));
        json!({
            "name": self.name, "origin": self.origin, "calls": self.calls, "ms": self.seconds * 1e3,
            "flops": self.flops, "bytes": self.bytes,
            "share_of_limit": share.map(|share| share.0), "limit": share.map(|share| share.1),
        })
    }

    /// The node of the model alone, where the origin names one.
    fn place(&self) -> &str {
        self.origin.split('"').nth(1).unwrap_or(&self.origin)
    }
}

/// How long each step of a plan took, in a number of runs, of which some may have more to do than others.
#[derive(Debug, Default)]
pub(crate) struct StepTimes {
    /// A step with the operations and bytes of all runs, and its times.
    steps: Vec<(Usage, Vec<Duration>)>,
}

impl StepTimes {
    /// Takes over a report; those of a run come in order.
    pub(crate) fn record(&mut self, step: &StepReport) {
        if self.steps.len() <= step.index {
            let (name, origin) = (step.name.to_owned(), step.origin.to_owned());
            self.steps.push((Usage { name, origin, calls: 1, ..Usage::default() }, Vec::new()));
        }
        let (usage, times) = &mut self.steps[step.index];
        usage.flops += step.flops as f64;
        usage.bytes += step.bytes as f64;
        times.push(step.elapsed);
    }

    /// The median time of a run, and what it has to do on average; those that take most time first. Of every step, or of
    /// all steps of a kernel together.
    pub(crate) fn usages(self, by_step: bool) -> Vec<Usage> {
        let mut merged: BTreeMap<(usize, String), Usage> = BTreeMap::new();
        for (index, (step, mut times)) in self.steps.into_iter().enumerate() {
            times.sort();
            let key = (if by_step { index } else { 0 }, step.name.clone());
            let first = Usage { name: step.name, origin: step.origin, ..Usage::default() };
            let usage = merged.entry(key).or_insert(first);
            usage.calls += step.calls;
            usage.seconds += times[times.len() / 2].as_secs_f64();
            usage.flops += step.flops / times.len() as f64;
            usage.bytes += step.bytes / times.len() as f64;
        }
        let mut usages: Vec<Usage> = merged.into_values().collect();
        usages.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        usages
    }
}

/// The first `most` of `usages`, a row each under the heading `what`; with what share of the limits they reach, where those
/// are known.
pub(crate) fn usage_table(usages: &[Usage], peak: Option<&Peak>, most: usize, what: &str) -> String {
    let total: f64 = usages.iter().map(|usage| usage.seconds).sum();
    let at = if what == "step" { "at" } else { "first at" };
    let heading = [what, "calls", "ms", "time %", "GFLOP/s", "GB/s", "% of limit", "limit", at];
    let mut table = Table::new(heading);
    for usage in usages.iter().take(most) {
        // Limits are those of the CPU.
        let limit = peak.map(|peak| usage.share_of(peak));
        table.row([
            usage.name.clone(),
            usage.calls.to_string(),
            format!("{:.3}", usage.seconds * 1e3),
            format!("{:.1}", 100.0 * usage.seconds / total),
            format!("{:.1}", usage.flops / usage.seconds / 1e9),
            format!("{:.1}", usage.bytes / usage.seconds / 1e9),
            limit.map_or(String::new(), |(share, _)| format!("{:.0}", 100.0 * share)),
            limit.map_or(String::new(), |(_, limit)| limit.to_owned()),
            usage.place().to_owned(),
        ]);
    }
    let mut text = table.text();
    if most < usages.len() {
        text += &format!("  and {} more: --kernels {}\n", usages.len() - most, usages.len());
    }
    text
}

impl Figures {
    /// For people; the first `most` rows of the table, headed `what`.
    pub(crate) fn to_text(&self, most: usize, what: &str) -> String {
        let (runs, memory) = (self.runs.len(), self.memory);
        let flops = self.flops() / self.percentile(50).as_secs_f64();
        let of_peak = self.peak.as_ref().map(|peak| format!(", {:.0} % of the peak", 100.0 * flops / peak.flops));
        let known = |bytes: Option<u64>| bytes.map_or("unknown".into(), console::bytes);
        let mut text = format!(
            "{}  {}threads {}  level {}\n\
             median {}   p10 {}   p90 {}   ({runs} run{})   {:.1} GFLOP/s{}\n\
             open to first result {}\n\
             arena {} (no plan needs less than {})   scratch {}   weights {}   code {}\n\
             process at most {}, before opening {}\n",
            self.model,
            self.device.as_ref().map_or(String::new(), |device| format!("on {device}  ")),
            self.threads,
            self.level,
            console::duration(self.percentile(50)),
            console::duration(self.percentile(10)),
            console::duration(self.percentile(90)),
            if runs == 1 { "" } else { "s" },
            flops / 1e9,
            of_peak.unwrap_or_default(),
            console::duration(self.load),
            console::bytes(memory.arena),
            console::bytes(memory.arena_lower_bound),
            console::bytes(memory.scratch),
            console::bytes(memory.constants),
            console::bytes(memory.code),
            known(self.peak_memory),
            known(self.memory_before),
        );
        if most == 0 {
            return text;
        }
        if let Some(peak) = &self.peak {
            let rates = peak.reads.iter().map(|(bytes, rate)| format!("{:.0} of {}", rate / 1e9, binary_size(*bytes)));
            text += &format!(
                "this machine, {} thread{}: {:.1} GFLOP/s f32; GB/s when data are read again and again: {}\n",
                self.threads,
                if self.threads == 1 { "" } else { "s" },
                peak.flops / 1e9,
                rates.collect::<Vec<_>>().join(", "),
            );
        }
        text.push('\n');
        text + &usage_table(&self.kernels, self.peak.as_ref(), most, what)
    }

    /// For machines.
    pub(crate) fn to_json(&self) -> String {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let peak = self.peak.as_ref();
        let reads = |peak: &Peak| -> Vec<_> {
            let row = |(bytes, rate): &(f64, f64)| json!({ "footprint_bytes": bytes, "bytes_per_second": rate });
            peak.reads.iter().map(row).collect()
        };
        let value = json!({
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "level": self.level,
            "runs": self.runs.len(),
            "median_ms": milliseconds(self.percentile(50)),
            "p10_ms": milliseconds(self.percentile(10)),
            "p90_ms": milliseconds(self.percentile(90)),
            "load_ms": milliseconds(self.load),
            "flops": self.flops(),
            "arena_bytes": self.memory.arena,
            "arena_lower_bound_bytes": self.memory.arena_lower_bound,
            "scratch_bytes": self.memory.scratch,
            "constant_bytes": self.memory.constants,
            "code_bytes": self.memory.code,
            "peak_memory_bytes": self.peak_memory,
            "memory_before_opening_bytes": self.memory_before,
            "machine_flops": peak.map(|peak| peak.flops),
            "machine_int8_ops": peak.map(|peak| peak.int8_ops),
            "machine_read_bytes": peak.map(Peak::memory),
            "machine_reads": peak.map(reads),
            "kernels": self.kernels.iter().map(|usage| usage.to_json(peak)).collect::<Vec<_>>(),
        });
        format!("{value:#}\n")
    }

    fn flops(&self) -> f64 {
        self.kernels.iter().map(|usage| usage.flops).sum()
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.runs[(self.runs.len() - 1) * percent / 100]
    }
}

/// In KiB or MiB.
fn binary_size(bytes: f64) -> String {
    let kib = bytes / 1024.0;
    if kib < 1024.0 { format!("{kib:.0} KiB") } else { format!("{:.0} MiB", kib / 1024.0) }
}
