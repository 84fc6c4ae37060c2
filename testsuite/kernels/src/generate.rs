//! Random kernels.

use crate::Case;
use crate::data::{DTYPES, Random, data};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel::{Access, KernelBuilder, Place, Type, Value};

/// Elements of each buffer.
const COUNT: usize = 64;

/// Tasks that run; each reads and writes its own part of the buffers.
const TASKS: usize = 3;

/// Instructions in the outermost block.
const LENGTH: usize = 30;

/// The kernel of `seed`: it loads some vectors, computes with loops and branches, and stores some results. It does
/// what would tell -0 from 0 nowhere, for minima and maxima do not: it divides by no 0, and takes no float for its
/// bits.
pub fn random(seed: u64) -> Case {
    let mut random = Random(seed);
    let mut b = KernelBuilder::new(&format!("random{seed}"));
    let columns = b.dim(0);
    let mut buffers = Vec::new();
    let mut pool = Vec::new();
    let mut inputs = Vec::new();
    for number in 0..4 {
        let dtype = random.pick(&DTYPES);
        let lanes = random.pick(&[1, 2, 4, 4, 8, 16]);
        let place = Place::Buffer(b.buffer(&format!("x{number}"), dtype, Access::Read));
        buffers.push(data(dtype, TASKS * COUNT, &mut random, false));
        inputs.push((place, Type::vector(dtype, lanes)));
        let start = b.int(random.below(COUNT / 2) as i64);
        let offset = offset(&mut b, start);
        pool.push(b.load(place, offset, Type::vector(dtype, lanes)));
    }
    let mut generator = Generator { b, random, pool, inputs, columns, depth: 0 };
    (0..LENGTH).for_each(|_| generator.step());
    let Generator { mut b, mut random, pool, .. } = generator;
    for number in 0..4 {
        let value = pool[pool.len() - 1 - random.below(pool.len() / 2)];
        let ty = b.ty(value);
        let place = Place::Buffer(b.buffer(&format!("y{number}"), ty.dtype, Access::Write));
        buffers.push(vec![0; ty.dtype.bytes_of(TASKS * COUNT)]);
        let start = b.int(random.below(COUNT / 2) as i64);
        let offset = offset(&mut b, start);
        b.store(place, offset, value);
    }
    let kernel = b.finish();
    kernel.verify().unwrap_or_else(|error| panic!("{error}\n{kernel}"));
    Case { kernel, buffers, dims: vec![random.below(4) as i64], tasks: TASKS as i64 }
}

/// Element `start` of the task's part.
fn offset(b: &mut KernelBuilder, start: Value) -> Value {
    let (task, count) = (b.task(), b.int(COUNT as i64));
    let first = b.binary(BinaryOp::Mul, task, count);
    b.binary(BinaryOp::Add, first, start)
}

struct Generator {
    b: KernelBuilder,
    random: Random,
    /// Values that can be used here.
    pool: Vec<Value>,
    inputs: Vec<(Place, Type)>,
    columns: Value,
    /// Loops and branches around.
    depth: usize,
}

impl Generator {
    /// Adds an instruction, or a few.
    fn step(&mut self) {
        let a = self.any();
        let ty = self.b.ty(a);
        let value = match self.random.below(20) {
            0..=1 => self.unary(a),
            2..=7 => self.binary(a),
            8 if ty.dtype != DType::Bool => {
                let (b, c) = (self.like(ty), self.like(ty));
                self.b.fma(a, b, c)
            }
            9 => {
                let (condition, other) = (self.like(ty.with_dtype(DType::Bool)), self.like(ty));
                self.b.select(condition, a, other)
            }
            10..=11 => {
                let to = self.random.pick(&DTYPES);
                self.b.cast(a, to)
            }
            12 if ty.dtype.is_int() => self.bitcast(a),
            13 => {
                let lanes = self.random.pick(&[1, 2, 4, 8, 16]);
                let other = self.like(ty);
                let picked = (0..lanes).map(|_| self.random.below(2 * usize::from(ty.lanes)) as u16).collect();
                self.b.shuffle(a, other, picked)
            }
            14 => {
                let op = self.random.pick(&[FoldOp::Sum, FoldOp::Prod, FoldOp::Max, FoldOp::Min]);
                self.b.reduce(op, a)
            }
            15 => {
                let (place, ty) = self.random.pick(&self.inputs);
                let start = self.b.int(self.random.below(COUNT / 2) as i64);
                let offset = offset(&mut self.b, start);
                self.b.load(place, offset, ty)
            }
            16 => self.through_memory(a),
            17 if self.depth < 2 => return self.counted(),
            18 if self.depth < 2 => return self.branch(),
            _ => self.constant(ty),
        };
        self.pool.push(value);
    }

    /// Any value, rather a late one.
    fn any(&mut self) -> Value {
        let count = self.pool.len();
        let back = self.random.below(count).min(self.random.below(count));
        self.pool[count - 1 - back]
    }

    /// A value of type `ty`: one that there is, or something made into one.
    fn like(&mut self, ty: Type) -> Value {
        let fitting: Vec<Value> = self.pool.iter().copied().filter(|value| self.b.ty(*value) == ty).collect();
        if !fitting.is_empty() && self.random.below(4) > 0 {
            return self.random.pick(&fitting);
        }
        let a = self.any();
        let from = self.b.ty(a);
        let lanes: Vec<u16> = (0..ty.lanes).map(|_| self.random.below(usize::from(from.lanes)) as u16).collect();
        let shaped = match from.lanes {
            lanes if lanes == ty.lanes => a,
            1 => self.b.splat(a, ty.lanes),
            _ => self.b.shuffle(a, a, lanes),
        };
        let value = self.b.cast(shaped, ty.dtype);
        self.pool.push(value);
        value
    }

