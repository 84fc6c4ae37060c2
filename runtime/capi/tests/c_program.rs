//! A C program, compiled against the header and the shared library, runs an artifact.
#![cfg(all(unix, not(target_vendor = "apple"), any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../core/tests/runtime/support/mod.rs"]
#[expect(dead_code, reason = "shared with the runtime's tests, which use all of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

const EXPECTED: &str = "\
version 0.1.0
error cannot map no such file: No such file or directory (os error 2)
input x type 0 rank 1 size 4
error there is no output 7, only 1
error input \"x\" (f32[4]) is missing; give it
output type 0 rank 1 size 4: 22 44 66 88
output type 0 rank 1 size 4: 220 44 66 88
";

#[test]
fn a_c_program_runs_an_artifact() {
    let Some(compiler) = ["cc", "gcc", "clang"].into_iter().find(|name| works(name)) else {
        eprintln!("skipped: there is no C compiler (cc, gcc, clang) in the path");
        return;
    };
    let folder = std::env::temp_dir().join(format!("drupe-capi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("temporary folder");
    let (artifact, program) = (folder.join("model.drupe"), folder.join("use"));
    std::fs::write(&artifact, support::fixed_model()).expect("temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = library_folder();
    let compiled = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"])
        .arg(&program)
        .arg("-I")
        .arg(source.join("include"))
        .arg(source.join("tests/use.c"))
        .arg("-L")
        .arg(&libraries)
        .arg("-ldrupe_capi")
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .output()
        .expect("the compiler works");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(&program).arg(&artifact).output().expect("just compiled");
    assert_eq!(String::from_utf8_lossy(&run.stdout), EXPECTED);
    assert!(run.status.success(), "{run:?}");
    std::fs::remove_dir_all(&folder).expect("just made");
}

fn works(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Where cargo has put the shared library: beside this test's executable.
fn library_folder() -> PathBuf {
    let test = std::env::current_exe().expect("known on every system that cargo runs on");
    test.parent().expect("a file is in a folder").to_owned()
}
