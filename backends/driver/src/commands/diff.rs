//! `drupe diff`: where results depart, stage by stage.
//!
//! Three comparisons, so that the first that fails tells whose fault it is:
//! 1. with `--reference`: the interpreter on the imported module against another engine, by tensor name;
//! 2. the interpreter on the rewritten module against the interpreter on the imported one, outputs only;
//! 3. the compiled program against the interpreter on the rewritten module, every value.

use crate::commands::devices::session;
use crate::commands::inputs::{InputArgs, RandomArgs, tensor_data, views};
use crate::commands::model::{CompileArgs, import, runtime_error};
use crate::{console, files};
use drupe::{CompileOptions, stages};
use drupe_eval::{Tolerance, compare, eval, eval_all};
use drupe_ir::{DType, Diagnostic, Module, Op, TensorData, ValueId};
use drupe_runtime::{LoadOptions, Options, Program};
use indexmap::IndexMap;
use std::path::PathBuf;

/// Compare every value of a model with the reference, and name the first that departs.
///
/// The reference is drupe's own interpreter and, with --reference, tensors dumped from another engine.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe diff mobilenetv2.onnx
  drupe diff model.onnx --input inputs.npz --reference intermediates.npz

The two .npz files are what `tools/reference.py model.onnx --all-tensors --out DIR` writes. Values of the compiled
program are compared without fusion, each in memory of its own; --fused compares outputs of the program as it ships.")]
pub(crate) struct Diff {
    /// The model: .onnx, .gguf, a folder of safetensors, or .ir (textual IR)
    model: PathBuf,
    #[command(flatten)]
    compile: CompileArgs,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    random: RandomArgs,
    /// Another engine's tensors, by name, for the same inputs
    #[arg(long, value_name = "FILE.npz")]
    reference: Option<PathBuf>,
    /// The largest difference allowed, relative to a tensor's largest magnitude; by element type if not given
    #[arg(long, value_name = "NUMBER")]
    tolerance: Option<f64>,
    /// Compile as `drupe compile` does, with fusion
    #[arg(long)]
    fused: bool,
    /// Show every value, not only the first that departs
    #[arg(long)]
    all: bool,
}

/// The outcome of one comparison after another.
struct Comparison<'a> {
    diff: &'a Diff,
    stage: &'static str,
    tolerance: Tolerance,
    compared: usize,
    worst: f64,
    /// The first departure: what, and its figures.
    departed: Option<String>,
    text: String,
}

impl Diff {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let mut options = CompileOptions { observe: !self.fused, ..self.compile.options(false)? };
        // Rounding is no departure, unless it was asked for.
        options.gpu_floats.get_or_insert(DType::F32);
        let imported = import(&self.model, &options)?;
        let rewritten = stages::rewrite(&imported, &options)?;
        let entry = drupe::Entry { name: String::new(), module: rewritten.clone() };
        let programs = stages::lower_for_all(&[entry], &options)?;
        let programs: Vec<_> = programs.iter().collect();
        let artifact = stages::write(&programs, &stages::emit(&programs, &options)?, &options)?;
        let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(runtime_error)?;
        let given = self.inputs.given(program.plan())?;
        let inputs = self.random.complete(program.plan(), given, &self.compile.shapes)?;
        let data = inputs.iter().map(|(name, tensor)| Ok((name.clone(), tensor_data(name, tensor.view())?)));
        let data: IndexMap<String, TensorData> = data.collect::<Result<_, Diagnostic>>()?;
        if let Some(path) = &self.reference {
            let reference = files::read_npz(path)?;
            self.against_reference(&imported, &data, &reference)?.finish()?;
        }
        console::progress("interpret");
        let expected = eval(&imported, &data)?;
        let values = eval_all(&rewritten, &data)?;
        let mut outputs = self.comparison("rewriting", Tolerance::Compiled);
        for (name, value) in &rewritten.graph.outputs {
            outputs.check(&format!("output {name:?}"), &expected[&**name], &values[value.index()]);
        }
        outputs.finish()?;
        self.compiled(&program, &views(&inputs), &rewritten, &values)?.finish()
    }

    /// The interpreter against another engine.
    fn against_reference(
        &self,
        imported: &Module,
        inputs: &IndexMap<String, TensorData>,
        reference: &[(String, TensorData)],
    ) -> Result<Comparison<'_>, Diagnostic> {
        console::progress("interpret");
        let values = eval_all(imported, inputs)?;
        let mut comparison = self.comparison("import", Tolerance::OtherEngine);
        let names = files::onnx::tensor_names(&self.model)?;
        // The last node made from an ONNX node is the one that computes its (first) output.
        for value in imported.graph.values() {
            let node = imported.graph.node(value);
            let last = imported.graph.nodes[value.index() + 1..].iter().all(|later| later.origin != node.origin);
            let tensor = node.origin.node.as_ref().filter(|_| last).and_then(|node| names.get(&**node));
            if let Some((name, expected)) = reference.iter().find(|(name, _)| Some(name) == tensor) {
                comparison.check(&format!("{name:?}, {}", node.origin), expected, &values[value.index()]);
            }
        }
        for (name, value) in &imported.graph.outputs {
            if let Some((_, expected)) = reference.iter().find(|(other, _)| *other == **name) {
                comparison.check(&format!("output {name:?}"), expected, &values[value.index()]);
            }
        }
        Ok(comparison)
    }

    /// The compiled program against the interpreter.
    fn compiled(
        &self,
        program: &Program,
        inputs: &[(&str, drupe_runtime::TensorView)],
        module: &Module,
        values: &[TensorData],
    ) -> Result<Comparison<'_>, Diagnostic> {
        console::progress("run");
        let mut comparison = self.comparison("compilation", Tolerance::Compiled);
        let (mut session, _) = session(&self.compile, None, program, Options::default(), false)?;
        let mut next = Candidates::new(module);
        let mut broken = None;
        let mut observe = |step: drupe_runtime::StepReport| {
            let Some(result) = step.result else { return };
            let data = match tensor_data(result.name, result.tensor) {
                Ok(data) => data,
                Err(error) => return broken = Some(error),
            };
            if let Some(value) = next.take(result.name, &data, values, self.fused) {
                let what = format!("%{} {}, {} at {}", value.0, result.name, step.name, step.origin);
                comparison.check(&what, &values[value.index()], &data);
            }
        };
        let outputs = session.run_observed(inputs, &mut observe).map_err(runtime_error)?;
        let outputs = outputs.iter().map(|output| Ok((output.name, tensor_data(output.name, output.tensor)?)));
        let outputs: Vec<_> = outputs.collect::<Result<_, Diagnostic>>()?;
        for (name, data) in &outputs {
            if let Some(value) = module.graph.outputs.get(*name) {
                comparison.check(&format!("output {name:?}"), &values[value.index()], data);
            }
        }
        broken.map_or(Ok(comparison), Err)
    }

    fn comparison(&self, stage: &'static str, tolerance: Tolerance) -> Comparison<'_> {
        Comparison { diff: self, stage, tolerance, compared: 0, worst: 0.0, departed: None, text: String::new() }
    }
}

