//! Lowering: what runs on which bytes.

use crate::interpret::interpret;
use crate::kernel::read_back;
use crate::{same, target};
use drupe_eval::eval;
use drupe_lower::{Options, Placement, Program};
use drupe_testsuite::{FileTest, module, runs};

/// `lower`: the program that the module becomes, without rewriting. With the word `observe` every node's result
/// is kept; with `gpu` all that the target's GPU can run is placed there, with `fastest` what the cost model says.
pub fn lower(test: &FileTest) -> Result<String, String> {
    let module = module(test)?;
    let target = target(test)?;
    let (observe, gpu) = match test.arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (false, None),
        ["observe"] => (true, None),
        ["gpu"] => (false, Some(Placement::Gpu)),
        ["fastest"] => (false, Some(Placement::Fastest)),
        _ => return Err("the words behind `lower` are none, `observe`, `gpu` or `fastest`".into()),
    };
    let program = drupe_lower::lower(&module, &target, &Options { observe, gpu }).map_err(|error| error.to_string())?;
    let shaders = program.shaders.iter().flat_map(|shader| shader.all());
    for kernel in program.kernels.iter().flat_map(|kernel| &kernel.levels).chain(shaders) {
        read_back(kernel)?;
    }
    for run in runs(test, &module, 0)? {
        let expected = eval(&module, &run.inputs).map_err(|error| error.to_string())?;
        for (number, level) in target.levels.iter().enumerate() {
            let got =
                interpret(&program, number, &run).map_err(|error| format!("{}: {error}\n{program}", level.name))?;
            same(&level.name, &expected, &got).map_err(|error| format!("{error}\n{program}"))?;
        }
        for way in 0..program.shaders.iter().map(|shader| shader.cooperative.len()).max().unwrap_or(0) {
            let got = interpret(&by_tiles(&program, way), 0, &run).map_err(|error| format!("tiles: {error}"))?;
            same("tiles", &expected, &got).map_err(|error| format!("{error}\n{program}"))?;
        }
    }
    Ok(program.to_string())
}

/// `program`, as a device with tiles runs it that takes way number `way`.
fn by_tiles(program: &Program, way: usize) -> Program {
    let mut program = program.clone();
    for shader in &mut program.shaders {
        if let Some(kernel) = shader.cooperative.get(way) {
            shader.plain = kernel.clone();
        }
    }
    program
}
