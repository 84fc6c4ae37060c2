//! Building kernels: one method an instruction, closures for loops and branches.

use crate::{Access, Block, BufferParam, Inst, Kernel, Local, Loop, Place, Type, Value};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use std::collections::BTreeMap;

/// Builds a [`Kernel`] from the outside in. Constants are made once per block; integer arithmetic on known
/// numbers is done while building.
#[derive(Clone, Debug)]
pub struct KernelBuilder {
    pub(crate) kernel: Kernel,
    /// The blocks being built, innermost last.
    open: Vec<Block>,
    /// Integer constants and dimensions: at the head of the kernel, so that one serves every block.
    head: Vec<Inst>,
    /// The i64 constants made so far, both ways.
    ints: BTreeMap<i64, Value>,
    known: BTreeMap<Value, i64>,
    /// The dimensions read so far.
    dims: BTreeMap<usize, Value>,
    /// The number of the invocation, if it was asked for.
    invocation: Option<Value>,
}

impl KernelBuilder {
    /// A kernel without parameters yet.
    pub fn new(name: &str) -> KernelBuilder {
        let kernel = Kernel {
            name: name.into(),
            buffers: Vec::new(),
            dims: 0,
            locals: Vec::new(),
            shared: Vec::new(),
            tiles: Vec::new(),
            workgroup: 1,
            task: Value(0),
            body: Block::default(),
            types: vec![Type::scalar(DType::I64)],
        };
        KernelBuilder {
            kernel,
            open: vec![Block::default()],
            head: Vec::new(),
            ints: BTreeMap::new(),
            known: BTreeMap::new(),
            dims: BTreeMap::new(),
            invocation: None,
        }
    }

    /// Adds a buffer parameter and gives its number.
    pub fn buffer(&mut self, name: &str, dtype: DType, access: Access) -> usize {
        self.kernel.buffers.push(BufferParam { name: name.into(), dtype, access });
        self.kernel.buffers.len() - 1
    }

    /// Adds a private array and gives its place.
    pub fn local(&mut self, dtype: DType, length: u32) -> Place {
        self.kernel.locals.push(Local { dtype, length });
        Place::Local(self.kernel.locals.len() - 1)
    }

    /// Says that `workgroup` invocations run each task together.
    pub fn workgroup(&mut self, workgroup: u32) {
        self.kernel.workgroup = workgroup;
    }

    /// Adds an array that the invocations of a task share and gives its place.
    pub fn shared(&mut self, dtype: DType, length: u32) -> Place {
        self.kernel.shared.push(Local { dtype, length });
        Place::Shared(self.kernel.shared.len() - 1)
    }

    /// The number of the invocation in its workgroup.
    pub fn invocation(&mut self) -> Value {
        if let Some(known) = self.invocation {
            return known;
        }
        let out = self.value(Type::scalar(DType::I64));
        self.head.push(Inst::Invocation { out });
        self.invocation = Some(out);
        out
    }

    /// The number of the invocation's subgroup.
    pub fn subgroup(&mut self) -> Value {
        self.define(Type::scalar(DType::I64), |out| Inst::Subgroup { out })
    }

    /// How many subgroups the workgroup has.
    pub fn subgroups(&mut self) -> Value {
        self.define(Type::scalar(DType::I64), |out| Inst::Subgroups { out })
    }

    /// Where the invocations of a task wait for one another.
    pub fn barrier(&mut self) {
        self.push(Inst::Barrier);
    }

    /// The values of all invocations combined.
    pub fn across(&mut self, op: FoldOp, a: Value) -> Value {
        if self.kernel.workgroup == 1 {
            return a;
        }
        let ty = self.ty(a);
        self.define(ty, |out| Inst::Across { out, op, a })
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.open.pop().expect("the outermost block is open");
        self.kernel.body.insts.splice(0..0, self.head);
        self.kernel
    }

    /// The number of the task.
    pub fn task(&self) -> Value {
        self.kernel.task
    }

    /// The type of `value`.
    pub fn ty(&self, value: Value) -> Type {
        self.kernel.ty(value)
    }

    fn value(&mut self, ty: Type) -> Value {
        self.kernel.types.push(ty);
        Value(self.kernel.types.len() as u32 - 1)
    }

