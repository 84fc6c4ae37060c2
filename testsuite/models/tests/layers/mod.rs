//! Quantised products for tests of what runs them: those of the filetests, and layers of every scheme.

use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{Module, TensorData, parse};
use drupe_models::{Engine, Tensors};
use drupe_quantize::{Observed, Scheme, choose, quantize_linears};
use drupe_testsuite::{FileTest, folder, module, runs};

/// Compares what every engine makes of `module` with what the interpreter does, for each of `inputs`.
pub fn check(name: &str, module: &Module, inputs: &[Tensors], engines: &[(&str, Engine)]) {
    check_within(Tolerance::Compiled, name, module, inputs, engines);
}

/// [`check`] with a tolerance of one's own.
pub fn check_within(tolerance: Tolerance, name: &str, module: &Module, inputs: &[Tensors], engines: &[(&str, Engine)]) {
    for (level, engine) in engines {
        let mut loaded =
            engine.load_module(module.clone(), 1).unwrap_or_else(|error| panic!("{name}, {level}: {error}"));
        for inputs in inputs {
            let expected = eval(module, inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
            let got = loaded.run(inputs).unwrap_or_else(|error| panic!("{name}, {level}: {error}"));
            assert_eq!(expected.len(), got.len());
            for (output, expected) in &expected {
                let report = compare(expected, &got[output]);
                assert!(report.is_within(tolerance), "{name}, {level}: {output}: {report}");
            }
        }
    }
}

/// The products of the `compile` filetests: one row, a number of rows, and rows by a symbol; signed and unsigned, with
/// and without offsets, rows that are no whole blocks, inputs of integers and of floats.
pub fn products_of_the_filetests(engines: &[(&str, Engine)]) {
    let mut files = 0;
    for form in ["quantized-linear", "weight-quantized-linear"] {
        for rows in ["", "-rows", "-batch"] {
            let name = format!("compile/{form}{rows}.ir");
            let text = std::fs::read_to_string(folder().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let text = text.split("// ----").next().expect("a first part").to_owned();
            let test = FileTest { name: name.clone(), arguments: Vec::new(), text };
            let module = module(&test).unwrap_or_else(|error| panic!("{name}: {error}"));
            let runs = runs(&test, &module, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
            let inputs: Vec<Tensors> = runs.into_iter().map(|run| run.inputs).collect();
            check(&name, &module, &inputs, engines);
            files += 1;
        }
    }
    assert_eq!(files, 6);
}

/// Channels of the input of the schemes' layers.
const DEPTH: usize = 96;

/// What `drupe compile --quant` takes, but for what changes nothing in the kernels.
pub const SCHEMES: [&str; 15] = [
    "w8a8",
    "w4a8",
    "w8a8-g32",
    "w4a8-asym",
    "w8a8-g32-asym",
    "w8a8-static",
    "w8a8-blocks",
    "w4a8-asym-blocks",
    "w8a8-outliers",
    "w4a8-asym-outliers",
    "w8a16",
    "w4a16",
    "w8",
    "w4-asym",
    "f4",
];

/// `rows` rows, two channels far beyond the others.
fn input(rows: usize) -> Vec<f32> {
    let of = |at: usize| {
        let value = ((at * 7919 + 13) % 1000) as f32 / 500.0 - 1.0;
        if [5, 70].contains(&(at % DEPTH)) { 60.0 * value } else { value }
    };
    (0..rows * DEPTH).map(of).collect()
}

/// Layers as a language model has them, every scheme: one row as when a token is generated, and a chunk.
pub fn layers_of_every_scheme(engines: &[(&str, Engine)]) {
    for rows in [1, 21] {
        let text = format!(
            "const @a = random seed=1 : f32[{DEPTH}, 40]
             const @b = random seed=2 : f32[{DEPTH}, 24]
             func @layers(%x: f32[{rows}, {DEPTH}]) {{
               %a = const @a : f32[{DEPTH}, 40]
               %b = const @b : f32[{DEPTH}, 24]
               %p = matmul(%x, %a)
               %q = matmul(%x, %b)
               return \"p\" %p, \"q\" %q
             }}"
        );
        let model = parse(&text, "layers").expect("a valid module");
        let x = input(rows);
        let mut observed = Observed::default();
        for row in input(4).chunks(DEPTH) {
            observed.extend(&row.iter().map(|value| value.abs()).collect::<Vec<_>>(), row);
        }
        let x = TensorData::from_f32(vec![rows, DEPTH], &x).expect("as many");
        let inputs: Tensors = [("x".to_owned(), x)].into_iter().collect();
        for name in SCHEMES {
            let scheme: Scheme = name.parse().expect("a scheme");
            let choices = choose(&model, scheme, Some(&[observed.clone()])).expect("choices");
            assert!(choices.iter().all(Option::is_some), "{name}: every layer is quantised");
            let quantized = quantize_linears(&model, &choices).unwrap_or_else(|error| panic!("{name}: {error}"));
            check(&format!("{name}, {rows} rows"), &quantized, std::slice::from_ref(&inputs), engines);
        }
    }
}
