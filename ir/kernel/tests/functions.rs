//! The functions that the builder expands, against the C library's in f64.

mod support;

use drupe_ir::{BinaryOp, DType, UnaryOp};
use support::{binary_f32, binary_f64, samples, unary_f32, unary_f64};

/// The distance of `got` from `expected`, in units in the last place of an f32; results below the smallest normal
/// number may be 0.
fn ulps(got: f32, expected: f64) -> f64 {
    let rounded = expected as f32;
    if got == rounded || (got.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    if expected.abs() < f64::from(f32::MIN_POSITIVE) && got.abs() <= f32::MIN_POSITIVE {
        return 0.0;
    }
    if !got.is_finite() || !rounded.is_finite() {
        return f64::INFINITY;
    }
    let unit = 2f64.powi(expected.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32 - 23);
    (f64::from(got) - expected).abs() / unit
}

fn relative(got: f64, expected: f64) -> f64 {
    if got == expected || (got.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    if expected.abs() < f64::MIN_POSITIVE && got.abs() <= f64::MIN_POSITIVE {
        return 0.0;
    }
    if !got.is_finite() || !expected.is_finite() {
        return f64::INFINITY;
    }
    ((got - expected) / expected).abs()
}

type Reference = fn(f64) -> f64;

/// libm gives numbers below -1, where there are none.
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

/// Each function, the range of its samples (magnitudes), and its largest errors: f32 in units in the last place,
/// f64 relative.
const FUNCTIONS: &[(UnaryOp, Reference, f64, f64, f64)] = &[
    (UnaryOp::Exp, libm::exp, 800.0, 0.9, 3e-16),
    (UnaryOp::Log, libm::log, 1e300, 0.8, 3e-16),
    (UnaryOp::Sin, libm::sin, 1e5, 1.5, 3e-16),
    (UnaryOp::Cos, libm::cos, 1e5, 1.5, 3e-16),
    (UnaryOp::Tan, libm::tan, 1e5, 2.8, 5e-16),
    (UnaryOp::Asin, libm::asin, 1.0, 2.3, 5e-16),
    (UnaryOp::Acos, libm::acos, 1.0, 1.3, 3e-16),
    (UnaryOp::Atan, libm::atan, 1e300, 1.8, 3e-16),
    (UnaryOp::Sinh, libm::sinh, 800.0, 1.5, 4e-16),
    (UnaryOp::Cosh, libm::cosh, 800.0, 1.2, 3e-16),
    (UnaryOp::Tanh, libm::tanh, 30.0, 1.2, 4e-16),
    (UnaryOp::Asinh, libm::asinh, 1e300, 1.7, 4e-16),
    (UnaryOp::Acosh, acosh, 1e300, 1.6, 3e-16),
    (UnaryOp::Atanh, libm::atanh, 1.0, 1.3, 3e-16),
    (UnaryOp::Erf, libm::erf, 8.0, 1.0, 3e-16),
];

#[test]
fn f32_functions_are_within_their_bounds() {
    let mut over = Vec::new();
    for (op, reference, range, bound, _) in FUNCTIONS {
        let inputs: Vec<f32> = samples(*range, 400_000).into_iter().map(|x| x as f32).collect();
        let outputs = unary_f32(*op, &inputs);
        let errors = inputs.iter().zip(&outputs).map(|(x, y)| (ulps(*y, reference(f64::from(*x))), *x));
        let (worst, at) = errors.fold((0.0, 0.0), |worst, error| if error.0 > worst.0 { error } else { worst });
        if std::env::var_os("SHOW_ERRORS").is_some() {
            eprintln!("{:6} f32 {worst:.3} ulp at {at:e}", op.name());
        }
        if worst > *bound {
            over.push(format!("{}: {worst} ulp at {at:e}, not {bound}", op.name()));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

#[test]
fn f64_functions_are_within_their_bounds() {
    let mut over = Vec::new();
    for (op, reference, range, _, bound) in FUNCTIONS {
        let inputs = samples(*range, 200_000);
        let outputs = unary_f64(*op, &inputs);
        let errors = inputs.iter().zip(&outputs).map(|(x, y)| (relative(*y, reference(*x)), *x));
        let (worst, at) = errors.fold((0.0, 0.0), |worst, error| if error.0 > worst.0 { error } else { worst });
        if std::env::var_os("SHOW_ERRORS").is_some() {
            eprintln!("{:6} f64 {worst:.3e} at {at:e}", op.name());
        }
        if worst > *bound {
            over.push(format!("{}: {worst:e} at {at:e}, not {bound:e}", op.name()));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

const SPECIAL: &[f64] = &[
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1.0,
    -1.0,
    2.0,
    -2.0,
    0.5,
    -0.5,
    3.0,
    -3.0,
    1.5,
    -1.5,
    1e-30,
    -1e-30,
    1e30,
    -1e30,
    100.0,
    -100.0,
];

#[test]
fn special_values_are_those_of_c() {
    let mut wrong = Vec::new();
    for (op, reference, ..) in FUNCTIONS {
        // The sine of 1e30 is not what these are for.
        let periodic = matches!(op, UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Tan);
        let inputs: Vec<f64> = SPECIAL.iter().copied().filter(|x| !periodic || x.abs() != 1e30).collect();
        let narrow: Vec<f32> = inputs.iter().map(|x| *x as f32).collect();
        let (outputs, narrow) = (unary_f64(*op, &inputs), unary_f32(*op, &narrow));
        for (index, x) in inputs.iter().enumerate() {
            let (expected, single) = (reference(*x), reference(f64::from(*x as f32)));
            let zero_differs = expected == 0.0 && outputs[index].to_bits() != expected.to_bits();
            if relative(outputs[index], expected) > 1e-14 || zero_differs {
                wrong.push(format!("f64 {}({x}) = {}, not {expected}", op.name(), outputs[index]));
            }
            let zero_differs = single == 0.0 && narrow[index].to_bits() != (single as f32).to_bits();
            if ulps(narrow[index], single) > 3.0 || zero_differs {
                wrong.push(format!("f32 {}({x}) = {}, not {single}", op.name(), narrow[index]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn large_angles_stay_bounded() {
    let inputs: Vec<f32> = vec![1e10, 3e12, 1e20, f32::MAX, -f32::MAX];
    for op in [UnaryOp::Sin, UnaryOp::Cos] {
        for (x, y) in inputs.iter().zip(unary_f32(op, &inputs)) {
            assert!(y.abs() <= 1.0, "{}({x}) = {y}", op.name());
            if x.abs() < 1e13 {
                let expected = if op == UnaryOp::Sin { libm::sin((*x).into()) } else { libm::cos((*x).into()) };
                assert!(ulps(y, expected) < 1.5, "{}({x}) = {y}, not {expected}", op.name());
            }
        }
    }
}

/// All pairs of `xs`.
fn pairs(xs: &[f64]) -> (Vec<f64>, Vec<f64>) {
    xs.iter().flat_map(|a| xs.iter().map(|b| (*a, *b))).unzip()
}

#[test]
fn powers() {
    let (mut a, mut b) = pairs(SPECIAL);
    for (x, y) in samples(30.0, 300).iter().zip(samples(20.0, 300).iter().rev()) {
        a.push(x.abs());
        b.push(*y);
    }
    let mut wrong = Vec::new();
    let outputs = binary_f64(BinaryOp::Pow, &a, &b);
    let narrow = |xs: &[f64]| xs.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let (a32, b32) = (narrow(&a), narrow(&b));
    let outputs32 = binary_f32(BinaryOp::Pow, &a32, &b32);
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let expected = libm::pow(*a, *b);
        let got = outputs[index];
        if relative(got, expected) > 2e-13 || (expected == 0.0 && got.to_bits() != expected.to_bits()) {
            wrong.push(format!("f64 {a}^{b} = {got}, not {expected}"));
        }
        let (expected, got) = (libm::pow(a32[index].into(), b32[index].into()), outputs32[index]);
        if ulps(got, expected) > 0.51 {
            wrong.push(format!("f32 {a}^{b} = {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn float_remainders_are_exact() {
    let mut xs = SPECIAL.to_vec();
    xs.extend(samples(1e12, 60));
    xs.extend([1e-40, 7e37, 0.1, -0.1, 5e18]);
    let (a, b) = pairs(&xs);
    let same = |got: f64, expected: f64| got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan());
    let outputs = binary_f64(BinaryOp::Rem, &a, &b);
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let (got, expected) = (outputs[index], a % b);
        assert!(same(got, expected), "f64 {a:e} % {b:e} = {got:e}, not {expected:e}");
    }
    let narrow = |xs: &[f64]| xs.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let (a, b) = (narrow(&a), narrow(&b));
    for (index, got) in binary_f32(BinaryOp::Rem, &a, &b).into_iter().enumerate() {
        let expected = a[index] % b[index];
        assert!(same(got.into(), expected.into()), "f32 {:e} % {:e} = {got:e}, not {expected:e}", a[index], b[index]);
    }
}

#[test]
fn integer_powers_and_signs() {
    let bases = [-3i64, -2, -1, 0, 1, 2, 3, 7, 1000];
    let exponents = [-3i64, -2, -1, 0, 1, 2, 5, 15, 16, 31, 62, 63];
    for base in bases {
        for exponent in exponents {
            let got = support::int_pow(DType::I64, base, exponent);
            let expected = match (base, exponent) {
                (1, _) => 1,
                (-1, _) => 1 - 2 * (exponent & 1),
                (_, ..0) => 0,
                _ => base.wrapping_pow(exponent as u32),
            };
            assert_eq!(got, expected, "{base}^{exponent}");
        }
    }
    assert_eq!(support::int_pow(DType::U8, 3, 200), i64::from(3u8.wrapping_pow(200)));
    assert_eq!(support::int_sign(DType::I8, -5), -1);
    assert_eq!(support::int_sign(DType::I8, 0), 0);
    assert_eq!(support::int_sign(DType::U8, 200), 1);
}

#[test]
fn half_floats_compute_in_f32() {
    let got = support::unary_f16(UnaryOp::Exp, &[0.0, 1.0, -3.5, f32::INFINITY, 20.0]);
    let expected = [0.0f32, 1.0, -3.5, f32::INFINITY, 20.0].map(|x| half::f16::from_f32(x.exp()).to_f32());
    assert_eq!(got, expected);
}

#[test]
fn signs_and_classes_of_floats() {
    let inputs = [0.0f32, -0.0, 3.0, -2.5, f32::INFINITY, f32::NEG_INFINITY];
    let got: Vec<u32> = unary_f32(UnaryOp::Sign, &inputs).into_iter().map(f32::to_bits).collect();
    assert_eq!(got, [0.0f32, -0.0, 1.0, -1.0, 1.0, -1.0].map(f32::to_bits));
    let inputs = [0.0f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    assert_eq!(support::predicate_f32(UnaryOp::IsNan, &inputs), [0, 1, 0, 0]);
    assert_eq!(support::predicate_f32(UnaryOp::IsInf, &inputs), [0, 0, 1, 1]);
}