    pub(crate) fn push(&mut self, inst: Inst) {
        self.open.last_mut().expect("a block is open").insts.push(inst);
    }

    fn define(&mut self, ty: Type, inst: impl FnOnce(Value) -> Inst) -> Value {
        let out = self.value(ty);
        self.push(inst(out));
        out
    }

    /// The number that an i64 scalar is known to be.
    pub fn known(&self, value: Value) -> Option<i64> {
        self.known.get(&value).copied()
    }

    /// An i64 constant.
    pub fn int(&mut self, value: i64) -> Value {
        if let Some(known) = self.ints.get(&value) {
            return *known;
        }
        let out = self.value(Type::scalar(DType::I64));
        self.head.push(Inst::Int { out, value });
        self.ints.insert(value, out);
        self.known.insert(out, value);
        out
    }

    /// A constant of type `ty` in every lane.
    pub fn number(&mut self, ty: Type, value: f64) -> Value {
        if ty == Type::scalar(DType::I64) {
            return self.int(value as i64);
        }
        self.define(ty, |out| match ty.dtype.is_float() {
            true => Inst::Float { out, value },
            false => Inst::Int { out, value: value as i64 },
        })
    }

    /// An integer constant of type `ty` in every lane.
    pub fn integer(&mut self, ty: Type, value: i64) -> Value {
        if ty == Type::scalar(DType::I64) { self.int(value) } else { self.define(ty, |out| Inst::Int { out, value }) }
    }

    /// Lane numbers.
    pub fn iota(&mut self, ty: Type) -> Value {
        self.define(ty, |out| Inst::Iota { out })
    }

    /// Dimension argument `index`.
    pub fn dim(&mut self, index: usize) -> Value {
        if let Some(known) = self.dims.get(&index) {
            return *known;
        }
        self.kernel.dims = self.kernel.dims.max(index + 1);
        let out = self.value(Type::scalar(DType::I64));
        self.head.push(Inst::Dim { out, index });
        self.dims.insert(index, out);
        out
    }

    /// An operation on one value. Those a CPU has no instruction for are expanded here, for `f32` and `f64`,
    /// from polynomials; `f16` and `bf16` compute in `f32`.
    pub fn unary(&mut self, op: UnaryOp, a: Value) -> Value {
        use UnaryOp::*;
        match op {
            Neg | Abs | Not | Floor | Ceil | Round | Sqrt => self.plain_unary(op, a),
            _ => self.expand_unary(op, a),
        }
    }

    /// The instruction, as it is.
    pub(crate) fn plain_unary(&mut self, op: UnaryOp, a: Value) -> Value {
        let ty = self.ty(a);
        self.define(ty, |out| Inst::Unary { out, op, a })
    }

