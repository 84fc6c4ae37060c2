//! `cargo run -p drupe-gpu-report -- [--json] FILE.spv...`

use drupe_gpu_report::{Error, Shader, Statistics, statistics, table, worker};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some(worker::ARGUMENT) => return serve(),
        Some("--json") => report(&arguments[1..]).map(|found| {
            found.iter().filter_map(|found| serde_json::to_string(found).ok()).for_each(|line| println!("{line}"));
        }),
        _ => report(&arguments).map(|found| print!("{}", table(&found))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> ExitCode {
    match worker::serve(std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::NoDriver { missing }) => {
            eprintln!("{missing}");
            ExitCode::from(worker::NO_DRIVER)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn report(files: &[String]) -> Result<Vec<Statistics>, String> {
    if files.is_empty() {
        return Err("usage: drupe-gpu-report [--json] FILE.spv...".into());
    }
    let modules = files.iter().map(|file| read_module(file)).collect::<Result<Vec<_>, _>>()?;
    let shaders: Result<Vec<Shader>, Error> = modules.iter().map(|(name, spirv)| Shader::read(name, spirv)).collect();
    statistics(&shaders.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

/// A file's stem, and its words.
fn read_module(file: &str) -> Result<(String, Vec<u32>), String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    if bytes.len() % 4 != 0 {
        return Err(format!("{file}: {} bytes are no whole number of words", bytes.len()));
    }
    let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, words))
}
