//! What code is made for.

use crate::CraneliftError;
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable, SetError};
use drupe_target::{Arch, IsaLevel, Os, Target};

/// One instruction-set level of one platform. Vectors are of 128 bits on every level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The processor.
    pub arch: Arch,
    /// The platform, which picks the calling convention.
    pub os: Os,
    /// The platform whose object format is written.
    pub format: Os,
    /// LLVM feature names with their signs.
    pub features: Vec<String>,
}

impl Machine {
    /// For objects that the platform's own linker takes.
    pub fn for_objects(target: &Target, level: &IsaLevel) -> Machine {
        Machine { arch: target.arch, os: target.os, format: target.os, features: level.features.clone() }
    }

    /// For images: ELF on every platform, as drupe-link reads it.
    pub fn for_images(target: &Target, level: &IsaLevel) -> Machine {
        Machine { format: Os::Linux, ..Machine::for_objects(target, level) }
    }

    /// Whether a fused multiply-add is an instruction.
    pub(crate) fn has_fma(&self) -> bool {
        self.arch == Arch::Aarch64 || self.has("+fma")
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|has| has == feature)
    }

    pub(crate) fn call_conv(&self) -> CallConv {
        match (self.os, self.arch) {
            (Os::Windows, Arch::X86_64) => CallConv::WindowsFastcall,
            (Os::Macos | Os::Ios, Arch::Aarch64) => CallConv::AppleAarch64,
            _ => CallConv::SystemV,
        }
    }

    /// A triple that Cranelift knows: it reads fewer than LLVM does.
    fn triple(&self) -> String {
        let arch = match self.arch {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
            Arch::Wasm32 => "wasm32",
        };
        let system = match self.format {
            Os::Linux => "unknown-linux-gnu",
            Os::Android => "linux-android",
            Os::Ios => "apple-ios",
            Os::Macos => "apple-darwin",
            Os::Windows => "pc-windows-msvc",
            Os::Browser => "unknown-unknown",
        };
        format!("{arch}-{system}")
    }

    pub(crate) fn isa(&self) -> Result<OwnedTargetIsa, CraneliftError> {
        let triple = self.triple();
        let failed = |reason: String| CraneliftError::Target { triple: triple.clone(), reason };
        let found = cranelift_codegen::isa::lookup_by_name(&triple);
        let mut builder = found.map_err(|error| failed(error.to_string()))?;
        if self.arch == Arch::X86_64 {
            for flag in self.x86_flags()? {
                builder.enable(flag).map_err(|error| failed(error.to_string()))?;
            }
        }
        let flags = shared_flags().map_err(|error| failed(error.to_string()))?;
        builder.finish(flags).map_err(|error| failed(error.to_string()))
    }

    /// Cranelift's names of the features; each vector extension implies those before it.
    fn x86_flags(&self) -> Result<Vec<&'static str>, CraneliftError> {
        let wide = self.features.iter().any(|feature| feature.starts_with("+avx512"));
        let avx2 = wide || self.has("+avx2");
        let avx = avx2 || self.has("+avx") || self.has("+fma") || self.has("+f16c");
        let sse42 = avx || self.has("+sse4.2");
        if !sse42 && !self.has("+sse4.1") {
            // Without it, rounding would be a call.
            return Err(CraneliftError::Feature { triple: self.triple(), feature: "sse4.1" });
        }
        let flags = [
            ("has_sse3", true),
            ("has_ssse3", true),
            ("has_sse41", true),
            ("has_sse42", sse42),
            ("has_avx", avx),
            ("has_avx2", avx2),
            ("has_fma", self.has("+fma")),
            ("has_bmi2", self.has("+bmi2")),
        ];
        Ok(flags.into_iter().filter(|(_, has)| *has).map(|(flag, _)| flag).collect())
    }
}

fn shared_flags() -> Result<settings::Flags, SetError> {
    let mut builder = settings::builder();
    builder.set("opt_level", "speed")?;
    builder.set("is_pic", "true")?;
    // A probe is a call.
    builder.set("enable_probestack", "false")?;
    builder.set("unwind_info", "false")?;
    Ok(settings::Flags::new(builder))
}
