//! A C program, compiled against the header and the shared library, runs an artifact.
#![cfg(all(unix, not(target_vendor = "apple"), any(target_arch = "x86_64", target_arch = "aarch64")))]

#[path = "../../core/tests/runtime/support/mod.rs"]
#[expect(dead_code, reason = "shared with the runtime's tests, which use all of it")]
mod support;

#[cfg(feature = "gpu")]
#[path = "../../gpu/tests/gpu/model.rs"]
#[expect(dead_code, reason = "shared with the tests of the runtime on GPUs, which use all of it")]
mod model;

#[cfg(feature = "llm")]
#[path = "../../llm/tests/llm/toy.rs"]
#[expect(dead_code, reason = "shared with the tests of language models, which use all of it")]
mod toy;

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
run 1 gives 220
run 2 gives 220
run 3 status 3: input \"x\" must have shape [4], got [1]: dimension 0 must be 4
waited for 3 runs: input \"x\" must have shape [4], got [1]: dimension 0 must be 4
the last run has status 0
";

#[test]
fn a_c_program_runs_an_artifact() {
    let Some(compiler) = compiler() else { return };
    let found = compile_and_run(compiler, "use", &support::fixed_model(), false);
    assert_eq!(found, EXPECTED);
}

/// The last but two is what the CPU's plan gives, which only doubles.
#[cfg(feature = "gpu")]
const EXPECTED_ON_GPU: &str = "\
llvmpipe 1, why \"\"
status 0: 0 8 504 408
llvmpipe 1, why \"\"
status 0: 0 8 504 408
software 1
status 0: 0 8 504 408
gpu 0, why \"no GPU found whose name contains \"no such device\"\"
status 0: 0 2 126 198
error the GPU's name is not UTF-8; convert it
error the session is null; see why it was not made
";

#[cfg(feature = "gpu")]
#[test]
fn a_c_program_runs_an_artifact_on_a_gpu() {
    let Some(compiler) = compiler() else { return };
    if model::options().is_none() {
        return;
    }
    let mut plans = model::Model::new();
    let shader = plans.affine();
    plans.usual(shader);
    assert_eq!(compile_and_run(compiler, "gpu", &plans.bytes(), true), EXPECTED_ON_GPU);
}

#[cfg(feature = "llm")]
const EXPECTED_OF_LANGUAGE: &str = "\
error cannot map no such file: No such file or directory (os error 2)
72 105 33 257 are 4 tokens
58 bytes: <|system|>be brief<|end|><|user|>hello<|end|><|assistant|>
stop 2 after 10 tokens, prompt 18 and 0 known
stop 2 after 10 tokens, prompt 1 and 17 known
stop 4
error temperature is -1, must be 0 or more
error the language model is null; see why it was not opened
";

#[cfg(feature = "llm")]
#[test]
fn a_c_program_runs_a_language_model() {
    let Some(compiler) = compiler() else { return };
    let found = compile_and_run(compiler, "language", &toy::artifact(toy::assets()), false);
    assert_eq!(found, EXPECTED_OF_LANGUAGE);
}

#[cfg(all(feature = "gpu", feature = "llm"))]
const EXPECTED_OF_LANGUAGE_ON_GPU: &str = "\
llvmpipe 1, why \"\"
gpu 0, why \"no GPU found whose name contains \"no such device\"\"
some text, the same 1
error the language model is null; see why it was not opened
";

#[cfg(all(feature = "gpu", feature = "llm"))]
#[test]
fn a_c_program_runs_a_language_model_on_a_gpu() {
    let Some(compiler) = compiler() else { return };
    if model::options().is_none() {
        return;
    }
    let artifact = toy::gpu_artifact(toy::TOY, None, drupe_ir::DType::F32);
    assert_eq!(compile_and_run(compiler, "language_gpu", &artifact, true), EXPECTED_OF_LANGUAGE_ON_GPU);
}

fn compiler() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = ["cc", "gcc", "clang"].into_iter().find(works);
    if found.is_none() {
        eprintln!("skipped: there is no C compiler (cc, gcc, clang) in the path");
    }
    found
}

/// What the C program of this name prints when given the artifact and, if it wants one, a folder.
fn compile_and_run(compiler: &str, name: &str, artifact: &[u8], wants_folder: bool) -> String {
    let folder = std::env::temp_dir().join(format!("drupe-capi-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("temporary folder");
    let (path, program) = (folder.join("model.drupe"), folder.join(name));
    std::fs::write(&path, artifact).expect("temporary folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = library_folder();
    let compiled = Command::new(compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"])
        .arg(&program)
        .arg("-I")
        .arg(source.join("include"))
        .arg(source.join("tests").join(name).with_extension("c"))
        .arg("-L")
        .arg(&libraries)
        .arg("-ldrupe_capi")
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .output()
        .expect("the compiler works");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    // Test runners set the variable to folders that may have an older library.
    let mut run = Command::new(&program);
    run.env_remove("LD_LIBRARY_PATH").arg(&path).args(wants_folder.then(|| folder.join("cache")));
    let run = run.output().expect("just compiled");
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{}: {printed}{}", run.status, String::from_utf8_lossy(&run.stderr));
    std::fs::remove_dir_all(&folder).expect("just made");
    printed
}

/// Where cargo has put the shared library: beside this test's executable.
fn library_folder() -> PathBuf {
    let test = std::env::current_exe().expect("known on every system that cargo runs on");
    test.parent().expect("a file is in a folder").to_owned()
}
