//! Prints the tensor IR of an ONNX model: `print_ir model.onnx [--shape x=1,3,H,W] [--input sr=16000]`.

use drupe_ir::Dim;
use drupe_onnx::{Options, import};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut path = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut pair =
            || args.next().and_then(|text| text.split_once('=').map(|(a, b)| (a.to_string(), b.to_string())));
        match arg.as_str() {
            "--shape" => match pair() {
                Some((name, dims)) => options.shapes.push((name, dims.split(',').map(dim).collect())),
                None => return usage(),
            },
            "--input" => match pair().and_then(|(name, value)| Some((name, value.parse().ok()?))) {
                Some(fixed) => options.values.push(fixed),
                None => return usage(),
            },
            _ => path = Some(arg),
        }
    }
    let Some(path) = path else { return usage() };
    match import(path.as_ref(), &options) {
        Ok(module) => {
            print!("{module}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: print_ir model.onnx [--shape name=1,3,32*H,W] [--input name=value]");
    ExitCode::FAILURE
}

/// A number, a symbol, or a number times a symbol.
fn dim(text: &str) -> Dim {
    text.split('*').fold(Dim::from(1), |product, factor| {
        let factor = factor.trim();
        &product * &factor.parse::<i64>().map_or_else(|_| Dim::symbol(factor), Dim::from)
    })
}
