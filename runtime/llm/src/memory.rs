//! Models larger than memory: what everything but the weights takes, and so what is left for them.

use drupe_runtime::State;

use crate::error::Error;
use crate::model::LanguageModel;

/// What is not counted: stacks, pages of code, texts and tokens.
const SLACK: u64 = 4 << 20;

impl LanguageModel {
    /// Keeps the memory of this process within `budget` bytes, as far as it is this model's: with one engine of so many
    /// `threads` and one full context, what is left beside what the process holds now is for weights. Those that do not
    /// fit are read anew for every chunk and every token, ahead of the steps that need them; the text is the same. To
    /// be called once, before the engine is made.
    ///
    /// What the process holds now is known on Linux and Android only; elsewhere leave room for it.
    ///
    /// # Errors
    /// When so little is left that a single step's weights do not fit, or the artifact was not opened from a file.
    pub fn keep_within(&self, budget: u64, threads: usize) -> Result<(), Error> {
        let programs = self.programs();
        let mut other = resident_now() + SLACK + State::new(&programs)?.reserved_bytes();
        for program in programs {
            other += program.working_memory(threads)?;
        }
        match self.decode().limit_weights(budget.saturating_sub(other)) {
            Err(drupe_runtime::Error::WeightsLimit { need, .. }) => {
                Err(Error::MemoryBudget { budget, need: need + other, other })
            }
            done => Ok(done?),
        }
    }
}

/// Bytes of this process that are in memory; 0 where the system does not say.
fn resident_now() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
