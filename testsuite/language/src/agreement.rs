//! Whether a model agrees with its reference.

use crate::engine::Runner;
use crate::{Engine, Reference, Tensors};
use drupe_eval::{Report, compare};
use drupe_ir::{DType, Diagnostic, Module, TensorData};
use drupe_language::Options;
use indexmap::IndexMap;

/// What is checked of a model, in order.
pub const CHECKS: [&str; 3] = ["one pass", "continued", "gguf"];

/// The tokens that are run one by one in a continuation; the others behind the prefix are run at once.
const SINGLE_TOKENS: usize = 2;

/// Runs the model of `reference` by `engine`: for each of [`CHECKS`] what the comparison found, or nothing where the
/// model has no such thing.
pub fn check(reference: &Reference, engine: Engine) -> [Option<Result<Report, Diagnostic>>; 3] {
    let options = Options { context: reference.context, ..Options::default() };
    let of_folder = drupe_safetensors::import(&reference.folder, &options).and_then(|module| {
        let states = module.states.len();
        let caches = empty_caches(&module);
        let windows = windows(&module);
        Ok((engine.load(module)?, (caches, windows), states))
    });
    let (at_once, in_parts) = match of_folder {
        Ok((mut run, (caches, windows), states)) => {
            let at_once = one_pass(&mut run, reference, &caches);
            (at_once, (states > 0).then(|| continued(&mut run, reference, &caches, &windows)))
        }
        Err(error) => (Err(error), None),
    };
    let gguf = reference.gguf.as_ref().map(|path| {
        let module = drupe_gguf::import(path, &options)?;
        let caches = empty_caches(&module);
        one_pass(&mut engine.load(module)?, reference, &caches)
    });
    [Some(at_once), in_parts, gguf]
}

/// All tokens at once.
fn one_pass(run: &mut Runner, reference: &Reference, caches: &Tensors) -> Result<Report, Diagnostic> {
    let (inputs, output) = split(reference)?;
    let mut all = caches.clone();
    all.extend(inputs);
    let outputs = run(&all)?;
    Ok(compare(&reference.tensors[output], find(&outputs, output)?))
}

/// A prefix, some tokens one by one, and the rest.
fn continued(
    run: &mut Runner,
    reference: &Reference,
    caches: &Tensors,
    windows: &IndexMap<String, usize>,
) -> Result<Report, Diagnostic> {
    let tokens = find(&reference.tensors, "tokens")?;
    let count = tokens.elements();
    let prefix = count / 2;
    let mut ends = vec![prefix];
    ends.extend((prefix + 1..count).take(SINGLE_TOKENS));
    ends.push(count);
    let (mut caches, mut logits, mut start) = (caches.clone(), Vec::new(), 0);
    for end in ends {
        let mut inputs = caches.clone();
        let part = tokens.bytes()[4 * start..4 * end].to_vec();
        inputs.insert("tokens".into(), data(DType::I32, vec![end - start], part)?);
        let outputs = run(&inputs)?;
        logits.extend_from_slice(find(&outputs, "logits")?.bytes());
        for (name, cache) in &mut caches {
            *cache = find(&outputs, &format!("{name}.next"))?.clone();
            if let Some(rows) = windows.get(name) {
                *cache = last_rows(cache, *rows)?;
            }
        }
        start = end;
    }
    let expected = find(&reference.tensors, "logits")?;
    Ok(compare(expected, &data(DType::F32, expected.shape.clone(), logits)?))
}

/// The reference's inputs, and the name of its output.
fn split(reference: &Reference) -> Result<(Tensors, &'static str), Diagnostic> {
    let is_output = |name: &str| ["logits", "last_hidden_state"].into_iter().find(|output| *output == name);
    let output = reference.tensors.keys().find_map(|name| is_output(name));
    let output = output.ok_or_else(|| Diagnostic::new("reference", "it has no output"))?;
    let inputs = reference.tensors.iter().filter(|(name, _)| is_output(name).is_none());
    Ok((inputs.map(|(name, data)| (name.clone(), data.clone())).collect(), output))
}

/// The caches of `module` before the first token.
fn empty_caches(module: &Module) -> Tensors {
    let shape = |name: &str| {
        let (_, value) = module.graph.inputs().find(|(input, _)| &***input == name)?;
        Some(module.graph.ty(value).shape.iter().map(|dim| dim.as_const().unwrap_or(0) as usize).collect())
    };
    let dtype = |name: &str| {
        let (_, value) = module.graph.inputs().find(|(input, _)| &***input == name)?;
        Some(module.graph.ty(value).dtype)
    };
    let empty = |name: &str| TensorData::from_bytes(dtype(name)?, shape(name)?, Vec::new()).ok();
    let cache = |name: &str| Some((name.to_string(), empty(name)?));
    module.states.keys().filter_map(|name| cache(name)).collect()
}

/// The states of which only some rows count, and how many.
fn windows(module: &Module) -> IndexMap<String, usize> {
    module.windows.iter().map(|(name, rows)| (name.to_string(), *rows as usize)).collect()
}

/// The last rows of `data`, as many as `rows` or all.
fn last_rows(data: &TensorData, rows: usize) -> Result<TensorData, Diagnostic> {
    let mut shape = data.shape.clone();
    let [all, _, _] = *shape.as_slice() else { return Err(Diagnostic::new("reference", "a cache of another rank")) };
    shape[0] = all.min(rows);
    let bytes = data.bytes().len() / all.max(1) * shape[0];
    self::data(data.dtype, shape, data.bytes()[data.bytes().len() - bytes..].to_vec())
}

fn find<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a TensorData, Diagnostic> {
    tensors.get(name).ok_or_else(|| Diagnostic::new("reference", format!("there is no tensor {name:?}")))
}

fn data(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<TensorData, Diagnostic> {
    TensorData::from_bytes(dtype, shape, bytes).map_err(|error| Diagnostic::new("reference", error))
}
