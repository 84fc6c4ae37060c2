//! `drupe compile`: a model to an artifact, or to something to look at.

use crate::commands::model::{CompileArgs, Device, import};
use crate::commands::table::Table;
use crate::{console, files};
use drupe::{CompileOptions, Entry, GroupReport, QuantizeReport, WebModel, stages};
use drupe_ir::{DType, Diagnostic, Module};
use drupe_lower::Program;
use drupe_target::Os;
use std::path::{Path, PathBuf};

/// Compile a model to one file that the runtime maps and runs.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe compile mobilenetv2.onnx -o mobilenetv2.drupe --target pixel-8
  drupe compile detector.onnx --shape image=1,3,32*H,32*W -v
  drupe compile model.onnx --target x86-64 --emit asm --level avx2 -o model.s
  drupe compile classifier.onnx --target webgpu --shape image=1,3,224,224 -o page/

Dimensions are numbers or expressions over symbols: `B`, `32*H`, `2*S + 1`. Code for every level of the target goes
into the one artifact; the runtime picks the best that the CPU can run. For browsers, --target webgpu, the result is
a folder: a page that runs the model, or talks with it if it is a language model.")]
pub(crate) struct Compile {
    /// The model: .onnx, .gguf, a folder of safetensors, or .ir (textual IR)
    model: PathBuf,
    /// Where the result goes; the model's path with another extension if not given, standard output for text
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    compile: CompileArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = Emit::Blob)]
    emit: Emit,
    /// The level of the target that --emit object, mlir, asm and kernels show; the best if not given
    #[arg(long)]
    level: Option<String>,
    /// The entry of a language model that --emit shows, or the only one that the artifact has
    #[arg(long)]
    entry: Option<String>,
    /// Show how each layer was quantised, and how chunks' lengths were judged, on standard error
    #[arg(long)]
    report: bool,
    /// Show how long each stage took
    #[arg(short, long)]
    verbose: bool,
}

/// What can be written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Emit {
    /// The artifact
    Blob,
    /// The kernels as one object file for the target's linker
    Object,
    /// The kernels in MLIR, before any lowering
    Mlir,
    /// The kernels' assembly
    Asm,
    /// The tensor IR after rewriting
    Ir,
    /// The lowered program: buffers, and the steps that run on them
    Program,
    /// The kernel IR
    Kernels,
    /// The GPU's shaders, a folder: NAME.spv, NAME.metal and NAME.wgsl of each, NAME.plain... without subgroups
    Shaders,
}

impl Compile {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let mut options = self.compile.options(self.verbose)?;
        self.compile.complete(&mut options, &self.model)?;
        let (module, quantized) = stages::quantize_with_report(&import(&self.model, &options)?, &options)?;
        if self.report {
            console::clear_progress();
            if !quantized.groups.is_empty() {
                eprint!("{}", report(&quantized));
            }
            eprint!("{}", chunk_report(&module, &options)?);
        }
        let entries = stages::split(&module, &options)?;
        let entries = stages::rewrite_all(self.shown(entries)?, &options)?;
        let [first, ..] = entries.as_slice() else {
            return Err(Diagnostic::new("internal", "the model has no entry"));
        };
        if self.emit == Emit::Ir {
            return self.write_text(first.module.to_string().into_bytes());
        }
        let programs = match options.target.os {
            Os::Browser => stages::lower_for_web(&entries, &options)?,
            _ => stages::lower_for_all(&entries, &options)?,
        };
        let program = programs.last().expect("the CPU's program is always there");
        let by_target = options.gpu_floats.is_none() && options.stored_floats() == DType::F16;
        if by_target && options.gpu.is_some() && self.emit == Emit::Blob {
            eprintln!(
                "note: the GPU's plan stores floats in 16 bits, as {} has them; --float f32 keeps 32",
                options.target.name
            );
        }
        let form = |form| stages::emit_form(program, &options, self.level(&options)?, form);
        match self.emit {
            Emit::Blob if options.target.os == Os::Browser => {
                self.write_folder(&stages::write_for_web(&programs, &options)?)
            }
            Emit::Blob => {
                let programs: Vec<&Program> = programs.iter().collect();
                let code = stages::emit(&programs, &options)?;
                self.write_file("drupe", &stages::write(&programs, &code, &options)?)
            }
            Emit::Object => self.write_file("o", &form(stages::CodeForm::Object)?),
            Emit::Mlir => self.write_text(form(stages::CodeForm::Mlir)?),
            Emit::Asm => self.write_text(form(stages::CodeForm::Assembly)?),
            Emit::Program => self.write_text(program.to_string().into_bytes()),
            Emit::Kernels => {
                let level = self.level(&options)?;
                let shaders = program.shaders.iter().flat_map(|shader| shader.all());
                let kernels = program.kernels.iter().map(|kernel| &kernel.levels[level]).chain(shaders);
                let kernels = kernels.map(|kernel| kernel.to_string());
                self.write_text(kernels.collect::<Vec<_>>().join("\n").into_bytes())
            }
            Emit::Shaders => self.write_shaders(&stages::emit_shaders(program, &options)?, options.target.os),
            Emit::Ir => Ok(()),
        }
    }

    /// The entries to compile: all for an artifact, else the one to look at.
    fn shown(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Diagnostic> {
        match &self.entry {
            Some(wanted) => Ok(vec![drupe_entries::entry(entries, wanted)?]),
            None if self.emit == Emit::Blob => Ok(entries),
            None => {
                entries.truncate(1);
                Ok(entries)
            }
        }
    }

    /// One file for each language a shader has, in the folder that is the output.
    fn write_shaders(&self, shaders: &[stages::ShaderCode], os: Os) -> Result<(), Diagnostic> {
        if self.compile.device != Device::Gpu && os != Os::Browser {
            return Err(Diagnostic::new("arguments", "shaders are a GPU's: --device gpu"));
        }
        let folder = self.output.clone().unwrap_or_else(|| self.model.with_extension("shaders"));
        create_folder(&folder)?;
        let mut count = 0;
        for code in shaders {
            let first = code.variants.iter().position(|shader| shader.needs.cooperative.is_none()).unwrap_or(0);
            for (number, shader) in code.variants.iter().enumerate() {
                let stem = match shader.needs.cooperative {
                    Some(side) => format!("{}.cooperative-{side}", shader.name),
                    None if number == first => shader.name.clone(),
                    None => format!("{}.plain", shader.name),
                };
                let words: Vec<u8> = shader.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
                files::write(&folder.join(format!("{stem}.spv")), &words)?;
                for (extension, text) in [("metal", &shader.msl), ("wgsl", &shader.wgsl)] {
                    if let Some(text) = text {
                        files::write(&folder.join(format!("{stem}.{extension}")), text.as_bytes())?;
                    }
                }
                count += 1;
            }
        }
        console::print(&format!("{}: {count} shaders\n", folder.display()))
    }

    fn level(&self, options: &CompileOptions) -> Result<usize, Diagnostic> {
        let Some(wanted) = &self.level else { return Ok(0) };
        let target = stages::target(options);
        target.levels.iter().position(|level| level.name == *wanted).ok_or_else(|| {
            let names: Vec<&str> = target.levels.iter().map(|level| level.name.as_str()).collect();
            Diagnostic::new("target", format!("{} has no level {wanted:?}, only {names:?}", target.name))
        })
    }

    fn write_file(&self, extension: &str, bytes: &[u8]) -> Result<(), Diagnostic> {
        let path = self.output.clone().unwrap_or_else(|| self.model.with_extension(extension));
        // Beside it first: a program that has the old file mapped keeps it.
        let partial = path.with_extension(format!("{extension}.partial"));
        files::write(&partial, bytes)?;
        rename(&partial, &path)?;
        console::print(&format!("{}: {}\n", path.display(), console::bytes(bytes.len() as u64)))
    }

    fn write_folder(&self, model: &WebModel) -> Result<(), Diagnostic> {
        let folder = self.output.clone().unwrap_or_else(|| self.model.with_extension("web"));
        create_folder(&folder)?;
        let files = model.files();
        for (name, contents) in &files {
            files::write(&folder.join(name), contents)?;
        }
        let bytes = files.iter().map(|(_, contents)| contents.len() as u64).sum();
        console::print(&format!("{}: {}\n", folder.display(), console::bytes(bytes)))
    }

    fn write_text(&self, text: Vec<u8>) -> Result<(), Diagnostic> {
        match &self.output {
            Some(path) => files::write(path, &text),
            None => console::print(&String::from_utf8_lossy(&text)),
        }
    }
}

