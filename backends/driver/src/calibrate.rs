//! Running a language model on a text while it is compiled: what its values are like, and how well it foretells.

use crate::{CompileOptions, compile};
use drupe_entries::{bind_symbol, new_rows};
use drupe_ir::{Diagnostic, Module};
use drupe_quantize::{
    DIVERGENCE, GATES, LOG_PROBABILITIES, Observed, REFERENCE, range_output, rows_output, with_divergence,
    with_numbers, with_observations,
};
use drupe_runtime::{LoadOptions, Options, OutputView, Program, Session, Tensor, TensorView};

/// Tokens that are run at a time, each run by itself.
const WINDOW: u64 = 256;

/// Of a window's tokens only these, from the end, are judged by; the others are context.
const JUDGED: f64 = 0.75;

/// What the inputs of linear layers are like, over all windows of `text`.
pub(crate) fn observe(module: &Module, text: &[i32], options: &CompileOptions) -> Result<Vec<Observed>, Diagnostic> {
    let mut runner = Runner::new(module, text, options, |module| with_numbers(&with_observations(module)?))?;
    let mut observed: Vec<Observed> = Vec::new();
    for window in text.chunks_exact(runner.window) {
        let outputs = runner.run(window, &[])?;
        let count = outputs.iter().filter(|output| output.name.starts_with("range.")).count();
        observed.resize(count, Observed::default());
        for (number, observed) in observed.iter_mut().enumerate() {
            let ranges = floats(&outputs, &range_output(number))?.unwrap_or_default();
            observed.extend(ranges, floats(&outputs, &rows_output(number))?.unwrap_or_default());
        }
    }
    Ok(observed)
}

/// How well a model foretells a text: runs of a module with the outputs of [`with_divergence`].
pub(crate) struct Judge {
    runner: Runner,
    /// The reference where there is none: a table of zeros.
    nothing: Tensor,
    vocabulary: usize,
}

impl Judge {
    /// To judge `module` on windows of `text`; it may have an input [`GATES`].
    pub(crate) fn new(module: &Module, text: &[i32], options: &CompileOptions) -> Result<Judge, Diagnostic> {
        let runner = Runner::new(module, text, options, with_divergence)?;
        let logits = module.graph.outputs.get("logits").map(|value| module.graph.ty(*value).shape.clone());
        let vocabulary = logits.and_then(|shape| shape.last()?.as_const()).unwrap_or(0).max(0) as usize;
        let nothing = runner.reference(vocabulary, &[])?;
        Ok(Judge { runner, nothing, vocabulary })
    }

    /// The windows of `text`.
    pub(crate) fn windows<'t>(&self, text: &'t [i32]) -> std::slice::ChunksExact<'t, i32> {
        text.chunks_exact(self.runner.window)
    }

    /// The logarithms of probabilities that the model gives for `window`, to compare with.
    pub(crate) fn reference(&mut self, window: &[i32], gates: Option<&[f32]>) -> Result<Tensor, Diagnostic> {
        let outputs = self.runner.run_judged(window, &self.nothing, gates)?;
        let found = floats(&outputs, LOG_PROBABILITIES)?.unwrap_or_default().to_vec();
        self.runner.reference(self.vocabulary, &found)
    }

    /// The mean divergence from `reference` of the judged tokens of `window`, in nats.
    pub(crate) fn divergence(
        &mut self,
        window: &[i32],
        reference: &Tensor,
        gates: Option<&[f32]>,
    ) -> Result<f64, Diagnostic> {
        let outputs = self.runner.run_judged(window, reference, gates)?;
        let found = judged(floats(&outputs, DIVERGENCE)?.unwrap_or_default());
        Ok(found.iter().map(|value| f64::from(*value)).sum::<f64>() / found.len().max(1) as f64)
    }

    /// What each judged token of `window` costs, in nats: their mean is the logarithm of the perplexity.
    pub(crate) fn losses(&mut self, window: &[i32]) -> Result<Vec<f64>, Diagnostic> {
        let vocabulary = self.vocabulary;
        let outputs = self.runner.run_judged(window, &self.nothing, None)?;
        let found = floats(&outputs, LOG_PROBABILITIES)?.unwrap_or_default();
        let rows: Vec<&[f32]> = found.chunks_exact(vocabulary.max(1)).collect();
        // The token at the next position is what a row foretells.
        let pairs: Vec<(&[f32], i32)> = rows.into_iter().zip(window[1..].iter().copied()).collect();
        let loss = |(row, token): &(&[f32], i32)| {
            let found = usize::try_from(*token).ok().and_then(|token| row.get(token));
            found.map_or(0.0, |value| -f64::from(*value))
        };
        Ok(judged(&pairs).iter().map(loss).collect())
    }
}