    fn constant(&mut self, ty: Type) -> Value {
        let number = self.random.below(9) as f64 - if ty.dtype == DType::Bool { 0.0 } else { 4.0 };
        match self.random.below(4) {
            0 if ty.dtype.is_int() => self.b.iota(ty),
            1 if ty.dtype.is_float() => self.b.number(ty, number / 8.0),
            _ if ty.dtype == DType::Bool => self.b.integer(ty, i64::from(number > 4.0)),
            _ => self.b.number(ty, number),
        }
    }

    fn unary(&mut self, a: Value) -> Value {
        use UnaryOp::*;
        let dtype = self.b.ty(a).dtype;
        let ops: &[UnaryOp] = match dtype {
            DType::Bool => &[Not],
            dtype if dtype.is_float() => {
                &[Neg, Abs, Floor, Ceil, Round, Sqrt, Sign, IsNan, IsInf, Exp, Log, Tanh, Erf, Sin]
            }
            _ => &[Neg, Abs, Not, Sign],
        };
        let op = self.random.pick(ops);
        self.b.unary(op, a)
    }

    fn binary(&mut self, a: Value) -> Value {
        use BinaryOp::*;
        let ty = self.b.ty(a);
        let ops: &[BinaryOp] = match ty.dtype {
            DType::Bool => &[And, Or, Xor, Eq, Ne, Lt, Le, Gt, Ge, Min, Max, Mul],
            dtype if dtype.is_float() => &[Add, Sub, Mul, Div, Min, Max, Eq, Ne, Lt, Le, Gt, Ge],
            _ => {
                &[Add, Sub, Mul, Div, FloorDiv, Mod, Rem, Min, Max, And, Or, Xor, Shl, Shr, Eq, Ne, Lt, Le, Gt, Ge, Pow]
            }
        };
        let op = self.random.pick(ops);
        let constant = matches!(op, FloorDiv | Mod | Shl | Shr) && self.random.below(2) == 0;
        let mut other = match constant {
            true => {
                let number = self.random.pick(&[1, 2, 3, 4, 8, 10]);
                self.b.integer(ty, number)
            }
            false => self.like(ty),
        };
        // A divisor is not 0.
        if matches!(op, Div | FloorDiv | Mod | Rem) && !constant {
            other = if ty.dtype.is_float() {
                let (size, half) = (self.b.unary(UnaryOp::Abs, other), self.b.number(ty, 0.5));
                self.b.binary(Add, size, half)
            } else {
                let one = self.b.integer(ty, 1);
                self.b.binary(Or, other, one)
            };
        }
        self.b.binary(op, a, other)
    }

    /// An integer vector as another of the same size.
    fn bitcast(&mut self, a: Value) -> Value {
        let ty = self.b.ty(a);
        let same: &[DType] = match ty.dtype.bits() {
            8 => &[DType::I8, DType::U8],
            16 => &[DType::I16, DType::U16, DType::F16, DType::Bf16],
            32 => &[DType::I32, DType::U32, DType::F32],
            _ => &[DType::I64, DType::U64, DType::F64],
        };
        let to = self.random.pick(same);
        self.b.bitcast(a, to)
    }

    /// Stores to a local array and loads from it.
    fn through_memory(&mut self, a: Value) -> Value {
        let ty = self.b.ty(a);
        let other = self.like(ty);
        let lanes = i64::from(ty.lanes);
        let local = self.b.local(ty.dtype, 2 * u32::from(ty.lanes));
        let (first, second) = (self.b.int(0), self.b.int(lanes));
        self.b.store(local, first, a);
        self.b.store(local, second, other);
        let from = self.b.int(self.random.below(1 + usize::from(ty.lanes)) as i64);
        self.b.load(local, from, ty)
    }

    /// A loop with carried values.
    fn counted(&mut self) {
        let init: Vec<Value> = (0..1 + self.random.below(3)).map(|_| self.any()).collect();
        let types: Vec<Type> = init.iter().map(|value| self.b.ty(*value)).collect();
        let (low, step) = (self.b.int(self.random.below(2) as i64), 1 + self.random.below(2) as i64);
        let high = match self.random.below(2) {
            0 => self.columns,
            _ => self.b.int(self.random.below(6) as i64),
        };
        let open = self.b.open_loop(low, high, step, init);
        let outside = self.enter();
        self.pool.push(open.index);
        self.pool.extend(open.carried.clone());
        (0..6).for_each(|_| self.step());
        let yields = types.into_iter().map(|ty| self.like(ty)).collect();
        self.leave(outside);
        let results = self.b.close_loop(open, yields);
        self.pool.extend(results);
    }

    fn branch(&mut self) {
        let condition = self.like(Type::scalar(DType::Bool));
        let models: Vec<Value> = (0..1 + self.random.below(2)).map(|_| self.any()).collect();
        let types: Vec<Type> = models.into_iter().map(|value| self.b.ty(value)).collect();
        let [then, otherwise] = [(); 2].map(|()| {
            self.b.open_block();
            let outside = self.enter();
            (0..4).for_each(|_| self.step());
            let yields = types.iter().map(|ty| self.like(*ty)).collect();
            self.leave(outside);
            self.b.close_block(yields)
        });
        let results = self.b.branch(condition, then, otherwise);
        self.pool.extend(results);
    }

    /// Starts a block; what is defined in it is forgotten at its end.
    fn enter(&mut self) -> usize {
        self.depth += 1;
        self.pool.len()
    }

    fn leave(&mut self, outside: usize) {
        self.depth -= 1;
        self.pool.truncate(outside);
    }
}