/// A line for each group of layers, and what they have in common.
fn report(quantized: &QuantizeReport) -> String {
    let mut table = Table::new(["layers", "inputs x outputs", "scheme", "in float", "bits", "error", "loss"]);
    for group in &quantized.groups {
        let more = if group.layers > 1 { format!(" + {}", group.layers - 1) } else { String::new() };
        let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2e}"));
        table.row([
            format!("{}{more}", group.name),
            format!("{} x {}", group.shape.0, group.shape.1),
            group.scheme.to_string(),
            group.hot.to_string(),
            format!("{:.2}", group.bits),
            number(group.error),
            number(group.predicted),
        ]);
    }
    let weights = |group: &GroupReport| (group.shape.0 * group.shape.1) as f64;
    let all: f64 = quantized.groups.iter().map(weights).sum();
    let bits: f64 = quantized.groups.iter().map(|group| weights(group) * group.bits).sum();
    let split = quantized.groups.iter().filter(|group| group.hot > 0).count();
    let count = quantized.groups.len();
    let mut text = table.text();
    text += &format!("{count} groups of layers, {split} of them split, {:.2} bits a weight\n", bits / all.max(1.0));
    if let Some((rise, error)) = quantized.rise {
        text += &format!("perplexity {:+.2} % +/- {:.2} % on text not chosen by\n", 100.0 * rise, 100.0 * error);
    }
    text
}

/// The lengths of chunks, and a line for each that they may have; nothing where there are no chunks.
fn chunk_report(module: &Module, options: &CompileOptions) -> Result<String, Diagnostic> {
    let estimates = stages::estimate_chunks(module, options)?;
    if estimates.is_empty() {
        return Ok(String::new());
    }
    let mut table = Table::new(["tokens of a chunk", "estimated tokens/s"]);
    for estimate in &estimates {
        table.row([estimate.tokens.to_string(), format!("{:.0}", estimate.rate)]);
    }
    let how = if options.chunks.is_empty() { "the fastest by estimate" } else { "as asked for" };
    let chosen: Vec<String> = stages::choose_chunks(&estimates, options).iter().map(u64::to_string).collect();
    Ok(table.text() + &format!("chunks of {} tokens, {how}\n", chosen.join(", ")))
}

fn create_folder(folder: &Path) -> Result<(), Diagnostic> {
    std::fs::create_dir_all(folder).map_err(|error| Diagnostic::new("file", format!("{}: {error}", folder.display())))
}

fn rename(from: &Path, to: &Path) -> Result<(), Diagnostic> {
    std::fs::rename(from, to).map_err(|error| Diagnostic::new("file", format!("{}: {error}", to.display())))
}