/// Which value a step's result is: steps keep the order of values, and names may repeat.
struct Candidates {
    left: Vec<(String, ValueId)>,
}

impl Candidates {
    fn new(module: &Module) -> Candidates {
        let name = |value: ValueId| {
            let node = module.graph.node(value);
            match (&node.op, &node.origin.node) {
                (Op::Input(_) | Op::Const(_), _) => None,
                (_, Some(name)) => Some((name.to_string(), value)),
                (op, None) => Some((format!("{}_{}", op.name(), value.0), value)),
            }
        };
        Candidates { left: module.graph.values().filter_map(name).collect() }
    }

    /// The first value of this name, type and shape that has not been taken. With `fused` the nearest: of several
    /// nodes made from one of the model's only the last has a step, and nothing says which that is.
    fn take(&mut self, name: &str, data: &TensorData, values: &[TensorData], fused: bool) -> Option<ValueId> {
        let fits = |(other, value): &(String, ValueId)| {
            let expected = &values[value.index()];
            other == name && expected.dtype == data.dtype && expected.shape == data.shape
        };
        let fitting = (0..self.left.len()).filter(|position| fits(&self.left[*position]));
        let distance = |position: &usize| compare(&values[self.left[*position].1.index()], data).max_rel_to_range;
        let position = match fused {
            false => fitting.min(),
            true => fitting.min_by(|a, b| distance(a).total_cmp(&distance(b))),
        };
        Some(self.left.remove(position?).1)
    }
}

impl Comparison<'_> {
    fn check(&mut self, what: &str, expected: &TensorData, got: &TensorData) {
        let report = compare(expected, got);
        self.compared += 1;
        self.worst = self.worst.max(report.max_rel_to_range);
        let float = matches!(expected.dtype, DType::F32 | DType::F64 | DType::F16 | DType::Bf16);
        let within = match self.diff.tolerance {
            Some(bound) if float && report.mismatch.is_none() => report.max_rel_to_range <= bound,
            _ => report.is_within(self.tolerance),
        };
        if self.diff.all {
            self.text += &format!("  {} {what}: {report}\n", if within { "ok  " } else { "FAIL" });
        }
        if !within && self.departed.is_none() {
            self.departed = Some(format!("{what}: {report}"));
        }
    }

    fn finish(self) -> Result<(), Diagnostic> {
        let Comparison { stage, compared, worst, departed, text, .. } = self;
        console::print(&format!(
            "{text}{stage}: {compared} values compared, at most {worst:.1e} of the range apart\n"
        ))?;
        match departed {
            Some(first) => Err(Diagnostic::new("diff", format!("after {stage}: {first}"))
                .help("this is the first value that departs; --all shows every one, --tolerance allows more")),
            None => Ok(()),
        }
    }
}
