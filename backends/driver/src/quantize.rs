//! Quantising a language model: the scheme, and what calibration on a text finds.

use crate::{CompileOptions, compile};
use drupe_entries::{bind_symbol, new_rows};
use drupe_ir::{Diagnostic, Module};
use drupe_quantize::{Observed, choose, find_linears, quantize_linears, range_output, rows_output, with_observations};
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
    let calibrated = !options.calibration.is_empty() || scheme.needs_calibration();
    let observed = if calibrated { Some(calibrate(module, options)?) } else { None };
    quantize_linears(module, &choose(module, scheme, observed.as_deref())?)
}

/// What the inputs of linear layers are like, over all windows of the text.
fn calibrate(module: &Module, options: &CompileOptions) -> Result<Vec<Observed>, Diagnostic> {
    let symbol = new_rows(module)?;
    let most = module.symbols.get(&symbol).map_or(WINDOW, |range| range.max);
    let window = WINDOW.min(most).min(options.calibration.len() as u64);
    if window == 0 {
        return Err(Diagnostic::new("calibrate", "there is no text to calibrate with")
            .help("give one: --calibrate FILE, of a few thousand words like those that the model will see"));
    }
    // Nothing is kept from window to window: the states are plain inputs without rows.
    let module = with_observations(&bind_symbol(module, &symbol, window)?)?;
    // The text is run on this machine, whatever the model is compiled for.
    let target = drupe_target::Target::host();
    let how = CompileOptions { target, quantize: None, cache: None, gpu: None, assets: Vec::new(), ..options.clone() };
    let failed = |error: drupe_runtime::Error| Diagnostic::new("calibrate", error);
    let program = Program::from_bytes(&compile(&module, &how)?, &LoadOptions::default()).map_err(failed)?;
    let mut session = Session::new(&program, Options::default()).map_err(failed)?;
    let empty = empty_states(&program)?;
    let mut observed: Vec<Observed> = Vec::new();
    for tokens in options.calibration.chunks_exact(window as usize) {
        let tokens =
            Tensor::from_slice(&[tokens.len()], tokens).map_err(|error| Diagnostic::new("calibrate", error))?;
        let mut inputs = vec![("tokens", tokens.view())];
        inputs.extend(empty.iter().map(|(name, tensor)| (name.as_str(), tensor.view())));
        let outputs = session.run_views(&inputs).map_err(failed)?;
        let find = |name: String| {
            let output = outputs.iter().find(|output| output.name == name);
            output.map(|output| output.tensor.as_slice::<f32>().map_err(|error| Diagnostic::new("calibrate", error)))
        };
        observed.resize(outputs.iter().filter(|output| output.name.starts_with("range.")).count(), Observed::default());
        for (number, observed) in observed.iter_mut().enumerate() {
            let ranges = find(range_output(number)).transpose()?.unwrap_or_default();
            observed.extend(ranges, find(rows_output(number)).transpose()?.unwrap_or_default());
        }
    }
    Ok(observed)
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
