//! What can be done to the input of a linear layer before it is rounded: exact but for the rounding, and measured.

use drupe_eval::eval;
use drupe_ir::{Module, TensorData, parse};
use drupe_quantize::{GATES, Observed, Scheme, choose, quantize_by_gates, quantize_linears};

/// Channels of the input, and rows of it.
const DEPTH: usize = 96;
const ROWS: usize = 4;

/// Two layers of one input, which is the module's.
fn model() -> Module {
    let text = "
const @a = random seed=1 : f32[40, 96]
const @b = random seed=2 : f32[96, 24]
func @model(%x: f32[4, 96]) {
  %a = const @a : f32[40, 96]
  %b = const @b : f32[96, 24]
  %at = transpose(%a) perm=[1, 0]
  %p = matmul(%x, %at)
  %q = matmul(%x, %b)
  %y = concat(%p, %q) axis=1
  return \"y\" %y
}";
    parse(text, "model.ir").expect("a module")
}

/// An input with two channels far beyond the others.
fn input() -> Vec<f32> {
    let of = |at: usize| {
        let value = ((at * 7919 + 13) % 1000) as f32 / 500.0 - 1.0;
        if [5, 70].contains(&(at % DEPTH)) { 60.0 * value } else { value }
    };
    (0..ROWS * DEPTH).map(of).collect()
}

fn run(module: &Module, x: &[f32]) -> Vec<f32> {
    let x = TensorData::from_f32(vec![ROWS, DEPTH], x).expect("as many");
    let outputs = eval(module, &[("x".to_owned(), x)].into_iter().collect()).expect("it runs");
    outputs["y"].to_f32().expect("floats")
}

/// The relative squared error of `scheme`: that of a run, and that which was measured for the choice.
fn errors(module: &Module, scheme: &str) -> (f64, f64) {
    let (scheme, x): (Scheme, _) = (scheme.parse().expect("a scheme"), input());
    let mut observed = Observed::default();
    for row in x.chunks(DEPTH) {
        observed.extend(&row.iter().map(|value| value.abs()).collect::<Vec<_>>(), row);
    }
    let choices = choose(module, scheme, Some(&[observed])).expect("choices");
    let choice = choices[0].as_ref().expect("a choice");
    assert_eq!(choice.scheme(), scheme, "everything that the scheme has is in the choice");
    let quantized = quantize_linears(module, &choices).unwrap_or_else(|error| panic!("{error}"));
    quantized.verify().unwrap_or_else(|error| panic!("{error}"));
    let (exact, got) = (run(module, &x), run(&quantized, &x));
    let columns = exact.len() / ROWS;
    let relative = |(exact, got): (&[f32], &[f32])| {
        let squares: f64 = exact.iter().map(|value| f64::from(*value).powi(2)).sum();
        exact.iter().zip(got).map(|(exact, got)| f64::from(exact - got).powi(2)).sum::<f64>() / squares
    };
    let rows = exact.chunks(columns).zip(got.chunks(columns));
    (rows.map(relative).sum::<f64>() / ROWS as f64, choice.error.expect("it is measured"))
}

/// Every combination of parts that changes what is computed.
const SCHEMES: [&str; 17] = [
    "w8a8",
    "w4a8",
    "w4a8-asym",
    "w8a8-g32-asym",
    "w8a8-static",
    "w8a8-blocks",
    "w8a8-g32-blocks-outliers",
    "w4a8-asym-blocks-smooth",
    "w8a8-outliers",
    "w8a8-static-outliers",
    "w8a8-smooth",
    "w8a8-static-smooth",
    "w8a8-rotate",
    "w8a8-smooth-rotate",
    "w4a8-smooth-rotate-outliers",
    "w8a16",
    "w4a16-smooth-rotate",
];

#[test]
fn the_measured_error_is_that_of_a_run() {
    for scheme in SCHEMES {
        let (run, measured) = errors(&model(), scheme);
        assert!((run - measured).abs() < 0.02 * run + 1e-9, "{scheme}: {run} {measured}");
    }
}

#[test]
fn large_channels_are_dealt_with() {
    let of = |scheme| errors(&model(), scheme).0;
    let plain = of("w8a8");
    for scheme in ["w8a8-smooth", "w8a8-rotate", "w8a8-blocks", "w8a8-outliers", "w8a16"] {
        assert!(of(scheme) < 0.5 * plain, "{scheme}: {} of {plain}", of(scheme));
    }
}

/// Weights that are integers already lose nothing, so that only the input is rounded: to 32512 steps.
#[test]
fn sixteen_bits_are_exact_to_their_step() {
    let mut module = model();
    let whole = |count: usize| -> Vec<f32> { (0..count).map(|at| ((at * 37) % 255) as f32 - 127.0).collect() };
    for (name, shape) in [("a", [40, 96]), ("b", [96, 24])] {
        let mut numbers = whole(shape[0] * shape[1]);
        // Every column has a weight of 127, which makes the scale 1.
        let at = |column: usize| if name == "a" { column * 96 } else { column };
        (0..if name == "a" { 40 } else { 24 }).for_each(|column| numbers[at(column)] = 127.0);
        module.constants[name] = TensorData::from_f32(shape.to_vec(), &numbers).expect("as many");
    }
    let (wide, narrow) = (errors(&module, "w8a16").0, errors(&module, "w8a8").0);
    assert!(wide < narrow / 40000.0, "{wide} {narrow}: 256 times finer, squared");
}

#[test]
fn gates_open_groups_one_by_one() {
    let module = model();
    let choices = choose(&module, "w4a8".parse().expect("a scheme"), None).expect("choices");
    let gated = quantize_by_gates(&module, &choices).expect("a module");
    gated.verify().unwrap_or_else(|error| panic!("{error}"));
    let x = TensorData::from_f32(vec![ROWS, DEPTH], &input()).expect("as many");
    let with = |gate: f32| {
        let gate = TensorData::from_f32(vec![1], &[gate]).expect("one");
        let inputs = [("x".to_owned(), x.clone()), (GATES.to_owned(), gate)].into_iter().collect();
        eval(&gated, &inputs).expect("it runs")["y"].to_f32().expect("floats")
    };
    let (float, integer) = (run(&module, &input()), run(&quantize_linears(&module, &choices).expect("one"), &input()));
    assert_eq!(with(0.0), float, "closed");
    assert_ne!(float, integer);
    for ((half, float), integer) in with(0.5).iter().zip(&float).zip(&integer) {
        assert!((half - (float + integer) / 2.0).abs() < 1e-3 * (1.0 + half.abs()), "{half} {float} {integer}");
    }
}
