//! What code is made for.

use drupe_target::{Arch, IsaLevel, Os, Target};

/// One instruction-set level of one platform, in LLVM's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The triple, which also picks the object format and the calling convention.
    pub triple: String,
    /// The processor to schedule for; it and `features` say which instructions there are.
    pub cpu: String,
    /// Features with their signs, separated by commas.
    pub features: String,
    /// Width of the widest vectors that kernels use, in bits.
    pub vector_bits: u32,
}

impl Machine {
    /// For objects that the platform's own linker takes: ELF, Mach-O or COFF.
    pub fn for_objects(target: &Target, level: &IsaLevel) -> Machine {
        Machine::new(target.triple.clone(), target, level)
    }

    /// For images: ELF on every platform (drupe-link reads nothing else), in the platform's calling convention
    /// and without the registers it reserves.
    pub fn for_images(target: &Target, level: &IsaLevel) -> Machine {
        let triple = match (target.arch, target.os) {
            (_, Os::Linux | Os::Android) => target.triple.as_str(),
            (Arch::X86_64, Os::Windows) => "x86_64-pc-windows-msvc-elf",
            (Arch::X86_64, _) => "x86_64-unknown-linux-gnu",
            (Arch::Aarch64, _) => "aarch64-unknown-linux-gnu",
            (Arch::Wasm32, _) => target.triple.as_str(),
        };
        let mut machine = Machine::new(triple.into(), target, level);
        if target.arch == Arch::Aarch64 && target.os != Os::Linux {
            machine.features.push_str(",+reserve-x18");
        }
        machine
    }

    /// Whether it has the feature `name`, a name with its sign.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.features.split(',').any(|feature| feature == name)
    }

    fn new(triple: String, target: &Target, level: &IsaLevel) -> Machine {
        let generic = match target.arch {
            Arch::X86_64 => "x86-64",
            Arch::Aarch64 | Arch::Wasm32 => "generic",
        };
        let cpu = level.cpu.clone().unwrap_or_else(|| generic.into());
        Machine { triple, cpu, features: level.features.join(","), vector_bits: level.vector_bits }
    }
}
