//! # drupe-target: descriptions of devices
//!
//! A [`Target`] is what the compiler knows about a device: the LLVM triple, the instruction-set levels its code
//! may choose from (best first), vector registers, caches, frequency and memory bandwidth, and its GPU. Targets are data:
//! one TOML file each in `targets/`, built in; a user's own file works the same way.
//!
//! ```
//! use drupe_target::Target;
//! let target = Target::find("pixel-8").unwrap();
//! assert_eq!(target.levels[0].name, "i8mm");
//! assert_eq!(target.levels[0].lanes(32), 4);
//! let error = Target::find("pixel-99").unwrap_err();
//! assert!(error.to_string().contains("pixel-8"));
//! ```
//!
//! Invariants: a target has at least one level; every number is positive; unknown and missing keys of a file
//! are errors that name the key. A new device is a new file: no code names a device.

mod gpu;
mod host;

pub use gpu::Gpu;

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// A browser's; no code is made for it.
    Wasm32,
}

/// An operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Os {
    /// Linux with glibc or musl.
    Linux,
    /// Android.
    Android,
    /// iOS and iPadOS.
    Ios,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
    /// A browser: models run on its GPU alone.
    Browser,
}

/// The instruction that sums products of four (or more) 8-bit integers into 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Int8Dot {
    /// x86 `vpdpbusd`: unsigned by signed, 4-way.
    Vnni,
    /// Arm `sdot`: 4-way.
    Dotprod,
    /// Arm `smmla`: 2x8 by 8x2 matrices; `sdot` too.
    I8mm,
}

/// One instruction-set level: code for it runs on every device that has its features.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsaLevel {
    /// What the artifact and the command line call it.
    pub name: String,
    /// LLVM feature names with their sign: `+avx2`.
    pub features: Vec<String>,
    /// The LLVM processor to schedule for. It must imply no feature that `features` lacks.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Width of the widest vector register that is worth using, in bits.
    pub vector_bits: u32,
    /// The number of vector registers.
    pub vector_registers: u32,
    /// Vector FMA instructions that start in one cycle.
    pub fma_per_cycle: u32,
    /// The 8-bit dot product, where there is one.
    #[serde(default)]
    pub int8_dot: Option<Int8Dot>,
}

impl IsaLevel {
    /// Elements of `bits` bits each that fit in one vector register.
    pub fn lanes(&self, bits: u32) -> usize {
        (self.vector_bits / bits) as usize
    }

    /// The most f32 operations (an FMA is two) one core can do in a cycle.
    pub fn flops_per_cycle(&self) -> u32 {
        self.fma_per_cycle * 2 * (self.vector_bits / 32)
    }
}

/// Data cache sizes in octets, as one core sees them: 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// First level.
    pub l1: u64,
    /// Second level.
    pub l2: u64,
    /// Third level, shared by all cores.
    pub l3: u64,
}

/// A device to compile for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What people call it: `--target` takes this.
    pub name: String,
    /// The LLVM target triple.
    pub triple: String,
    /// The architecture of the triple.
    pub arch: Arch,
    /// The operating system of the triple.
    pub os: Os,
    /// Cores worth using: the little cores of a phone are not counted.
    pub cores: u32,
    /// Clock of the fastest core in GHz.
    pub frequency_ghz: f64,
    /// Memory bandwidth of the whole chip in GB/s (10^9).
    pub bandwidth_gb_s: f64,
    /// The caches of the fastest core.
    pub cache: Cache,
    /// Instruction-set levels, best first.
    #[serde(rename = "level")]
    pub levels: Vec<IsaLevel>,
    /// The GPU, where there is one worth describing.
    #[serde(default)]
    pub gpu: Option<Gpu>,
}

/// Why there is no such target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Neither the name of a target nor a file.
    #[error("there is no target `{name}`; there are: {}, host, and paths of .toml files", names().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that is not a target description.
    #[error("target {from}: {}", source.to_string().trim_end())]
    Parse {
        /// The file, or the name of the target.
        from: String,
        /// What is wrong, naming the key.
        source: Box<toml::de::Error>,
    },
    /// A value that makes no sense.
    #[error("target {from}: `{key}` {why}")]
    Value {
        /// The file, or the name of the target.
        from: String,
        /// The key.
        key: String,
        /// What is wrong with its value.
        why: &'static str,
    },
}

macro_rules! built_in {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../targets/", $name, ".toml")))),*] };
}

const BUILT_IN: &[(&str, &str)] = built_in! {
    "x86-64" "aarch64-linux" "aarch64-android" "aarch64-ios" "aarch64-macos"
    "pixel-8" "galaxy-s24" "iphone-15" "raspberry-pi-5" "webgpu"
};

