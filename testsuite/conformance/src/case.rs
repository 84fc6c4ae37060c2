//! One test: its files, and running it.

use crate::Engine;
use drupe_ir::{DType, Diagnostic, Module, TensorData};
use drupe_onnx::proto::{ModelProto, TensorProto};
use drupe_onnx::{Options, import_bytes, read_tensor};
use indexmap::IndexMap;
use prost::Message;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, such as `test_relu`.
    pub name: String,
    folder: PathBuf,
}

/// How far a test that fails came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Its files do not hold plain tensors.
    Files,
    /// The model does not import.
    Import,
    /// The engine fails.
    Run,
    /// The results are others.
    Compare,
    /// Something panicked.
    Panic,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 5] = [Stage::Files, Stage::Import, Stage::Run, Stage::Compare, Stage::Panic];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Files => "no plain tensors",
            Stage::Import => "import",
            Stage::Run => "run",
            Stage::Compare => "other results",
            Stage::Panic => "panic",
        }
    }
}

/// Why a test fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// What happened, one line or more.
    pub why: String,
}

impl Failure {
    fn new(stage: Stage, why: impl std::fmt::Display) -> Failure {
        Failure { stage, why: why.to_string() }
    }
}

/// Every test below `folder`, in order of names.
pub fn cases(folder: &Path) -> std::io::Result<Vec<Case>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let folder = entry?.path();
        if folder.join("model.onnx").exists() {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
            found.push(Case { name: name.unwrap_or_default(), folder });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl Case {
    /// Imports the model, runs `engine` on every data set, and compares.
    pub fn run(&self, engine: &Engine) -> Result<(), Failure> {
        let result = catch_unwind(AssertUnwindSafe(|| self.run_sets(engine)));
        result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Failure::new(Stage::Panic, text.unwrap_or("it panicked")))
        })
    }

    fn run_sets(&self, engine: &Engine) -> Result<(), Failure> {
        let bytes = self.read(&self.folder.join("model.onnx"))?;
        let model = ModelProto::decode(bytes.as_slice()).map_err(|error| Failure::new(Stage::Files, error))?;
        let graph = model.graph.as_ref().ok_or_else(|| Failure::new(Stage::Files, "no graph"))?;
        let inputs: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
        let outputs: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
        let mut set = 0;
        loop {
            let folder = self.folder.join(format!("test_data_set_{set}"));
            if !folder.exists() {
                return if set > 0 { Ok(()) } else { Err(Failure::new(Stage::Files, "no data")) };
            }
            let given = self.tensors(&folder, "input", &inputs)?;
            let module = self.import(&bytes, &model, &given)?;
            let mut wanted = IndexMap::new();
            for (name, _) in module.graph.inputs() {
                let tensor =
                    given.get(&**name).ok_or_else(|| Failure::new(Stage::Files, format!("no input {name}")))?;
                wanted.insert(name.to_string(), read_tensor(tensor).map_err(|e| Failure::new(Stage::Files, e))?);
            }
            let found = engine(&module, &wanted).map_err(|error| Failure::new(Stage::Run, error))?;
            self.compare(&self.tensors(&folder, "output", &outputs)?, &found)?;
            set += 1;
        }
    }

    /// The module; if it does not import as it is, with short integer inputs as constants.
    fn import(
        &self,
        bytes: &[u8],
        model: &ModelProto,
        given: &IndexMap<String, TensorProto>,
    ) -> Result<Module, Failure> {
        let import = |bytes: Vec<u8>| import_bytes("model.onnx", bytes, None, &Options::default());
        let first = match import(bytes.to_vec()) {
            Ok(module) => return Ok(module),
            Err(error) => error,
        };
        let mut constant = model.clone();
        let graph = constant.graph.as_mut().ok_or_else(|| Failure::new(Stage::Files, "no graph"))?;
        for (name, tensor) in given {
            if read_tensor(tensor).is_ok_and(|data| may_be_constant(&data)) {
                graph.input.retain(|input| input.name != *name);
                graph.initializer.push(TensorProto { name: name.clone(), ..tensor.clone() });
            }
        }
        import(constant.encode_to_vec()).map_err(|error: Diagnostic| {
            let also =
                if error.message == first.message { String::new() } else { format!("\nand with constants, {error}") };
            Failure::new(Stage::Import, format!("{first}{also}"))
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        fs::read(path).map_err(|error| Failure::new(Stage::Files, format!("{}: {error}", path.display())))
    }

    /// The tensors `STEM_0.pb, STEM_1.pb, ...`, which belong to `names`.
    fn tensors(&self, folder: &Path, stem: &str, names: &[String]) -> Result<IndexMap<String, TensorProto>, Failure> {
        let mut found = IndexMap::new();
        for (index, name) in names.iter().enumerate() {
            let bytes = self.read(&folder.join(format!("{stem}_{index}.pb")))?;
            let tensor = TensorProto::decode(bytes.as_slice()).map_err(|error| Failure::new(Stage::Files, error))?;
            found.insert(name.clone(), tensor);
        }
        Ok(found)
    }

    fn compare(
        &self,
        expected: &IndexMap<String, TensorProto>,
        found: &IndexMap<String, TensorData>,
    ) -> Result<(), Failure> {
        let tolerance = self.read(&self.folder.join("tolerance.txt"))?;
        let numbers: Vec<f64> =
            String::from_utf8_lossy(&tolerance).split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [relative, absolute] = numbers[..] else {
            return Err(Failure::new(Stage::Files, "tolerance.txt does not hold two numbers"));
        };
        for (name, tensor) in expected {
            let expected = read_tensor(tensor).map_err(|error| Failure::new(Stage::Files, error))?;
            let found = found.get(name);
            let found = found.ok_or_else(|| Failure::new(Stage::Compare, format!("there is no output {name:?}")))?;
            drupe_eval::close(&expected, found, relative, absolute)
                .map_err(|why| Failure::new(Stage::Compare, format!("output {name:?}: {why}")))?;
        }
        Ok(())
    }
}

/// What a compiler may want to know in advance: shapes, axes, sizes, numbers of repetitions, scales of a resize.
fn may_be_constant(data: &TensorData) -> bool {
    match data.dtype {
        DType::I64 | DType::I32 | DType::Bool => data.elements() <= 64,
        DType::F32 => data.shape.len() <= 1 && data.elements() <= 8,
        _ => data.shape.is_empty(),
    }
}
