//! Quantised products on a GPU, or on software that acts as one: all that it can do runs there. The interpreter is the
//! judge.

mod layers;

use drupe_eval::{Tolerance, eval};
use drupe_ir::{DType, Module, TensorData, parse};
use drupe_models::{Engine, Tensors};
use drupe_quantize::{Observed, StateBits, choose, find_linears, quantize_linears, quantize_states};

/// The GPU; none where `DRUPE_NO_GPU` says that there is none.
fn engines() -> Vec<(&'static str, Engine)> {
    match std::env::var_os("DRUPE_NO_GPU") {
        Some(_) => Vec::new(),
        None => vec![("gpu", Engine::find("gpu", None, None).unwrap_or_else(|error| panic!("{error}")))],
    }
}

#[test]
fn products_of_the_filetests() {
    layers::products_of_the_filetests(&engines());
}

#[test]
fn layers_of_every_scheme() {
    layers::layers_of_every_scheme(&engines());
}

/// Channels of the inputs of a toy's layers.
const CHANNELS: usize = 32;

/// A layer of a transformer, its words and its caches, for `rows` tokens at a time.
fn toy(rows: usize) -> Module {
    let text = include_str!("layers/toy.ir").replace("seq", &rows.to_string());
    let states = "state \"key\" -> \"key.next\"\nstate \"value\" -> \"value.next\"";
    parse(&format!("dim past in 0..=64\n{states}\n{text}"), "toy").unwrap_or_else(|error| panic!("{error}"))
}

/// `module` by `scheme`, its inputs observed to be what a pattern gives.
fn quantized(module: &Module, scheme: &str) -> Module {
    let of = |at: usize| ((at * 7919 + 13) % 1000) as f32 / 250.0 - 2.0;
    let row = |number: usize| -> Vec<f32> {
        let far = |at: usize| if [5, 20].contains(&at) { 30.0 } else { 1.0 };
        (0..CHANNELS).map(|at| far(at) * of(number * CHANNELS + at)).collect()
    };
    let mut observed = Observed::default();
    for row in (0..8).map(row) {
        observed.extend(&row.iter().map(|value| value.abs()).collect::<Vec<_>>(), &row);
    }
    let observed = vec![observed; find_linears(module).len()];
    let choices = choose(module, scheme.parse().expect("a scheme"), Some(&observed)).expect("choices");
    quantize_linears(module, &choices).unwrap_or_else(|error| panic!("{scheme}: {error}"))
}

/// A prompt, and one token behind it: what the caches hold then is what the interpreter makes of the prompt.
fn runs(prompt: &Module) -> [Tensors; 2] {
    let nothing = |name: &str| {
        let (_, input) = prompt.graph.inputs().find(|(input, _)| &***input == name).expect("an input");
        let ty = prompt.graph.ty(input);
        let shape = ty.shape.iter().map(|dim| dim.eval(&|_| Some(0)).expect("a number") as usize);
        TensorData::from_bytes(ty.dtype, shape.collect(), Vec::new()).expect("no rows")
    };
    let tokens = |count: usize| {
        let bytes = (0..count).flat_map(|at| ((at * 5 % 11) as i32).to_le_bytes()).collect();
        TensorData::from_bytes(DType::I32, vec![count], bytes).expect("as many")
    };
    let inputs = |tokens: TensorData, cache: &dyn Fn(&str) -> TensorData| -> Tensors {
        let names = prompt.graph.inputs().map(|(name, _)| name.to_string());
        let data = |name: String| match name.as_str() {
            "tokens" => (name, tokens.clone()),
            _ => (name.clone(), cache(&name)),
        };
        names.map(data).collect()
    };
    let first = inputs(tokens(ROWS), &nothing);
    let held = eval(prompt, &first).unwrap_or_else(|error| panic!("{error}"));
    let second = inputs(tokens(1), &|name| held[&*prompt.states[name]].clone());
    [first, second]
}

/// Tokens of the prompt: more than a tile of few rows, and no whole tiles.
const ROWS: usize = 21;

#[test]
fn a_language_model_by_every_scheme() {
    let [prompt, one] = [ROWS, 1].map(toy);
    for scheme in layers::SCHEMES {
        let modules = [&prompt, &one].map(|module| quantized(module, scheme));
        let inputs = runs(&modules[0]);
        // Of 65 thousand steps that an input of 16 bits has, some are so near that the order of a sum decides: with
        // `w4a16` AVX-512 is 2.1e-5 of the range from the interpreter, as the GPU is.
        let tolerance = if scheme.contains("a16") { Tolerance::OtherEngine } else { Tolerance::Compiled };
        for (module, inputs) in modules.iter().zip(&inputs) {
            layers::check_within(tolerance, scheme, module, std::slice::from_ref(inputs), &engines());
        }
    }
}

#[test]
fn a_language_model_with_quantised_caches() {
    for bits in [StateBits::Eight, StateBits::Four] {
        let modules = [ROWS, 1].map(|rows| {
            let module = quantized(&toy(rows), "w8");
            quantize_states(&module, bits).unwrap_or_else(|error| panic!("{error}"))
        });
        let inputs = runs(&modules[0]);
        for (module, inputs) in modules.iter().zip(&inputs) {
            layers::check(&format!("{bits:?}"), module, std::slice::from_ref(inputs), &engines());
        }
    }
}
