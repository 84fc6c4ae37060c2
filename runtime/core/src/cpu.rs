//! What this CPU can do, by LLVM's names for features.

/// Whether this CPU has the feature with LLVM's name `name` (without sign), e.g. `avx512f`. Names
/// this function does not know count as missing.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
pub fn has_feature(name: &str) -> bool {
    macro_rules! detect {
        ($($name:tt),* $(,)?) => {
            match name { $($name => std::arch::is_x86_feature_detected!($name),)* _ => false }
        };
    }
    detect!(
        "sse",
        "sse2",
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "lzcnt",
        "movbe",
        "avx512f",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512vl",
        "avx512ifma",
        "avx512vbmi",
        "avx512vbmi2",
        "avx512vnni",
        "avx512bitalg",
        "avx512vpopcntdq",
        "avx512bf16",
        "avx512fp16",
        "avxvnni",
        "avxvnniint8",
        "gfni",
    ) || (name == "bmi" && std::arch::is_x86_feature_detected!("bmi1"))
        || (name == "bmi2" && std::arch::is_x86_feature_detected!("bmi2"))
}

/// Whether this CPU has the feature with LLVM's name `name` (without sign), e.g. `dotprod`. Names
/// this function does not know count as missing.
#[cfg(target_arch = "aarch64")]
pub fn has_feature(name: &str) -> bool {
    macro_rules! detect {
        ($($name:tt => $feature:tt),* $(,)?) => {
            match name { $($name => std::arch::is_aarch64_feature_detected!($feature),)* _ => false }
        };
    }
    detect!(
        "neon" => "neon", "fp-armv8" => "neon", "fullfp16" => "fp16", "fp16fml" => "fhm", "dotprod" => "dotprod",
        "i8mm" => "i8mm", "bf16" => "bf16", "sve" => "sve", "sve2" => "sve2", "rdm" => "rdm", "lse" => "lse",
        "rcpc" => "rcpc", "jsconv" => "jsconv", "complxnum" => "fcma",
    )
}

/// Whether this CPU has the feature with LLVM's name `name`: on this architecture none is known.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
pub fn has_feature(_name: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::has_feature;

    #[test]
    fn the_baseline_is_there_and_nonsense_is_not() {
        #[cfg(target_arch = "x86_64")]
        assert!(has_feature("sse2"));
        #[cfg(target_arch = "aarch64")]
        assert!(has_feature("neon"));
        assert!(!has_feature("flux-capacitor"));
        assert!(!has_feature(""));
    }
}
