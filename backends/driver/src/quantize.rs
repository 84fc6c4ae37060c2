//! Quantising a language model: the scheme, and what calibration on a text finds.

use crate::{CompileOptions, compile};
use drupe_entries::{bind_symbol, new_rows};
use drupe_ir::{Diagnostic, Module};
use drupe_quantize::{choose, find_linears, quantize_linears, with_ranges};
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};

/// Tokens that calibration runs at a time, each run by itself.
const WINDOW: u64 = 256;

/// `module` with its linear layers as the options say; itself if they say nothing.
pub(crate) fn quantize(module: &Module, options: &CompileOptions) -> Result<Module, Diagnostic> {
    let Some(scheme) = options.quantize else { return Ok(module.clone()) };
    if find_linears(module).is_empty() {
        return Err(Diagnostic::new("quantise", "the model has no linear layers to quantise")
            .help("compile it without --quant"));
    }
    let ranges = if scheme.needs_calibration() { Some(calibrate(module, options)?) } else { None };
    quantize_linears(module, &choose(module, scheme, ranges.as_deref())?)
}

/// The largest magnitude of each channel of each input of linear layers, over all windows of the text.
fn calibrate(module: &Module, options: &CompileOptions) -> Result<Vec<Vec<f32>>, Diagnostic> {
    let symbol = new_rows(module)?;
    let most = module.symbols.get(&symbol).map_or(WINDOW, |range| range.max);
    let window = WINDOW.min(most).min(options.calibration.len() as u64);
    if window == 0 {
        return Err(Diagnostic::new("calibrate", "there is no text to calibrate with")
            .help("give one: --calibrate FILE, of a few thousand words like those that the model will see"));
    }
    // Nothing is kept from window to window: the states are plain inputs without rows.
    let observed = bind_symbol(&with_ranges(module)?, &symbol, window)?;
    // The text is run on this machine, whatever the model is compiled for.
    let target = drupe_target::Target::host();
    let how = CompileOptions { target, quantize: None, cache: None, gpu: None, assets: Vec::new(), ..options.clone() };
    let failed = |error: drupe_runtime::Error| Diagnostic::new("calibrate", error);
    let program = Program::from_bytes(&compile(&observed, &how)?, &LoadOptions::default()).map_err(failed)?;
    let mut session = Session::new(&program, Options::default()).map_err(failed)?;
    let empty = empty_states(&program)?;
    let mut ranges: Vec<Vec<f32>> = Vec::new();
    for tokens in options.calibration.chunks_exact(window as usize) {
        let tokens =
            Tensor::from_slice(&[tokens.len()], tokens).map_err(|error| Diagnostic::new("calibrate", error))?;
        let mut inputs = vec![("tokens", tokens.view())];
        inputs.extend(empty.iter().map(|(name, tensor)| (name.as_str(), tensor.view())));
        let outputs = session.run_views(&inputs).map_err(failed)?;
        for (number, output) in outputs.iter().enumerate() {
            let found = output.tensor.as_slice::<f32>().map_err(|error| Diagnostic::new("calibrate", error))?;
            match ranges.get_mut(number) {
                None => ranges.push(found.to_vec()),
                Some(known) => known.iter_mut().zip(found).for_each(|(most, new)| *most = most.max(*new)),
            }
        }
    }
    Ok(ranges)
}

/// Every input but the tokens, without rows.
fn empty_states(program: &Program) -> Result<Vec<(String, Tensor)>, Diagnostic> {
    let plan = program.plan();
    let mut sizes = Vec::new();
    let none = vec![0; plan.symbols.len()];
    drupe_format::evaluate(&plan.exprs, &none, &mut sizes)
        .map_err(|(_, fault)| Diagnostic::new("calibrate", format!("{fault:?}")))?;
    let ports = plan.inputs.iter().filter(|port| port.name != "tokens");
    let empty = |port: &drupe_format::plan::ArchivedPort| {
        let shape: Vec<usize> = port.shape.iter().map(|dim| sizes[dim.index()].max(0) as usize).collect();
        let tensor = Tensor::zeros(port.dtype, &shape).map_err(|error| Diagnostic::new("calibrate", error))?;
        Ok((port.name.as_str().to_owned(), tensor))
    };
    ports.map(empty).collect()
}
