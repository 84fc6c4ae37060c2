//! Random modules mean the same rewritten; rewriting gives the same text again.

use drupe_eval::{Tolerance, compare, eval};
use drupe_target::Target;
use drupe_testsuite::{Options, random_inputs, random_module};

/// Modules that are tried; more with `FUZZ_SEEDS=from..to`.
fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("FUZZ_SEEDS").ok();
    let range = given.as_deref().and_then(|text| text.split_once("..")).and_then(|(from, to)| {
        let number = |text: &str| text.parse::<u64>().ok();
        Some(number(from)?..number(to)?)
    });
    range.unwrap_or(0..2000)
}

#[test]
fn random_modules_keep_their_values() {
    let target = Target::find("x86-64").unwrap();
    let mut fired = 0;
    for seed in seeds() {
        let module = random_module(seed, &Options { nodes: 14, ..Options::default() });
        let rewrite = || drupe_rewrite::rewrite(&module, &target, &drupe_rewrite::Options::default());
        let (rewritten, report) = rewrite().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{module}"));
        fired += report.rules.values().sum::<usize>();
        assert_eq!(rewrite().unwrap().0.to_string(), rewritten.to_string(), "seed {seed} is not deterministic");
        let inputs = random_inputs(&module, seed);
        // Some random modules divide integers by zero extents and the like: no values, nothing to compare.
        let Ok(expected) = eval(&module, &inputs) else { continue };
        let found = eval(&rewritten, &inputs).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{rewritten}"));
        for (name, expected) in &expected {
            let report = compare(expected, &found[name]);
            let same = report.is_within(Tolerance::OtherEngine);
            assert!(same, "seed {seed}, {name}: {report:?}\n{module}\n{rewritten}");
        }
    }
    assert!(fired > 100, "only {fired} rules have fired");
}