fn judged<T>(of_tokens: &[T]) -> &[T] {
    &of_tokens[(of_tokens.len() as f64 * (1.0 - JUDGED)) as usize..]
}

fn floats<'a>(outputs: &'a [OutputView], name: &str) -> Result<Option<&'a [f32]>, Diagnostic> {
    let output = outputs.iter().find(|output| output.name == name);
    let read = |output: &'a OutputView| output.tensor.as_slice::<f32>();
    output.map(read).transpose().map_err(|error| Diagnostic::new("calibrate", error))
}

/// A module that runs on windows of a text, on this machine.
struct Runner {
    session: Session,
    /// Every state, without rows.
    empty: Vec<(String, Tensor)>,
    window: usize,
}

impl Runner {
    /// To run what `prepare` makes of `module`, whose states become plain inputs: nothing is kept between windows.
    fn new(
        module: &Module,
        text: &[i32],
        options: &CompileOptions,
        prepare: fn(&Module) -> Result<Module, Diagnostic>,
    ) -> Result<Runner, Diagnostic> {
        let symbol = new_rows(module)?;
        let most = module.symbols.get(&symbol).map_or(WINDOW, |range| range.max);
        let window = WINDOW.min(most).min(text.len() as u64);
        if window < 2 {
            return Err(Diagnostic::new("calibrate", "there is no text to calibrate with")
                .help("give one: --calibrate FILE, of a few thousand words like those that the model will see"));
        }
        let module = prepare(&bind_symbol(module, &symbol, window)?)?;
        // The text is run on this machine, whatever the model is compiled for.
        let how = CompileOptions {
            target: drupe_target::Target::host(),
            quantize: None,
            error_budget: None,
            cache: None,
            gpu: None,
            assets: Vec::new(),
            ..options.clone()
        };
        let program = Program::from_bytes(&compile(&module, &how)?, &LoadOptions::default()).map_err(failed)?;
        let empty = empty_states(&program)?;
        let session = Session::new(&program, Options::default()).map_err(failed)?;
        Ok(Runner { session, empty, window: window as usize })
    }

    /// Logarithms of probabilities, `values` or zeros.
    fn reference(&self, vocabulary: usize, values: &[f32]) -> Result<Tensor, Diagnostic> {
        let shape = [self.window, vocabulary];
        let made = match values.len() == self.window * vocabulary {
            true => Tensor::from_slice(&shape, values),
            false => Tensor::zeros(drupe_runtime::DType::F32, &shape),
        };
        made.map_err(|error| Diagnostic::new("calibrate", error))
    }

    fn run_judged(
        &mut self,
        window: &[i32],
        reference: &Tensor,
        gates: Option<&[f32]>,
    ) -> Result<Vec<OutputView<'_>>, Diagnostic> {
        let gates = gates.map(|gates| Tensor::from_slice(&[gates.len()], gates)).transpose();
        let gates = gates.map_err(|error| Diagnostic::new("calibrate", error))?;
        let mut inputs = vec![(REFERENCE, reference.view())];
        inputs.extend(gates.iter().map(|gates| (GATES, gates.view())));
        self.run(window, &inputs)
    }

    fn run(&mut self, window: &[i32], others: &[(&str, TensorView)]) -> Result<Vec<OutputView<'_>>, Diagnostic> {
        let tokens =
            Tensor::from_slice(&[window.len()], window).map_err(|error| Diagnostic::new("calibrate", error))?;
        let mut inputs = vec![("tokens", tokens.view())];
        inputs.extend(self.empty.iter().map(|(name, tensor)| (name.as_str(), tensor.view())));
        inputs.extend(others.iter().cloned());
        self.session.run_views(&inputs).map_err(failed)
    }
}

fn failed(error: drupe_runtime::Error) -> Diagnostic {
    Diagnostic::new("calibrate", error)
}

/// The inputs that were states, without rows: those of no elements when all symbols are 0.
fn empty_states(program: &Program) -> Result<Vec<(String, Tensor)>, Diagnostic> {
    let plan = program.plan();
    let mut sizes = Vec::new();
    let none = vec![0; plan.symbols.len()];
    drupe_format::evaluate(&plan.exprs, &none, &mut sizes)
        .map_err(|(_, fault)| Diagnostic::new("calibrate", format!("{fault:?}")))?;
    let others = ["tokens", REFERENCE, GATES];
    let ports = plan.inputs.iter().filter(|port| !others.contains(&port.name.as_str()));
    let empty = |port: &drupe_format::plan::ArchivedPort| {
        let shape: Vec<usize> = port.shape.iter().map(|dim| sizes[dim.index()].max(0) as usize).collect();
        let tensor = Tensor::zeros(port.dtype, &shape).map_err(|error| Diagnostic::new("calibrate", error))?;
        Ok((port.name.as_str().to_owned(), tensor))
    };
    ports.map(empty).collect()
}
