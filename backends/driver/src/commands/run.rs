//! `drupe run`: one run of a model on inputs from files.

use crate::commands::devices::session;
use crate::commands::inputs::{InputArgs, tensor_data, views};
use crate::commands::model::{ModelArgs, runtime_error, split_name};
use crate::commands::numbers::Numbers;
use crate::{console, files};
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Program, TensorView};
use std::path::{Path, PathBuf};

/// Run a model once.
///
/// Prints a summary of each output: shape, least, greatest and mean value, and the five largest of a row of scores;
/// with --output writes outputs to files instead.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe run mobilenetv2.drupe --input cat.png --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --labels imagenet.txt
  drupe run minilm.onnx --shape input_ids=1,S --input ids.npz --output embedding=out.npy
  drupe run model.onnx --input x=x.npy --input y=y.npy --output all.npz

Pictures are scaled to the input's height and width, then become (pixel - mean) / std.")]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Where an output goes, repeatable: NAME=FILE.npy, or FILE.npy if the model has one, or FILE.npz for all
    #[arg(long = "output", short = 'o', value_name = "[NAME=]FILE")]
    outputs: Vec<String>,
    /// Threads, with the calling one; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// A text file with one line for each index, shown beside the largest values
    #[arg(long)]
    labels: Option<PathBuf>,
    /// The entry to run, of a model that has several; its states are inputs like others
    #[arg(long)]
    entry: Option<String>,
}

impl Run {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let program = self.program()?;
        let inputs = self.inputs.given(program.plan())?;
        let labels = match &self.labels {
            Some(path) => String::from_utf8_lossy(&files::read(path)?).lines().map(str::to_owned).collect(),
            None => Vec::new(),
        };
        let options = Options { threads: self.threads, ..Options::default() };
        let (mut session, _) = session(&self.model.compile, self.model.adapter.as_deref(), &program, options, false)?;
        let outputs = session.run_views(&views(&inputs)).map_err(runtime_error)?;
        let outputs: Vec<(&str, TensorView)> = outputs.iter().map(|output| (output.name, output.tensor)).collect();
        if !self.outputs.is_empty() {
            return self.outputs.iter().try_for_each(|argument| write(argument, &outputs));
        }
        let summaries: Vec<String> = outputs.iter().map(|(name, tensor)| summary(name, *tensor, &labels)).collect();
        console::print(&summaries.concat())
    }
}

impl Run {
    /// The program with the entry that was asked for.
    fn program(&self) -> Result<Program, Diagnostic> {
        let program = self.model.program()?;
        let names: Vec<String> = program.entries().map(str::to_owned).collect();
        match &self.entry {
            None if names.len() == 1 => Ok(program),
            None => Err(Diagnostic::new("arguments", format!("the model has the entries {names:?}"))
                .help("`drupe generate` and `drupe chat` run language models; --entry NAME runs one entry once")),
            Some(wanted) => program.for_entry(wanted).ok_or_else(|| {
                Diagnostic::new("arguments", format!("the model has no entry {wanted:?}, only {names:?}"))
            }),
        }
    }
}

fn write(argument: &str, outputs: &[(&str, TensorView)]) -> Result<(), Diagnostic> {
    if files::extension(Path::new(argument)) == "npz" {
        let all = outputs.iter().map(|(name, tensor)| Ok(((*name).to_owned(), tensor_data(name, *tensor)?)));
        let all: Vec<_> = all.collect::<Result<_, Diagnostic>>()?;
        let bytes = files::npz::encode(&all)
            .map_err(|name| Diagnostic::new("npz", format!("{argument}: {name:?} is too large for an .npz file")))?;
        return files::write(Path::new(argument), &bytes);
    }
    let names = || outputs.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let (output, path) = match split_name(argument) {
        Some((name, path)) => (outputs.iter().find(|(other, _)| *other == name), path),
        None => (Some(&outputs[0]).filter(|_| outputs.len() == 1), argument),
    };
    let (name, tensor) = output.ok_or_else(|| {
        Diagnostic::new("output", format!("{argument:?} names no output of the model"))
            .help(format!("NAME=FILE.npy or FILE.npz; the outputs are {:?}", names()))
    })?;
    let file = files::npy::encode(&tensor_data(name, *tensor)?);
    let file = file.ok_or_else(|| Diagnostic::new("npy", format!("{name:?} has elements without a file form")))?;
    files::write(Path::new(path), &file)
}

/// The output in a line, and the largest five of what looks like scores.
fn summary(name: &str, tensor: TensorView, labels: &[String]) -> String {
    let numbers = Numbers::of(tensor);
    let mut text = format!("{name}: {}{:?}  {}\n", tensor.dtype(), tensor.shape(), numbers.statistics());
    let columns = tensor.shape().last().copied().unwrap_or(0);
    if columns >= 5 && columns == numbers.values.len() {
        for (index, value) in numbers.largest(5) {
            let label = labels.get(index).map_or("", |label| label.trim());
            text += &format!("  {index:>6}  {value:<12.6}{label}\n");
        }
    }
    text
}