/// The names of the targets that are built in.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

impl Target {
    /// The target called `name` (`host`: this machine), or described by the TOML file at that path.
    pub fn find(name: &str) -> Result<Target, TargetError> {
        if name == "host" {
            return Ok(Target::host());
        }
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Target::parse(name, text);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(TargetError::Unknown { name: name.into() });
        }
        let text = std::fs::read_to_string(path).map_err(|source| TargetError::Read { path: path.into(), source })?;
        Target::parse(name, &text)
    }

    /// The target that `text` (TOML) describes; errors say that it came from `from`.
    pub fn parse(from: &str, text: &str) -> Result<Target, TargetError> {
        let target: Target = toml::from_str(text)
            .map_err(|source| TargetError::Parse { from: from.into(), source: Box::new(source) })?;
        target.check(from)?;
        Ok(target)
    }

    fn check(&self, from: &str) -> Result<(), TargetError> {
        let require = |holds: bool, key: String, why: &'static str| {
            if holds { Ok(()) } else { Err(TargetError::Value { from: from.into(), key, why }) }
        };
        let positive =
            |value: f64, key: &str| require(value.is_finite() && value > 0.0, key.into(), "must be positive");
        positive(self.cores.into(), "cores")?;
        positive(self.frequency_ghz, "frequency_ghz")?;
        positive(self.bandwidth_gb_s, "bandwidth_gb_s")?;
        positive(self.cache.l1 as f64, "cache.l1")?;
        require(!self.levels.is_empty(), "level".into(), "needs at least one entry")?;
        for (index, level) in self.levels.iter().enumerate() {
            let key = |name: &str| format!("level[{index}].{name}");
            let wide = level.vector_bits >= 64 && level.vector_bits.is_power_of_two();
            require(wide, key("vector_bits"), "must be a power of two from 64 on")?;
            positive(level.vector_registers.into(), &key("vector_registers"))?;
            positive(level.fma_per_cycle.into(), &key("fma_per_cycle"))?;
            let signed = level.features.iter().all(|feature| feature.starts_with(['+', '-']));
            require(signed, key("features"), "must hold names with a sign, such as \"+avx2\"")?;
            let unique = self.levels[..index].iter().all(|other| other.name != level.name);
            require(unique, key("name"), "is the name of an earlier level")?;
        }
        if let Some(gpu) = &self.gpu {
            for (key, wrong, why) in gpu.faults() {
                require(!wrong, key, why)?;
            }
        }
        Ok(())
    }

    /// The best level.
    pub fn best_level(&self) -> &IsaLevel {
        &self.levels[0]
    }

    /// The level called `name`.
    pub fn level(&self, name: &str) -> Option<&IsaLevel> {
        self.levels.iter().find(|level| level.name == name)
    }

    /// The same device with code for one level only; `None` if it has no level of that name.
    pub fn with_level(&self, name: &str) -> Option<Target> {
        Some(Target { levels: vec![self.level(name)?.clone()], ..self.clone() })
    }

    /// The most f32 operations all cores can do in a second, at the best level.
    pub fn peak_flops(&self) -> f64 {
        f64::from(self.cores) * self.frequency_ghz * 1e9 * f64::from(self.best_level().flops_per_cycle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_target_parses_under_its_name() {
        for name in names() {
            assert_eq!(Target::find(name).unwrap().name, name);
        }
    }

    #[test]
    fn errors_name_the_key_or_the_targets() {
        let good = BUILT_IN[0].1;
        let error = |text: &str| Target::parse("mine.toml", text).unwrap_err().to_string();
        assert!(error(&good.replace("cores = 4", "cpus = 4")).contains("unknown field `cpus`"));
        assert!(error(&good.replace("cores = 4", "")).contains("missing field `cores`"));
        assert_eq!(error(&good.replace("cores = 4", "cores = 0")), "target mine.toml: `cores` must be positive");
        assert!(error(&good.replace("cooperative = [16, 8]", "cooperative = [4]")).contains("gpu.cooperative"));
        assert!(error(&good.replace("\"avx2\"", "\"avx512\"")).contains("level[1].name"));
        assert!(Target::find("toaster").unwrap_err().to_string().contains("pixel-8, galaxy-s24"));
        assert!(Target::find("missing.toml").unwrap_err().to_string().starts_with("missing.toml: "));
    }

    #[test]
    fn levels_are_best_first() {
        for target in names().into_iter().map(|name| Target::find(name).unwrap()) {
            let rank = |level: &IsaLevel| (level.vector_bits, level.int8_dot.is_some(), level.features.len());
            assert!(target.levels.is_sorted_by(|a, b| rank(a) >= rank(b)), "{}", target.name);
        }
    }
}
