//! The machine that the compiler itself runs on.

use crate::{Cache, Os, Target};

impl Target {
    /// This machine: the generic target of its architecture with the levels that it has, its number of cores
    /// and, where the system tells, its caches. Where no level is known to be there, all are kept.
    pub fn host() -> Target {
        let generic = match (std::env::consts::ARCH, std::env::consts::OS) {
            ("aarch64", "macos") => "aarch64-macos",
            ("aarch64", _) => "aarch64-linux",
            _ => "x86-64",
        };
        let mut target = Target::find(generic).expect("tests check that every built-in target parses");
        target.name = "host".into();
        let available: Vec<_> =
            target.levels.iter().filter(|level| level.features.iter().all(|name| has_feature(name))).cloned().collect();
        if !available.is_empty() {
            target.levels = available;
        }
        if (std::env::consts::ARCH, std::env::consts::OS) == ("x86_64", "macos") {
            (target.triple, target.os) = ("x86_64-apple-macosx12.0".into(), Os::Macos);
        } else if std::env::consts::OS == "windows" {
            (target.triple, target.os) = ("x86_64-pc-windows-msvc".into(), Os::Windows);
        }
        if let Ok(cores) = std::thread::available_parallelism() {
            target.cores = u32::try_from(cores.get()).unwrap_or(target.cores);
        }
        target.cache = linux_caches().unwrap_or(target.cache);
        target
    }
}

/// What Linux says about the caches of the first core.
fn linux_caches() -> Option<Cache> {
    let mut sizes = [0u64; 3];
    for index in 0..8 {
        let read = |what: &str| {
            std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}"))
                .map(|text| text.trim().to_owned())
        };
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else { break };
        let level: usize = level.parse().ok()?;
        if kind != "Instruction" && (1..=3).contains(&level) {
            sizes[level - 1] = size.strip_suffix('K')?.parse::<u64>().ok()? << 10;
        }
    }
    (sizes[0] > 0).then_some(Cache { l1: sizes[0], l2: sizes[1], l3: sizes[2] })
}

/// Whether this machine has the feature that LLVM calls `name` (with its `+`).
#[cfg(target_arch = "x86_64")]
fn has_feature(name: &str) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match name {
        "+avx2" => has!("avx2"),
        "+fma" => has!("fma"),
        "+f16c" => has!("f16c"),
        "+bmi2" => has!("bmi2"),
        "+avx512f" => has!("avx512f"),
        "+avx512bw" => has!("avx512bw"),
        "+avx512dq" => has!("avx512dq"),
        "+avx512vl" => has!("avx512vl"),
        "+avx512cd" => has!("avx512cd"),
        "+avx512vnni" => has!("avx512vnni"),
        _ => false,
    }
}

/// Whether this machine has the feature that LLVM calls `name` (with its `+`).
#[cfg(target_arch = "aarch64")]
fn has_feature(name: &str) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match name {
        "+neon" => has!("neon"),
        "+fullfp16" => has!("fp16"),
        "+dotprod" => has!("dotprod"),
        "+i8mm" => has!("i8mm"),
        _ => false,
    }
}

/// Whether this machine has the feature that LLVM calls `name` (with its `+`).
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_feature(_name: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_level_and_a_cache() {
        let host = Target::host();
        assert_eq!(host.name, "host");
        assert!(host.best_level().lanes(32) >= 2 && host.cache.l1 > 0 && host.cores > 0);
    }
}
