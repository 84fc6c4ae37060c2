//! Print, parse, print is the identity; and no text makes the parser panic.

use drupe_ir::{Module, TensorData, Type, parse};
use drupe_testsuite::{Options, Random, random_inputs, random_module};
use proptest::prelude::*;

fn options() -> Options {
    Options { dtypes: drupe_ir::DType::ALL.to_vec(), ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn printed_modules_read_back_as_the_same_text(seed: u64) {
        let text = random_module(seed, &options()).to_string();
        let again = parse(&text, "text").map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn edited_texts_never_panic(seed: u64) {
        let mut random = Random::new(seed);
        let mut bytes = random_module(seed, &options()).to_string().into_bytes();
        for _ in 0..random.between(1, 6) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.bits() as u8,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, *random.pick(b"0123456789-+*/%@[](){}<>=:,\"\\. \n")),
                _ => {
                    let from = random.below(bytes.len());
                    let to = (from + random.below(12)).min(bytes.len());
                    let piece = bytes[from..to].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        if let Ok(module) = parse(&String::from_utf8_lossy(&bytes), "text") {
            prop_assert!(parse(&module.to_string(), "text").is_ok());
        }
    }

    #[test]
    fn random_modules_evaluate(seed: u64) {
        let module = random_module(seed, &Options::default());
        if let Err(error) = drupe_eval::eval_all(&module, &random_inputs(&module, seed)) {
            prop_assert!(error.code == "eval", "{}\n{}", error, module);
        }
    }
}

#[test]
fn deep_nesting_is_an_error() {
    for open in ["(", "max(", "[", "-("] {
        let text = format!("func @m(%0: f32[{}", open.repeat(100_000));
        assert!(parse(&text, "text").is_err());
        let text = format!("func @m() {{ %0 = dims() values={}", open.repeat(100_000));
        assert!(parse(&text, "text").is_err());
    }
}

#[test]
fn contents_of_every_type_survive() {
    for dtype in drupe_ir::DType::ALL {
        let mut module = Module::new("contents");
        let data = TensorData::random(*dtype, vec![3], 7).unwrap();
        let value = module.constant("a constant", data.clone());
        module.output("y", value);
        let again = parse(&module.to_string(), "text").unwrap();
        assert_eq!(again.constants["a constant"], data, "{dtype}");
    }
}

#[test]
fn the_order_of_inputs_and_constants_does_not_matter() {
    let mut module = Module::new("order");
    let one = module.scalar(drupe_ir::DType::F32, 1.0);
    let x = module.input("x", Type::new(drupe_ir::DType::F32, [2])).unwrap();
    let op = drupe_ir::ops::Add {};
    let sum = module.add(op.into(), &[x, one], &Default::default()).unwrap();
    module.output("sum", sum);
    let text = module.to_string();
    assert_eq!(parse(&text, "text").unwrap().to_string(), text);
}
