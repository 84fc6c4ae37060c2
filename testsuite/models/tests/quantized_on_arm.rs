//! Quantised products on 64-bit Arm, emulated, at every level: plain NEON, `sdot` and `smmla`, each on a processor that has
//! no more than that. The interpreter is the judge.
#![cfg(feature = "llvm")]

mod layers;

use drupe_models::Engine;
use std::process::Command;

/// The levels of `aarch64-linux`.
const LEVELS: [&str; 3] = ["neon", "dotprod", "i8mm"];

/// An engine for each level; none where there is no emulator.
fn engines() -> Vec<(&'static str, Engine)> {
    let missing = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
    if let Some(tool) = ["qemu-aarch64", "aarch64-linux-gnu-gcc"].into_iter().find(missing) {
        eprintln!("skipped: there is no {tool}");
        return Vec::new();
    }
    let engine = |level| Engine::find("aarch64", Some(level), None).unwrap_or_else(|error| panic!("{error}"));
    LEVELS.map(|level| (level, engine(level))).into()
}

#[test]
fn products_of_the_filetests() {
    layers::products_of_the_filetests(&engines());
}

#[test]
fn layers_of_every_scheme() {
    layers::layers_of_every_scheme(&engines());
}
