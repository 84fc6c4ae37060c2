//! What rewriting makes of ONNX models: `rewrite_onnx [--target NAME] [--print] [--check] [--least-rolled NODES]
//! MODEL[@INPUT=SHAPE]...`
//!
//! `--check` evaluates both modules on random inputs, with every symbol at its least value; `--least-rolled`
//! says which blocks are rolled ([`drupe_rewrite::Options::least_rolled`]).

use drupe_ir::{DType, Dim, Module, Op, TensorData};
use drupe_target::Target;
use std::collections::BTreeMap;
use std::time::Instant;

/// What the command line asks for.
struct Flags {
    target: Target,
    print: bool,
    check: bool,
    options: drupe_rewrite::Options,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut flags = Flags { target: Target::host(), print: false, check: false, options: Default::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--target" => flags.target = Target::find(&arguments.next().ok_or("--target needs a name")?)?,
            "--print" => flags.print = true,
            "--check" => flags.check = true,
            "--least-rolled" => {
                flags.options.least_rolled = arguments.next().ok_or("--least-rolled needs a number")?.parse()?
            }
            model => rewrite(model, &flags)?,
        }
    }
    Ok(())
}

fn rewrite(model: &str, flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let (path, shape) = model.split_once('@').map_or((model, None), |(path, shape)| (path, Some(shape)));
    let mut options = drupe_onnx::Options::default();
    if let Some((input, shape)) = shape.and_then(|shape| shape.split_once('=')) {
        let dim = |text: &str| text.parse::<i64>().map(Dim::from).unwrap_or_else(|_| Dim::symbol(text));
        options.shapes.push((input.into(), shape.split(',').map(dim).collect()));
    }
    let module = drupe_onnx::import(path.as_ref(), &options)?;
    let start = Instant::now();
    let (rewritten, report) = drupe_rewrite::rewrite(&module, &flags.target, &flags.options)?;
    println!("{model}: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("before: {}\nafter: {}\n{report}", census(&module), census(&rewritten));
    for node in rewritten.graph.nodes.iter().filter(|node| matches!(node.op, Op::Transpose(_))) {
        println!("  transpose to {} at {}", node.ty, node.origin);
    }
    if flags.print {
        println!("{rewritten}");
    }
    if flags.check {
        let inputs = inputs(&module);
        let (expected, found) = (drupe_eval::eval(&module, &inputs)?, drupe_eval::eval(&rewritten, &inputs)?);
        for (name, expected) in &expected {
            println!("  output {name:?} {:?}", drupe_eval::compare(expected, &found[name]));
        }
    }
    Ok(())
}

/// How many nodes of each operator there are.
fn census(module: &Module) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &module.graph.nodes {
        *counts.entry(node.op.name()).or_default() += 1;
    }
    counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn inputs(module: &Module) -> indexmap::IndexMap<String, TensorData> {
    let mut random = drupe_testsuite::Random::new(1);
    let least = |name: &str| module.symbols.get(name).map(|range| range.min.max(1) as i64);
    let mut inputs = indexmap::IndexMap::new();
    for (name, value) in module.graph.inputs() {
        let ty = module.graph.ty(value);
        let shape: Vec<usize> =
            ty.shape.iter().map(|dim| dim.eval(&least).map_or(1, |extent| extent.max(0) as usize)).collect();
        let count = shape.iter().product::<usize>();
        let data = if ty.dtype == DType::F32 {
            let values: Vec<f32> = (0..count).map(|_| random.between(-1000, 1000) as f32 / 1000.0).collect();
            TensorData::from_f32(shape, &values)
        } else {
            let zeros = vec![0; ty.dtype.bytes_of(count)];
            TensorData::from_bytes(ty.dtype, shape, zeros)
        };
        inputs.insert(name.to_string(), data.expect("as many octets as the shape needs"));
    }
    inputs
}
