//! Which model, compiled how: the arguments that most commands share.

use crate::{console, files};
use drupe::{Backend, CompileOptions, Placement};
use drupe_ir::{DType, Diagnostic, Dim, Module};
use drupe_runtime::{LoadOptions, Program};
use drupe_target::Target;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to compile.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct CompileArgs {
    /// The device: a name that `drupe targets` lists, or a .toml file
    #[arg(long, default_value = "host")]
    target: String,
    /// What emits the code: llvm (fastest code) or cranelift (fastest compilation); the default is the first there is
    #[arg(long)]
    backend: Option<String>,
    /// An input's shape, repeatable: x=1,3,224,224, or with symbols x=B,3,32*H,32*W
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = parse_shape)]
    pub shapes: Vec<(String, Vec<Dim>)>,
    /// An input of one element that is fixed to a number, repeatable: sr=16000
    #[arg(long = "value", value_name = "NAME=NUMBER", value_parser = parse_value)]
    values: Vec<(String, f64)>,
    /// Compile the graph as it was imported, without rewriting
    #[arg(long)]
    no_rewrite: bool,
    /// What runs the model: with `gpu` the artifact has a plan for the target's GPU beside that for the CPU
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub device: Device,
    /// Which steps of the GPU's plan run there
    #[arg(long, value_enum, default_value_t = Place::Fastest)]
    place: Place,
    /// How the GPU's plan stores floats of 32 bits; f16 rounds each value once, where it is stored
    #[arg(long, value_enum, default_value_t = Floats::Auto)]
    pub float: Floats,
    /// How many tokens a language model keeps in mind; what it was made for, up to 4096, if not given
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// How many tokens of a prompt a language model takes at a time, and what is left of one: 256,64,16, say; what is
    /// estimated to be the fastest if not given
    #[arg(long, value_name = "TOKENS", value_delimiter = ',')]
    chunk: Vec<u64>,
    /// How a language model's linear layers are quantised: w8a8, w4a8, and more; w8a8-outliers, say
    #[arg(long, value_name = "SCHEME")]
    quant: Option<drupe::Scheme>,
    /// By how much a language model's perplexity may rise, 1% say: layers then have as few bits as that allows, --quant's
    /// at the least
    #[arg(long, value_name = "PERCENT", value_parser = parse_budget, requires = "calibrate")]
    error_budget: Option<f64>,
    /// A text like those that the model will see, for schemes that must know what values are like
    #[arg(long, value_name = "TEXT")]
    calibrate: Option<PathBuf>,
    /// How a language model's cache of keys and values is stored
    #[arg(long, value_enum, default_value_t = Cache::F32)]
    cache: Cache,
    /// Compile a language model's entry `score` too: logits for every token of a text
    #[arg(long)]
    score: bool,
    /// A file that goes into the artifact as it is, under its name, repeatable: tokenizer.json
    #[arg(long = "asset", value_name = "FILE")]
    assets: Vec<PathBuf>,
}

/// How a GPU's plan stores floats of 32 bits.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    /// In 16 bits where the target says that its GPU has them
    Auto,
    /// As they are
    F32,
    /// In 16 bits; sums and functions are computed in 32
    F16,
}

/// How a language model's cache of keys and values is stored.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    /// In 32 bits
    F32,
    /// In 16 bits; products and sums with them are computed in 32
    F16,
    /// In 8 bits, with a scale for 64 elements of a head
    I8,
    /// In 4 bits, with a scale for 32 elements of a head
    I4,
}

impl Cache {
    /// The type of its elements, if not f32.
    fn dtype(self) -> Option<DType> {
        match self {
            Cache::F32 => None,
            Cache::F16 => Some(DType::F16),
            Cache::I8 => Some(DType::I8),
            Cache::I4 => Some(DType::I4),
        }
    }
}

/// What runs a model.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The CPU
    Cpu,
    /// The GPU, and the CPU for what it cannot do
    Gpu,
}

/// Where the steps of a GPU's plan run.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where the target's numbers say that the whole is fastest: copies count
    Fastest,
    /// On the GPU, all that it can do
    Gpu,
}

impl CompileArgs {
    /// The library's options.
    pub(crate) fn options(&self, timings: bool) -> Result<CompileOptions, Diagnostic> {
        Ok(CompileOptions {
            target: Target::find(&self.target).map_err(|error| Diagnostic::new("target", error))?,
            backend: self.backend.as_deref().map_or(Ok(Backend::AVAILABLE[0]), Backend::find)?,
            shapes: self.shapes.clone(),
            values: self.values.clone(),
            rewrite: !self.no_rewrite,
            observe: false,
            gpu: (self.device == Device::Gpu).then_some(match self.place {
                Place::Fastest => Placement::Fastest,
                Place::Gpu => Placement::Gpu,
            }),
            gpu_floats: match self.float {
                Floats::Auto => None,
                Floats::F32 => Some(DType::F32),
                Floats::F16 => Some(DType::F16),
            },
            context: self.context,
            chunks: self.chunk.clone(),
            quantize: self.quant,
            error_budget: self.error_budget,
            cache: self.cache.dtype(),
            score: self.score,
            assets: self.assets.iter().map(|path| asset(path)).collect::<Result<_, _>>()?,
            watch: console::watch(timings),
            ..CompileOptions::default()
        })
    }
}

/// Tokens of a text that are enough to know what values are like.
const CALIBRATION_TOKENS: usize = 4096;

