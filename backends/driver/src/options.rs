//! How to compile.

use drupe_ir::{DType, Diagnostic, Dim};
use drupe_lower::Placement;
use drupe_quantize::Scheme;
use drupe_target::Target;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What turns kernels into machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Through MLIR and LLVM: the fastest code. Needs the feature `llvm`.
    Llvm,
    /// Through Cranelift: compiles a hundred times faster, 128-bit vectors only.
    Cranelift,
}

impl Backend {
    /// The backends that this build has, best first.
    pub const AVAILABLE: &'static [Backend] =
        if cfg!(feature = "llvm") { &[Backend::Llvm, Backend::Cranelift] } else { &[Backend::Cranelift] };

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Llvm => "llvm",
            Backend::Cranelift => "cranelift",
        }
    }

    /// The backend called `name`, if this build has it.
    pub fn find(name: &str) -> Result<Backend, Diagnostic> {
        Backend::AVAILABLE.iter().find(|backend| backend.name() == name).copied().ok_or_else(|| {
            let names: Vec<&str> = Backend::AVAILABLE.iter().map(|backend| backend.name()).collect();
            let error = Diagnostic::new("backend", format!("this build has no backend {name:?}, only {names:?}"));
            if name == "llvm" { error.help("build drupe with its feature `llvm`") } else { error }
        })
    }
}

/// What comes with a model, by name.
pub type Assets = Vec<(String, Arc<[u8]>)>;

/// How to compile. The default: for this machine, by the best backend, shapes as the model has them.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// The device.
    pub target: Target,
    /// What emits the code.
    pub backend: Backend,
    /// Shapes of inputs, by name; they replace what the model says.
    pub shapes: Vec<(String, Vec<Dim>)>,
    /// Inputs of one element that are fixed to a number, by name: they are no inputs of the artifact.
    pub values: Vec<(String, f64)>,
    /// Whether to rewrite the graph. Without, the model is compiled as it was imported.
    pub rewrite: bool,
    /// Keep every node's result in memory of its own, for comparison with another engine.
    pub observe: bool,
    /// Add a plan for the target's GPU, with steps placed on it so.
    pub gpu: Option<Placement>,
    /// The type in which the GPU's plan stores what the model has in f32; none for f16 where the target says that its
    /// GPU has that, else f32.
    pub gpu_floats: Option<DType>,
    /// The most tokens that a language model keeps in mind; none for what it was made for, but no more than 4096.
    pub context: Option<usize>,
    /// Tokens that the entries `prefill` of a language model take at a time; none for those that are estimated to be the
    /// fastest (`stages::choose_chunks`).
    pub chunks: Vec<u64>,
    /// How the linear layers of a language model are quantised; none for as they are.
    pub quantize: Option<Scheme>,
    /// By how much the perplexity may rise, 0.01 for 1 %: layers then have as few bits as that allows, those that
    /// `quantize` says if it allows that; none for exactly those. Half of the calibration is for judging by.
    pub error_budget: Option<f64>,
    /// The tokens of a text like those that the model will see, for schemes that need to know.
    pub calibration: Vec<i32>,
    /// The type in which a language model's states, its keys and values, are stored; none for as they are.
    pub cache: Option<DType>,
    /// Whether a language model has an entry `score`, with the outputs for every token.
    pub score: bool,
    /// What comes with the model, by name: a tokenizer, say. It goes into the artifact as it is.
    pub assets: Assets,
    /// Who is told about the stages.
    pub watch: Watch,
}

impl CompileOptions {
    /// The type in which the GPU's plan stores what the model has in f32: as asked, or as the target's GPU has it.
    pub fn stored_floats(&self) -> DType {
        let has = self.target.gpu.as_ref().is_some_and(|gpu| gpu.has("f16"));
        self.gpu_floats.unwrap_or(if has { DType::F16 } else { DType::F32 })
    }
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            target: Target::host(),
            backend: Backend::AVAILABLE[0],
            shapes: Vec::new(),
            values: Vec::new(),
            rewrite: true,
            observe: false,
            gpu: None,
            gpu_floats: None,
            context: None,
            chunks: Vec::new(),
            quantize: None,
            error_budget: None,
            calibration: Vec::new(),
            cache: None,
            score: false,
            assets: Vec::new(),
            watch: Watch::default(),
        }
    }
}

type Listener = Arc<dyn Fn(&'static str, Option<Duration>) + Send + Sync>;

/// A listener to the stages of a compilation; the default hears nothing.
#[derive(Clone, Default)]
pub struct Watch(Option<Listener>);

impl Watch {
    /// Calls `listener` with a stage's name before it starts, and again with its duration when it has ended.
    pub fn new(listener: impl Fn(&'static str, Option<Duration>) + Send + Sync + 'static) -> Watch {
        Watch(Some(Arc::new(listener)))
    }

    /// Runs a stage.
    pub(crate) fn stage<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let Some(listener) = &self.0 else { return work() };
        listener(name, None);
        let start = Instant::now();
        let result = work();
        listener(name, Some(start.elapsed()));
        result
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", if self.0.is_some() { "listening" } else { "nobody" })
    }
}
