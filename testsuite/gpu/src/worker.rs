//! The process that the driver lives in: this crate's program, called with [`ARGUMENT`].
//!
//! It reads all shaders as JSON, and writes a line of JSON for each as soon as it is compiled. So if it ends early,
//! the number of lines tells where.

use crate::device::NullDevice;
use crate::{Error, Shader, Statistics};
use serde::Deserialize;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What makes the program a worker.
pub const ARGUMENT: &str = "--worker";

/// A worker's exit code if it finds no driver.
pub const NO_DRIVER: u8 = 3;

const PROGRAM: &str = "drupe-gpu-report";
/// Where Vulkan's loader looks for drivers on Linux.
const DRIVER_FOLDERS: &[&str] = &["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const FAMILY: &str = "RADV_FORCE_FAMILY";
const DEFAULT_FAMILY: &str = "navi21";

/// [`Shader`], as it is read.
#[derive(Deserialize)]
struct Request {
    name: String,
    spirv: Vec<u32>,
    buffers: u32,
    uniform: bool,
}

/// Has a worker compile `shaders`.
pub(crate) fn ask(shaders: &[Shader]) -> Result<Vec<Statistics>, Error> {
    let driver = driver()?;
    let mut child = Command::new(program()?)
        .arg(ARGUMENT)
        .env("VK_DRIVER_FILES", &driver)
        .env("VK_ICD_FILENAMES", &driver) // by which older loaders know it
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        .env(FAMILY, std::env::var_os(FAMILY).unwrap_or_else(|| DEFAULT_FAMILY.into()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let request = serde_json::to_vec(shaders).map_err(std::io::Error::from)?;
    // A worker that ends without reading breaks the pipe; its exit says why.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(&request));
    let output = child.wait_with_output()?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let found: Vec<Statistics> = lines.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    if output.status.success() && found.len() == shaders.len() {
        return Ok(found);
    }
    if output.status.code() == Some(NO_DRIVER.into()) {
        return Err(Error::NoDriver { missing: String::from_utf8_lossy(&output.stderr).trim().into() });
    }
    let shader = shaders.get(found.len()).map_or("", |shader| shader.name).into();
    let why = format!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status);
    Err(Error::Stopped { shader, why })
}

/// Compiles the shaders that `input` holds, and writes their statistics.
///
/// # Errors
///
/// If there is no null device, or a shader does not compile.
pub fn serve(mut input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let mut text = Vec::new();
    input.read_to_end(&mut text)?;
    let requests: Vec<Request> = serde_json::from_slice(&text).map_err(std::io::Error::from)?;
    let device = NullDevice::open()?;
    for Request { name, spirv, buffers, uniform } in &requests {
        let found = device.compile(Shader { name, spirv, buffers: *buffers, uniform: *uniform })?;
        writeln!(output, "{}", serde_json::to_string(&found).map_err(std::io::Error::from)?)?;
        output.flush()?;
    }
    Ok(())
}

/// The file that tells the loader of RADV.
fn driver() -> Result<PathBuf, Error> {
    let file = format!("radeon_icd.{}.json", std::env::consts::ARCH);
    let paths = DRIVER_FOLDERS
        .iter()
        .flat_map(|folder| [Path::new(folder).join(&file), Path::new(folder).join("radeon_icd.json")]);
    paths.into_iter().find(|path| path.exists()).ok_or(Error::NoDriver { missing: file })
}

/// This crate's program: this one, or the one that cargo has put beside or above this one, which is a test.
fn program() -> Result<PathBuf, Error> {
    let current = std::env::current_exe()?;
    if current.file_stem().is_some_and(|stem| stem == PROGRAM) {
        return Ok(current);
    }
    let file = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let mut beside = current.ancestors().skip(1).take(2).map(|folder| folder.join(&file));
    let first = beside.clone().last().unwrap_or_else(|| file.clone().into());
    beside.find(|path| path.exists()).ok_or(Error::NoWorker(first))
}
