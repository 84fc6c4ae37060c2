//! Artifacts for tests, made without the compiler.

pub mod code;

use drupe_format::plan::{
    Arg, Buffer, BufferId, Code, ExprId, Kernel, KernelId, Place, Port, Step, StepOp, StepResult, Symbol, SymbolId,
    SymbolSource,
};
use drupe_format::{DType, ExprBuilder, ExprOp, Parts, Plan, assign_memory, write};

/// A plan being made; buffers and steps refer to each other by the ids returned.
pub struct Maker {
    pub plan: Plan,
    pub exprs: ExprBuilder,
    pub constants: Vec<u8>,
}

impl Maker {
    pub fn new(model: &str) -> Maker {
        let mut exprs = ExprBuilder::default();
        let scratch = exprs.constant(0);
        let plan = Plan { scratch, static_arena: None, ..Plan::empty("test", model) };
        Maker { plan, exprs, constants: Vec::new() }
    }

    pub fn number(&mut self, value: i64) -> ExprId {
        self.exprs.constant(value)
    }

    pub fn times(&mut self, a: ExprId, b: i64) -> ExprId {
        let b = self.number(b);
        self.exprs.binary(ExprOp::Mul, a, b).expect("small")
    }

    pub fn symbol(&mut self, name: &str, min: u64, max: u64, source: SymbolSource) -> ExprId {
        self.plan.symbols.push(Symbol { name: name.into(), min, max, source });
        self.exprs.symbol(SymbolId(self.plan.symbols.len() as u32 - 1))
    }

