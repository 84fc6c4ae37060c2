//! `drupe opt`: passes on their own.

use crate::commands::model::{CompileArgs, import};
use crate::console;
use drupe::stages;
use drupe_ir::{Diagnostic, Module};
use drupe_rewrite::{Options, PIPELINE, PassFn, run_passes};
use std::path::PathBuf;

/// Run passes over a model and print the tensor IR.
#[derive(clap::Args, Debug)]
#[command(after_help = format!("\
Examples:
  drupe opt model.onnx --pass fold-constants,choose-layouts
  drupe opt model.onnx --print-after-all --verify-each --report
  drupe opt models/smollm2_135m --quant w8a8 --entry prefill --print-after-all

Passes: {}. Without --pass all of them run, in the order of the pipeline.", pass_names().join(", ")))]
pub(crate) struct Opt {
    /// The model: .onnx, .gguf, a folder of safetensors, or .ir (textual IR)
    model: PathBuf,
    #[command(flatten)]
    compile: CompileArgs,
    /// Split a language model, and go on with this entry: decode, prefill or, with --score, score
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// The passes to run, in order
    #[arg(long = "pass", value_delimiter = ',', value_name = "NAMES")]
    passes: Vec<String>,
    /// Print the module after every pass, not only at the end
    #[arg(long)]
    print_after_all: bool,
    /// Check the module's invariants after every pass
    #[arg(long)]
    verify_each: bool,
    /// Print what the passes did, on standard error
    #[arg(long)]
    report: bool,
}

impl Opt {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let passes = self.passes()?;
        let mut compile = self.compile.options(false)?;
        self.compile.complete(&mut compile, &self.model)?;
        let mut module = import(&self.model, &compile)?;
        let options = Options { verify_each: self.verify_each, ..Options::default() };
        let mut text = String::new();
        let mut show = |name: &str, module: &Module| {
            if self.print_after_all {
                text += &format!("// after {name}\n{module}\n");
            }
        };
        if compile.quantize.is_some() || compile.cache.is_some() {
            module = stages::quantize(&module, &compile)?;
            show("quantise", &module);
        }
        if let Some(entry) = &self.entry {
            module = drupe_entries::entry(stages::split(&module, &compile)?, entry)?.module;
            show("split", &module);
        }
        console::progress("rewriting");
        let (module, report) = run_passes(&passes, &module, &compile.target, &options, &mut show)?;
        if !self.print_after_all {
            text = module.to_string();
        }
        console::print(&text)?;
        if self.report {
            eprint!("{report}");
        }
        Ok(())
    }

    fn passes(&self) -> Result<Vec<(&'static str, PassFn)>, Diagnostic> {
        if self.passes.is_empty() {
            return Ok(PIPELINE.to_vec());
        }
        let find = |wanted: &String| {
            PIPELINE.iter().find(|(name, _)| name == wanted).copied().ok_or_else(|| {
                Diagnostic::new("opt", format!("there is no pass {wanted:?}"))
                    .help(format!("there are {:?}", pass_names()))
            })
        };
        self.passes.iter().map(find).collect()
    }
}

fn pass_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in PIPELINE {
        if !names.contains(name) {
            names.push(name);
        }
    }
    names
}
