//! Small modules.

use drupe::{Backend, CompileOptions, Placement};
use drupe_ir::{DType, Dim, Module, Op, TensorData, Type, ValueId};
use drupe_target::Target;

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

/// Compiles for any GPU as well, with all on it that it can do.
pub fn gpu_options() -> CompileOptions {
    let target = Target::find("x86-64").expect("a target that ships");
    CompileOptions { target, backend: Backend::Cranelift, gpu: Some(Placement::Gpu), ..CompileOptions::default() }
}

/// Floats in -1..1 by a linear congruence (Knuth's MMIX constants).
fn noise(shape: &[usize], seed: u64) -> TensorData {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    TensorData::from_f32(shape.to_vec(), &values).expect("as many values as the shape has")
}