    pub fn buffer(&mut self, name: &str, size: ExprId, place: Place) -> BufferId {
        self.plan.buffers.push(Buffer { name: name.into(), size, place, first_step: 0, last_step: 0 });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    pub fn arena(&mut self, name: &str, size: ExprId) -> BufferId {
        self.buffer(name, size, Place::Arena { offset: None })
    }

    pub fn constant(&mut self, name: &str, values: &[f32]) -> BufferId {
        self.constants.resize(self.constants.len().next_multiple_of(64), 0);
        let offset = self.constants.len() as u64;
        self.constants.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let len = values.len() as u64 * 4;
        let size = self.number(len as i64);
        self.buffer(name, size, Place::Constant { offset, len })
    }

    pub fn input(&mut self, name: &str, dtype: DType, shape: &[ExprId], size: ExprId) -> BufferId {
        let buffer = self.buffer(name, size, Place::Input);
        self.plan.inputs.push(Port { name: name.into(), dtype, shape: shape.to_vec(), buffer });
        buffer
    }

    pub fn output(&mut self, name: &str, dtype: DType, shape: &[ExprId], buffer: BufferId) {
        self.plan.outputs.push(Port { name: name.into(), dtype, shape: shape.to_vec(), buffer });
    }

    pub fn output_buffer(&mut self, name: &str, dtype: DType, shape: &[ExprId], size: ExprId) -> BufferId {
        let buffer = self.buffer(name, size, Place::Output);
        self.output(name, dtype, shape, buffer);
        buffer
    }

    /// A step over `n` elements; the last argument is written.
    pub fn kernel(&mut self, kernel: u32, n: ExprId, args: &[BufferId]) {
        let last = args.len() - 1;
        let len = self.times(n, 4);
        let args: Vec<_> = args.iter().enumerate().map(|(index, &buffer)| (buffer, len, index == last)).collect();
        let result = args[last].0;
        let name = self.plan.buffers[result.index()].name.clone();
        self.step(StepOp::Kernel(KernelId(kernel)), &args, &[n], n);
        let step = self.plan.steps.last_mut().expect("just added");
        step.result = Some(StepResult { name, dtype: DType::F32, shape: vec![n], buffer: result });
    }

    pub fn step(&mut self, op: StepOp, args: &[(BufferId, ExprId, bool)], dims: &[ExprId], grid: ExprId) {
        let offset = self.number(0);
        let args = args.iter().map(|&(buffer, len, writes)| Arg { buffer, offset, len, writes }).collect();
        let origin = format!("test node {}", self.plan.steps.len());
        let (dims, sets, result) = (dims.to_vec(), vec![], None);
        self.plan.steps.push(Step { op, args, dims, grid, sets, origin, result, flops: grid, bytes: offset });
    }

    /// The artifact with the test kernels (0: add, 1: double); memory is assigned.
    pub fn finish(self) -> Vec<u8> {
        self.finish_with(&[], &[])
    }

    /// [`Maker::finish`] with plans for devices beside it.
    pub fn finish_with(mut self, device_plans: &[&Plan], shaders: &[u8]) -> Vec<u8> {
        self.complete();
        let bytes = code::image();
        let code = [&bytes[..], &bytes[..], &bytes[..]];
        let parts = Parts { constants: &self.constants, code: &code, device_plans, shaders, ..Parts::of(&self.plan) };
        write(&parts).expect("valid plan")
    }

    /// Makes the plan whole.
    pub fn complete(&mut self) {
        self.plan.exprs = std::mem::take(&mut self.exprs).finish();
        assign_memory(&mut self.plan).expect("small");
        self.plan.kernels = ["add", "double"].map(|name| Kernel { name: name.into(), source: None }).into();
        let image = |level: &str, arch: &str, features: &[&str]| Code {
            level: level.into(),
            arch: arch.into(),
            features: features.iter().map(|&feature| feature.into()).collect(),
            entries: vec![code::add_entry(), code::double_entry()],
        };
        self.plan.code = vec![
            image("future", std::env::consts::ARCH, &["flux-capacitor"]),
            image("base", std::env::consts::ARCH, &[]),
            image("base", "pdp11", &[]),
        ];
    }
}

/// `y = 2 * (x + w)` over four floats, `w = [10, 20, 30, 40]`, with a baked arena.
pub fn fixed_model() -> Vec<u8> {
    let mut make = Maker::new("fixed");
    let (four, bytes) = (make.number(4), make.number(16));
    make.plan.scratch = make.number(64);
    let x = make.input("x", DType::F32, &[four], bytes);
    let w = make.constant("w", &[10.0, 20.0, 30.0, 40.0]);
    let sum = make.arena("sum", bytes);
    let y = make.output_buffer("y", DType::F32, &[four], bytes);
    make.kernel(0, four, &[x, w, sum]);
    make.kernel(1, four, &[sum, y]);
    make.finish()
}

/// `y = 2 * 2 * (a + b)` and `a` again, over `n` in 1..=100000 floats.
pub fn symbolic_model() -> Vec<u8> {
    let mut make = Maker::new("symbolic");
    let n = make.symbol("n", 1, 100_000, SymbolSource::Input);
    let bytes = make.times(n, 4);
    make.plan.scratch = make.number(4);
    let a = make.input("a", DType::F32, &[n], bytes);
    let b = make.input("b", DType::F32, &[n], bytes);
    let sum = make.arena("sum", bytes);
    let twice = make.arena("twice", bytes);
    let y = make.output_buffer("y", DType::F32, &[n], bytes);
    make.output("same", DType::F32, &[n], a);
    make.kernel(0, n, &[a, b, sum]);
    make.kernel(1, n, &[sum, twice]);
    make.kernel(1, n, &[twice, y]);
    make.finish()
}

/// Only builtins: `top` and `where` of the two largest of `x[n]`, and the coordinates `found` of
/// its `k` nonzero elements.
pub fn builtin_model() -> Vec<u8> {
    let mut make = Maker::new("builtin");
    let n = make.symbol("n", 2, 64, SymbolSource::Input);
    let k = make.symbol("k", 0, 64, SymbolSource::Step);
    let (one, two) = (make.number(1), make.number(2));
    let x_bytes = make.times(n, 4);
    let room = make.times(n, 8);
    let x = make.input("x", DType::F32, &[n], x_bytes);
    let (top_bytes, where_bytes) = (make.number(8), make.number(16));
    let top = make.output_buffer("top", DType::F32, &[two], top_bytes);
    let places = make.output_buffer("where", DType::I64, &[two], where_bytes);
    let found_bytes = make.times(k, 8);
    let found = make.arena("found", found_bytes);
    make.output("found", DType::I64, &[one, k], found);
    let builtin = |name: &str, ints: &[i64]| StepOp::Builtin { name: name.into(), ints: ints.into(), floats: vec![] };
    let f32_code = i64::from(DType::F32.code());
    let top_k_args = [(x, x_bytes, false), (top, top_bytes, true), (places, where_bytes, true)];
    make.step(builtin("top_k", &[f32_code, 1]), &top_k_args, &[one, n, one, two], one);
    make.step(builtin("non_zero", &[f32_code]), &[(x, x_bytes, false), (found, room, true)], &[n], one);
    make.plan.steps[1].sets = vec![SymbolId(1)];
    make.finish()
}

/// `y = 2 * z`, where `z` is the nonzero coordinates' bytes taken as floats: a kernel whose size
/// an earlier step decides. `t` holds the coordinates of the nonzero elements of `x[8]`.
pub fn data_dependent_model() -> Vec<u8> {
    let mut make = Maker::new("data-dependent");
    let k = make.symbol("k", 0, 8, SymbolSource::Step);
    let (one, eight, x_bytes) = (make.number(1), make.number(8), make.number(32));
    let room = make.times(k, 8);
    let y_bytes = make.times(k, 4);
    make.plan.scratch = make.number(4);
    let x = make.input("x", DType::F32, &[eight], x_bytes);
    let t = make.arena("t", room);
    let y = make.output_buffer("y", DType::F32, &[k], y_bytes);
    let f32_code = i64::from(DType::F32.code());
    let op = StepOp::Builtin { name: "non_zero".into(), ints: vec![f32_code], floats: vec![] };
    make.step(op, &[(x, x_bytes, false), (t, room, true)], &[eight], one);
    make.plan.steps[0].sets = vec![SymbolId(0)];
    make.kernel(1, k, &[x, y]);
    make.output("t", DType::I64, &[one, k], t);
    make.finish()
}

/// `y = [2 * x, 2 * x + 2 * x]` over two floats each, through views: the first half of `y` is
/// computed in place, the second from the first.
pub fn view_model() -> Vec<u8> {
    let mut make = Maker::new("view");
    let (two, four, half, whole) = (make.number(2), make.number(4), make.number(8), make.number(16));
    make.plan.scratch = make.number(4);
    let x = make.input("x", DType::F32, &[two], half);
    let y = make.arena("y", whole);
    let (start, middle) = (make.number(0), half);
    let first = make.buffer("first", half, Place::View { of: y, offset: start });
    let second = make.buffer("second", half, Place::View { of: y, offset: middle });
    let inner = make.number(4);
    let last = make.buffer("last", inner, Place::View { of: second, offset: inner });
    make.output("y", DType::F32, &[four], y);
    let one = make.number(1);
    make.output("last", DType::F32, &[one], last);
    make.kernel(1, two, &[x, first]);
    make.kernel(0, two, &[first, first, second]);
    make.finish()
}
