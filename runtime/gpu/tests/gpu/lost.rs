//! A driver that loses its device while it is waited for: software Vulkan under a layer that says so.

use std::path::Path;
use std::process::Command;

use drupe_runtime::{DeviceError, Error};

use crate::model::{Model, expected, input, open, options, run, session};

const LAYER: &str = r#"{"file_format_version": "1.1.2", "layer": {"name": "VK_LAYER_DRUPE_lose", "type": "GLOBAL",
    "library_path": "./liblose.so", "api_version": "1.3.0", "implementation_version": "1", "description": "loses"}}"#;

#[test]
fn a_device_that_is_lost_while_waited_for_is_an_error() {
    if options().is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("drupe-lose-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("lose.json"), LAYER).expect("a layer");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/lose.c");
    let compile = ["-shared", "-fPIC", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(compile).arg(folder.join("liblose.so")).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "`./x setup gpu` installs Vulkan's headers");
    // A process of its own, as the loader reads its environment once.
    let inner = "lost::loses_its_device";
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args([inner, "--exact", "--ignored", "--nocapture"])
        .env("VK_LAYER_PATH", &folder)
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_DRUPE_lose")
        .env("DRUPE_LOSE", folder.join("lost"))
        .output()
        .expect("this test runs");
    std::fs::remove_dir_all(&folder).expect("it was made");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "the test above runs it, under its layer"]
fn loses_its_device() {
    // As in builds that abort on panics.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let lose = std::env::var_os("DRUPE_LOSE").expect("the test above gives it");
    let gpu = open(&options().expect("a GPU"));
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader);
    let program = model.program();
    let mut sessions = [session(&gpu, &program), session(&gpu, &program)];
    assert_eq!(run(&mut sessions[0], 10), expected(10));
    std::fs::write(lose, "").expect("a file");
    for index in [0, 1, 0] {
        match sessions[index].run(&[("x", input(10).view())]).map(|_| ()) {
            Err(Error::Device { source: DeviceError::Lost { .. }, .. }) => {}
            Err(Error::DeviceBind { source: DeviceError::Lost { .. } }) => {}
            other => panic!("{other:?}"),
        }
    }
}
