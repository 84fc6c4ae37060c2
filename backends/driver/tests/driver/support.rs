//! What the tests share: small modules, inputs, and the comparison of compiled code with the interpreter.

use drupe::{Backend, CompileOptions, compile};
use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{DType, Dim, Module, Op, TensorData, Type, ValueId};
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};
use drupe_target::Target;
use indexmap::IndexMap;

/// A module under construction.
pub struct Build {
    pub module: Module,
    seed: u64,
}

impl Build {
    pub fn new(name: &str) -> Build {
        Build { module: Module::new(name), seed: 1 }
    }

    pub fn input(&mut self, name: &str, shape: &[Dim]) -> ValueId {
        self.module.input(name, Type::new(DType::F32, shape.iter().cloned())).expect("a valid input")
    }

    pub fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.seed += 1;
        let data = noise(shape, self.seed);
        self.module.constant(&format!("w{}", self.seed), data)
    }

    pub fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> ValueId {
        self.module.add(op.into(), operands, &Default::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn finish(mut self, outputs: &[ValueId]) -> Module {
        for (index, value) in outputs.iter().enumerate() {
            self.module.output(&format!("y{index}"), *value);
        }
        self.module.verify().unwrap_or_else(|error| panic!("{error}"));
        self.module
    }
}

/// Dimensions from numbers.
pub fn dims(extents: &[i64]) -> Vec<Dim> {
    extents.iter().map(|extent| Dim::from(*extent)).collect()
}

/// Floats in -1..1 by a linear congruence (Knuth's MMIX constants).
pub fn noise(shape: &[usize], seed: u64) -> TensorData {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    TensorData::from_f32(shape.to_vec(), &values).expect("as many values as the shape has")
}

/// The ways to compile: each backend (or the one in `DRUPE_TEST_BACKEND`), every level of this machine at once,
/// rewritten or not.
pub fn ways() -> Vec<CompileOptions> {
    let only = std::env::var("DRUPE_TEST_BACKEND").ok();
    let wanted = |backend: &&Backend| only.as_ref().is_none_or(|only| only == backend.name());
    let backends = Backend::AVAILABLE.iter().filter(wanted);
    let both = backends.flat_map(|backend| [true, false].map(|rewrite| (*backend, rewrite)));
    both.map(|(backend, rewrite)| CompileOptions { backend, rewrite, ..CompileOptions::default() }).collect()
}

/// Compiles `module` in every way and compares its outputs with the interpreter's, by every level that this
/// machine can run, with one and with several threads.
pub fn check(module: &Module, shapes: &[&[usize]]) {
    let inputs: IndexMap<String, TensorData> = (module.graph.inputs().zip(shapes).enumerate())
        .map(|(index, ((name, _), shape))| (name.to_string(), noise(shape, 77 + index as u64)))
        .collect();
    assert_eq!(inputs.len(), module.graph.inputs().count(), "a shape for every input");
    let expected = eval(module, &inputs).unwrap_or_else(|error| panic!("{error}"));
    for options in ways() {
        let way = format!("{} by {}, rewrite {}", module.name, options.backend.name(), options.rewrite);
        let artifact = compile(module, &options).unwrap_or_else(|error| panic!("{way}: {error}"));
        for level in drupe::stages::target(&options).levels {
            let how = LoadOptions { level: Some(level.name.clone()), ..LoadOptions::default() };
            let program = Program::from_bytes(&artifact, &how).unwrap_or_else(|error| panic!("{way}: {error}"));
            for threads in [1, 3] {
                for (name, got) in run(&program, &inputs, threads) {
                    let report = compare(&expected[&name], &got);
                    assert!(
                        report.is_within(Tolerance::Compiled),
                        "{way}, {} x{threads}: {name}: {report}",
                        level.name
                    );
                }
            }
        }
    }
}

/// The outputs of `program`.
pub fn run(program: &Program, inputs: &IndexMap<String, TensorData>, threads: usize) -> Vec<(String, TensorData)> {
    let mut session = Session::new(program, Options { threads, ..Options::default() }).expect("a session");
    let tensors: Vec<(&str, Tensor)> = inputs.iter().map(|(name, data)| (name.as_str(), tensor(data))).collect();
    let views: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor.view())).collect();
    let outputs = session.run(&views).unwrap_or_else(|error| panic!("{error}"));
    let data = |tensor: &Tensor| {
        let dtype = DType::from_name(tensor.dtype().name()).expect("every border type is an IR type");
        TensorData::from_bytes(dtype, tensor.shape().to_vec(), tensor.bytes().to_vec()).expect("a whole tensor")
    };
    outputs.iter().map(|(name, tensor)| (name.clone(), data(tensor))).collect()
}

fn tensor(data: &TensorData) -> Tensor {
    let dtype = drupe_runtime::DType::from_name(data.dtype.name()).expect("a border type");
    Tensor::from_bytes(dtype, &data.shape, data.bytes()).expect("a whole tensor")
}

/// The device that artifacts are compared on, wherever the tests run.
pub fn fixed_target() -> Target {
    Target::find("x86-64").expect("a built-in target")
}
