//! Passes over the tensor IR.

use crate::{same, target};
use drupe_eval::eval;
use drupe_ir::Module;
use drupe_rewrite::{Options, PIPELINE, PassFn, Report};
use drupe_testsuite::{FileTest, module, runs};

/// How many random inputs are tried.
const SEEDS: u64 = 4;

/// `pass`: the module after the passes that the header names, or after the whole pipeline if it names none.
pub fn pass(test: &FileTest) -> Result<String, String> {
    let before = module(test)?;
    let mut after = before.clone();
    for (name, pass) in passes(&test.arguments)? {
        let attempt = pass(after, &target(test)?, &Options::default(), &mut Report::default());
        after = attempt.map_err(|error| format!("{name}: {error}"))?;
        after.verify().map_err(|error| format!("{name} has broken the module: {error}\n{after}"))?;
    }
    same_values(test, &before, &after)?;
    Ok(after.to_string())
}

fn passes(names: &[String]) -> Result<Vec<(&'static str, PassFn)>, String> {
    if names.is_empty() {
        return Ok(PIPELINE.to_vec());
    }
    let find = |name: &String| {
        let known = || PIPELINE.iter().map(|(name, _)| *name).collect::<std::collections::BTreeSet<_>>();
        let pass = PIPELINE.iter().find(|(known, _)| known == name).copied();
        pass.ok_or_else(|| format!("there is no pass `{name}`, only {:?}", known()))
    };
    names.iter().map(find).collect()
}

fn same_values(test: &FileTest, before: &Module, after: &Module) -> Result<(), String> {
    for seed in 0..SEEDS {
        for run in runs(test, before, seed)? {
            let expected = eval(before, &run.inputs).map_err(|error| error.to_string())?;
            let got = eval(after, &run.inputs).map_err(|error| format!("after the passes: {error}\n{after}"))?;
            same("after the passes", &expected, &got).map_err(|error| format!("{error}\n{after}"))?;
        }
    }
    Ok(())
}