    /// An operation on two values of one type; scalars are splat to the other's lanes.
    pub fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let (a, b) = self.same_lanes(a, b);
        if let Some(value) = self.known_binary(op, a, b) {
            return value;
        }
        let ty = self.ty(a);
        match op {
            BinaryOp::Pow => self.expand_pow(a, b),
            BinaryOp::Rem if ty.dtype.is_float() => self.expand_float_rem(a, b),
            _ => {
                let result = if op.is_comparison() { ty.with_dtype(DType::Bool) } else { ty };
                self.define(result, |out| Inst::Binary { out, op, a, b })
            }
        }
    }

    fn known_binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Option<Value> {
        if self.ty(a) != Type::scalar(DType::I64) {
            return None;
        }
        let number = match (op, self.known(a), self.known(b)) {
            (BinaryOp::Add, Some(a), Some(b)) => a.checked_add(b)?,
            (BinaryOp::Sub, Some(a), Some(b)) => a.checked_sub(b)?,
            (BinaryOp::Mul, Some(a), Some(b)) => a.checked_mul(b)?,
            (BinaryOp::FloorDiv, Some(a), Some(b)) if b > 0 => a.div_euclid(b),
            (BinaryOp::Mod, Some(a), Some(b)) if b > 0 => a.rem_euclid(b),
            (BinaryOp::Min, Some(a), Some(b)) => a.min(b),
            (BinaryOp::Max, Some(a), Some(b)) => a.max(b),
            (BinaryOp::Add | BinaryOp::Sub, _, Some(0)) => return Some(a),
            (BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv, _, Some(1)) => return Some(a),
            (BinaryOp::Add, Some(0), _) | (BinaryOp::Mul, Some(1), _) => return Some(b),
            (BinaryOp::Mul, _, Some(0)) | (BinaryOp::Mul, Some(0), _) | (BinaryOp::Mod, _, Some(1)) => 0,
            _ => return None,
        };
        Some(self.int(number))
    }

    fn same_lanes(&mut self, a: Value, b: Value) -> (Value, Value) {
        let (lanes_a, lanes_b) = (self.ty(a).lanes, self.ty(b).lanes);
        match (lanes_a, lanes_b) {
            (1, lanes) if lanes > 1 => (self.splat(a, lanes), b),
            (lanes, 1) if lanes > 1 => (a, self.splat(b, lanes)),
            _ => (a, b),
        }
    }

    /// `a * b + c`; scalars are splat to the lanes of `c`.
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        let lanes = self.ty(c).lanes;
        let (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        let ty = self.ty(c);
        self.define(ty, |out| Inst::Fma { out, a, b, c })
    }

    /// `c` and the sums of four neighbouring products of `a` and `b`; see [`Inst::Dot`].
    pub fn dot(&mut self, a: Value, b: Value, c: Value) -> Value {
        let ty = self.ty(c);
        self.define(ty, |out| Inst::Dot { out, a, b, c })
    }

    /// `c` and the products of pairs of rows of `a` and `b`; see [`Inst::DotPairs`].
    pub fn dot_pairs(&mut self, a: Value, b: Value, c: Value) -> Value {
        let ty = self.ty(c);
        self.define(ty, |out| Inst::DotPairs { out, a, b, c })
    }

    /// `a` where `condition` holds, else `b`; scalars are splat to the most lanes of the three.
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        let lanes = [condition, a, b].map(|value| self.ty(value).lanes).into_iter().max().expect("three values");
        let (a, b, condition) = (self.splat(a, lanes), self.splat(b, lanes), self.splat(condition, lanes));
        let ty = self.ty(a);
        self.define(ty, |out| Inst::Select { out, condition, a, b })
    }

    /// Conversion of each lane to `dtype`.
    pub fn cast(&mut self, a: Value, dtype: DType) -> Value {
        let ty = self.ty(a);
        if ty.dtype == dtype {
            return a;
        }
        self.define(ty.with_dtype(dtype), |out| Inst::Cast { out, a })
    }

    /// The same bits as `dtype`, of the same width.
    pub fn bitcast(&mut self, a: Value, dtype: DType) -> Value {
        let ty = self.ty(a);
        if ty.dtype == dtype {
            return a;
        }
        self.define(ty.with_dtype(dtype), |out| Inst::Bitcast { out, a })
    }

    /// The same bits as lanes of another type, and perhaps another number of them.
    pub fn reinterpret(&mut self, a: Value, ty: Type) -> Value {
        if self.ty(a) == ty { a } else { self.define(ty, |out| Inst::Bitcast { out, a }) }
    }

    /// A scalar in `lanes` lanes; a value that has them already is given back.
    pub fn splat(&mut self, a: Value, lanes: u16) -> Value {
        let ty = self.ty(a);
        if ty.lanes == lanes {
            return a;
        }
        assert_eq!(ty.lanes, 1, "only scalars are splat");
        self.define(Type { lanes, ..ty }, |out| Inst::Splat { out, a })
    }

    /// Lane `lane` as a scalar.
    pub fn extract(&mut self, a: Value, lane: u16) -> Value {
        let ty = self.ty(a);
        if ty.lanes == 1 {
            return a;
        }
        self.define(Type::scalar(ty.dtype), |out| Inst::Extract { out, a, lane })
    }

    /// All lanes combined.
    pub fn reduce(&mut self, op: FoldOp, a: Value) -> Value {
        let ty = self.ty(a);
        if ty.lanes == 1 {
            return a;
        }
        self.define(Type::scalar(ty.dtype), |out| Inst::Reduce { out, op, a })
    }

    /// Lanes picked from `a` then `b`.
    pub fn shuffle(&mut self, a: Value, b: Value, lanes: Vec<u16>) -> Value {
        let ty = Type { lanes: lanes.len() as u16, ..self.ty(a) };
        self.define(ty, |out| Inst::Shuffle { out, a, b, lanes })
    }

    /// Consecutive elements from `offset`.
    pub fn load(&mut self, place: Place, offset: Value, ty: Type) -> Value {
        self.define(ty, |out| Inst::Load { out, place, offset })
    }

    /// Stores to consecutive elements from `offset`.
    pub fn store(&mut self, place: Place, offset: Value, value: Value) {
        self.push(Inst::Store { place, offset, value });
    }

    /// Asks for the cache line of the element at `offset`.
    pub fn prefetch(&mut self, place: Place, offset: Value) {
        self.push(Inst::Prefetch { place, offset });
    }

    /// A loop; `body` gets the loop variable and the carried values and gives the next ones. A loop that
    /// runs exactly once is not a loop.
    pub fn for_loop(
        &mut self,
        low: Value,
        high: Value,
        step: i64,
        init: Vec<Value>,
        body: impl FnOnce(&mut KernelBuilder, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        match self.trips(low, high, step) {
            Some(0) => init,
            Some(1) => body(self, low, &init),
            _ => {
                let open = self.open_loop(low, high, step, init);
                let yields = body(self, open.index, &open.carried);
                self.close_loop(open, yields)
            }
        }
    }

    /// How often a loop runs, where that is known.
    pub fn trips(&self, low: Value, high: Value, step: i64) -> Option<i64> {
        let (low, high) = (self.known(low)?, self.known(high)?);
        Some(if low >= high { 0 } else { (high - low - 1) / step + 1 })
    }

    /// Starts a loop; what is built until [`KernelBuilder::close_loop`] is its body.
    pub fn open_loop(&mut self, low: Value, high: Value, step: i64, init: Vec<Value>) -> OpenLoop {
        let index = self.value(Type::scalar(DType::I64));
        let types: Vec<Type> = init.iter().map(|value| self.ty(*value)).collect();
        let carried: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        self.open.push(Block::default());
        OpenLoop { index, carried, low, high, step, init }
    }

    /// Ends the innermost loop; gives the carried values after it.
    pub fn close_loop(&mut self, open: OpenLoop, yields: Vec<Value>) -> Vec<Value> {
        let insts = self.open.pop().expect("the loop's block is open").insts;
        let types: Vec<Type> = open.init.iter().map(|value| self.ty(*value)).collect();
        let results: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        let OpenLoop { index, carried, low, high, step, init } = open;
        let body = Block { insts, yields };
        self.push(Inst::For(Box::new(Loop { index, low, high, step, init, carried, results: results.clone(), body })));
        results
    }

    /// A branch on a scalar bool; both blocks yield values of the same types.
    pub fn if_else(
        &mut self,
        condition: Value,
        then: impl FnOnce(&mut KernelBuilder) -> Vec<Value>,
        otherwise: impl FnOnce(&mut KernelBuilder) -> Vec<Value>,
    ) -> Vec<Value> {
        self.open_block();
        let yields = then(self);
        let then = self.close_block(yields);
        self.open_block();
        let yields = otherwise(self);
        let otherwise = self.close_block(yields);
        self.branch(condition, then, otherwise)
    }

    /// Starts a block for [`KernelBuilder::branch`]; what is built until [`KernelBuilder::close_block`] is in it.
    pub fn open_block(&mut self) {
        self.open.push(Block::default());
    }

    /// Ends the innermost block.
    pub fn close_block(&mut self, yields: Vec<Value>) -> Block {
        Block { insts: self.open.pop().expect("the block is open").insts, yields }
    }

    /// A branch between two finished blocks that yield values of the same types.
    pub fn branch(&mut self, condition: Value, then: Block, otherwise: Block) -> Vec<Value> {
        let types: Vec<Type> = then.yields.iter().map(|value| self.ty(*value)).collect();
        let results: Vec<Value> = types.into_iter().map(|ty| self.value(ty)).collect();
        self.push(Inst::If { results: results.clone(), condition, then, otherwise });
        results
    }
}

/// A loop whose body is being built; see [`KernelBuilder::open_loop`].
#[derive(Clone, Debug)]
pub struct OpenLoop {
    /// The loop variable.
    pub index: Value,
    /// The carried values in the body.
    pub carried: Vec<Value>,
    low: Value,
    high: Value,
    step: i64,
    init: Vec<Value>,
}