impl CompileArgs {
    /// Adds to `options` what the model at `path` brings along, and the tokens to calibrate with.
    pub(crate) fn complete(&self, options: &mut CompileOptions, path: &Path) -> Result<(), Diagnostic> {
        drupe::stages::add_assets(options, path)?;
        let Some(text) = &self.calibrate else { return Ok(()) };
        let tokenizer = options.assets.iter().find(|(name, _)| name == "tokenizer.json").ok_or_else(|| {
            Diagnostic::new("calibrate", format!("{} has no tokenizer.json to read the text with", path.display()))
                .help("give it with --asset tokenizer.json")
        })?;
        let failed = |error: drupe_runtime_llm::Error| Diagnostic::new("calibrate", error);
        let tokenizer = drupe_runtime_llm::Tokenizer::from_json(&tokenizer.1).map_err(failed)?;
        let text = String::from_utf8_lossy(&files::read(text)?).into_owned();
        let tokens = tokenizer.encode(&text, true).map_err(failed)?;
        // With a budget, as many again for judging by.
        let most = if self.error_budget.is_some() { 2 * CALIBRATION_TOKENS } else { CALIBRATION_TOKENS };
        options.calibration = tokens.into_iter().take(most).map(|token| token as i32).collect();
        Ok(())
    }
}

/// A model to run: an artifact, or a model that is compiled in memory.
#[derive(clap::Args, Debug)]
pub(crate) struct ModelArgs {
    /// The model: .drupe, or .onnx, .gguf, a folder of safetensors or .ir (compiled in memory first)
    pub model: PathBuf,
    #[command(flatten)]
    pub compile: CompileArgs,
    /// Part of the name of the GPU to use, of those that `drupe devices` lists
    #[arg(long)]
    pub adapter: Option<String>,
    /// The code level to use, of those in the artifact; the best that this CPU can run if not given
    #[arg(long)]
    level: Option<String>,
}

impl ModelArgs {
    /// Whether the file is an artifact.
    pub(crate) fn is_artifact(&self) -> bool {
        files::extension(&self.model) == "drupe"
    }

    /// Opens the artifact, or compiles and loads.
    pub(crate) fn program(&self) -> Result<Program, Diagnostic> {
        if self.is_artifact() {
            return Program::open_with(&self.model, &self.how()).map_err(runtime_error);
        }
        self.load(&self.artifact()?)
    }

    /// Loads an artifact from memory.
    pub(crate) fn load(&self, artifact: &[u8]) -> Result<Program, Diagnostic> {
        Program::from_bytes(artifact, &self.how()).map_err(runtime_error)
    }

    fn how(&self) -> LoadOptions {
        LoadOptions { level: self.level.clone(), ..LoadOptions::default() }
    }

    /// Compiles the model in memory.
    pub(crate) fn artifact(&self) -> Result<Vec<u8>, Diagnostic> {
        self.compiled(self.compile.options(false)?)
    }

    /// Compiles the model in memory, with an entry `score`.
    pub(crate) fn artifact_to_score(&self) -> Result<Vec<u8>, Diagnostic> {
        self.compiled(CompileOptions { score: true, ..self.compile.options(false)? })
    }

    fn compiled(&self, mut options: CompileOptions) -> Result<Vec<u8>, Diagnostic> {
        self.compile.complete(&mut options, &self.model)?;
        drupe::compile(&import(&self.model, &options)?, &options)
    }
}

/// A file by its name and contents.
fn asset(path: &Path) -> Result<(String, Arc<[u8]>), Diagnostic> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((name, files::read(path)?.into()))
}

/// An error of the runtime.
pub(crate) fn runtime_error(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("run", error)
}

/// Imports the model at `path`. Textual IR may leave the contents of constants out: then a note says so.
pub(crate) fn import(path: &Path, options: &CompileOptions) -> Result<Module, Diagnostic> {
    if files::extension(path) != "ir" {
        return drupe::stages::import(path, options);
    }
    let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
    let parsed = drupe_ir::parse_text(&text, &path.display().to_string())?;
    if let [first, ..] = parsed.without_contents.as_slice() {
        let count = parsed.without_contents.len();
        eprintln!("note: the text lacks the contents of {count} constants (first @{first}): they are made up");
    }
    Ok(parsed.module)
}

/// `NAME=VALUE`, split.
pub(crate) fn split_name(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

fn parse_shape(text: &str) -> Result<(String, Vec<Dim>), String> {
    // The name of a tensor may itself have an `=`: dimensions never do.
    let (name, dims) = text.rsplit_once('=').ok_or("NAME=DIMS expected, such as x=1,3,224,224")?;
    // As the textual IR writes an input's type.
    let module = drupe_ir::parse(&format!("func @shape(%0: f32[{dims}] \"x\") {{ return }}"), "shape");
    let shape = module.ok().and_then(|module| Some(module.graph.nodes.first()?.ty.shape.clone()));
    let expected = "numbers and symbols with + - * / ( ) are, separated by commas";
    Ok((name.to_owned(), shape.ok_or_else(|| format!("`{dims}` are not dimensions: {expected}"))?))
}

fn parse_budget(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(str::parse::<f64>);
    let budget = number.and_then(Result::ok).map(|percent| percent / 100.0);
    budget.filter(|budget| *budget > 0.0 && *budget <= 1.0).ok_or("more than 0% and 100% at most, such as 1%".into())
}

fn parse_value(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.rsplit_once('=').ok_or("NAME=NUMBER expected, such as sr=16000")?;
    Ok((name.to_owned(), value.parse().map_err(|_| format!("{value:?} is not a number"))?))
}
