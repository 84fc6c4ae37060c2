//! A kernel for every instruction, type and number of lanes.

use crate::Case;
use crate::data::{DTYPES, Random, data};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel::{Access, KernelBuilder, Place, Type, Value};

/// Elements in each buffer.
const COUNT: usize = 128;

struct Cases {
    random: Random,
    cases: Vec<Case>,
}

impl Cases {
    /// A kernel that loads vectors of the types `inputs` and stores what `body` makes of them.
    fn add(
        &mut self,
        name: &str,
        inputs: &[Type],
        odd: bool,
        body: impl FnOnce(&mut KernelBuilder, &[Value]) -> Value,
    ) {
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut b = KernelBuilder::new(&format!("k{}_{clean}", self.cases.len()));
        let buffers: Vec<usize> = inputs.iter().map(|ty| b.buffer("x", ty.dtype, Access::Read)).collect();
        let task = b.task();
        let mut loaded = Vec::new();
        for (buffer, ty) in buffers.into_iter().zip(inputs) {
            let lanes = b.int(ty.lanes.into());
            let offset = b.binary(BinaryOp::Mul, task, lanes);
            loaded.push(b.load(Place::Buffer(buffer), offset, *ty));
        }
        let result = body(&mut b, &loaded);
        let ty = b.ty(result);
        let out = b.buffer("y", ty.dtype, Access::Write);
        let lanes = b.int(ty.lanes.into());
        let offset = b.binary(BinaryOp::Mul, task, lanes);
        b.store(Place::Buffer(out), offset, result);
        let kernel = b.finish();
        kernel.verify().unwrap_or_else(|error| panic!("{error}\n{kernel}"));
        let tasks = inputs.iter().map(|ty| COUNT / usize::from(ty.lanes)).min().unwrap_or(1);
        let mut buffers: Vec<Vec<u8>> = (inputs.iter().enumerate())
            .map(|(index, ty)| data(ty.dtype, COUNT, &mut self.random, odd && index > 0))
            .collect();
        buffers.push(vec![0; ty.dtype.bytes_of(tasks * usize::from(ty.lanes))]);
        self.cases.push(Case { kernel, buffers, dims: Vec::new(), tasks: tasks as i64 });
    }

    fn arithmetic(&mut self, ty: Type) {
        use UnaryOp::*;
        let (dtype, float) = (ty.dtype, ty.dtype.is_float());
        for op in [Neg, Abs, Not, Floor, Ceil, Round, Sqrt] {
            let exists = match op {
                Not => !float,
                Neg | Abs => dtype != DType::Bool,
                _ => float,
            };
            if exists {
                self.add(&format!("{}_{ty}", op.name()), &[ty], false, |b, x| b.unary(op, x[0]));
            }
        }
        for op in BinaryOp::ALL.iter().copied() {
            use BinaryOp::*;
            let divides = matches!(op, Div | FloorDiv | Mod | Rem) && !float;
            let exists = match op {
                Pow => false,
                Rem | FloorDiv | Mod | Shl | Shr => dtype.is_int(),
                And | Or | Xor => !float,
                Add | Sub | Div => dtype != DType::Bool,
                Mul | Min | Max | Eq | Ne | Lt | Le | Gt | Ge => true,
            };
            if !exists {
                continue;
            }
            self.add(&format!("{}_{ty}", op.name()), &[ty, ty], divides, |b, x| b.binary(op, x[0], x[1]));
            let constants: &[i64] = match op {
                Div | FloorDiv | Mod | Rem if dtype.is_int() => &[1, 7, 8, 64],
                Shl | Shr => &[0, 3, 7, 100],
                _ => &[],
            };
            for constant in constants {
                self.add(&format!("{}_{constant}_{ty}", op.name()), &[ty], false, |b, x| {
                    let constant = b.integer(ty, *constant);
                    b.binary(op, x[0], constant)
                });
            }
        }
        if dtype != DType::Bool {
            self.add(&format!("fma_{ty}"), &[ty, ty, ty], false, |b, x| b.fma(x[0], x[1], x[2]));
        }
        let bools = ty.with_dtype(DType::Bool);
        self.add(&format!("select_{ty}"), &[bools, ty, ty], false, |b, x| b.select(x[0], x[1], x[2]));
        for other in [DType::F32, DType::I8, DType::I64] {
            self.add(&format!("select_by_{other}_{ty}"), &[ty.with_dtype(other), ty, ty], false, |b, x| {
                let zero = b.number(ty.with_dtype(other), 0.0);
                let below = b.binary(BinaryOp::Lt, x[0], zero);
                b.select(below, x[1], x[2])
            });
        }
    }

    /// Sums of products, alone and a few in a row.
    fn dots(&mut self, lanes: u16) {
        let sums = Type::vector(DType::I32, lanes);
        for dtype in [DType::U8, DType::I8] {
            let (first, second) = (Type::vector(dtype, 4 * lanes), Type::vector(DType::I8, 4 * lanes));
            let inputs = [first, second, sums];
            self.add(&format!("dot_{first}"), &inputs, false, |b, x| b.dot(x[0], x[1], x[2]));
            self.add(&format!("dots_{first}"), &inputs, false, |b, x| {
                let zero = b.number(sums, 0.0);
                let once = b.dot(x[0], x[1], zero);
                let least = b.integer(second, -128);
                let most = b.integer(first, if dtype == DType::U8 { 255 } else { -128 });
                let twice = b.dot(most, least, once);
                b.dot(x[0], x[1], twice)
            });
        }
    }

    /// Two rows by two, alone and after another.
    fn dot_pairs(&mut self, lanes: u16) {
        let (factors, sums) = (Type::vector(DType::I8, 4 * lanes), Type::vector(DType::I32, lanes));
        let inputs = [factors, factors, sums];
        self.add(&format!("dot_pairs_{factors}"), &inputs, false, |b, x| b.dot_pairs(x[0], x[1], x[2]));
        self.add(&format!("dot_pairs_twice_{factors}"), &inputs, false, |b, x| {
            let least = b.integer(factors, -128);
            let once = b.dot_pairs(least, least, x[2]);
            b.dot_pairs(x[1], x[0], once)
        });
    }

    fn moves(&mut self, ty: Type) {
        let (dtype, lanes) = (ty.dtype, ty.lanes);
        self.add(&format!("copy_{ty}"), &[ty], false, |_, x| x[0]);
        self.add(&format!("splat_{ty}"), &[Type::scalar(dtype)], false, |b, x| b.splat(x[0], lanes));
        for lane in [0, lanes / 2, lanes - 1] {
            self.add(&format!("extract_{lane}_{ty}"), &[ty], false, |b, x| b.extract(x[0], lane));
        }
        for op in [FoldOp::Sum, FoldOp::Prod, FoldOp::Max, FoldOp::Min] {
            self.add(&format!("reduce_{}_{ty}", op.name()), &[ty], false, |b, x| b.reduce(op, x[0]));
        }
        let mut shuffles: Vec<Vec<u16>> = vec![
            (0..lanes).rev().collect(),
            (0..2 * lanes).collect(),
            (0..lanes).flat_map(|lane| [lane, lanes + lane]).collect(),
            (0..lanes).map(|lane| 2 * lane).collect(),
            vec![lanes; usize::from(lanes)],
            vec![0],
            vec![2 * lanes - 1, 0],
        ];
        shuffles.push((0..lanes).map(|_| self.random.below(2 * usize::from(lanes)) as u16).collect());
        for (index, lanes) in shuffles.into_iter().enumerate() {
            self.add(&format!("shuffle_{index}_{ty}"), &[ty, ty], false, |b, x| b.shuffle(x[0], x[1], lanes));
        }
        if dtype.is_int() {
            self.add(&format!("iota_{ty}"), &[ty], false, |b, x| {
                let iota = b.iota(ty);
                b.binary(BinaryOp::Add, iota, x[0])
            });
        }
        for to in DTYPES {
            if to != dtype {
                self.add(&format!("cast_{ty}_{to}"), &[ty], false, |b, x| b.cast(x[0], to));
            }
            if to.bits() == dtype.bits() && to != dtype && to != DType::Bool && dtype != DType::Bool {
                self.add(&format!("bitcast_{ty}_{to}"), &[ty], false, |b, x| b.bitcast(x[0], to));
            }
        }
        self.add(&format!("constants_{ty}"), &[ty], false, |b, x| {
            let values = [1.0, if dtype == DType::U64 { 9.0 } else { -3.0 }].map(|value| b.number(ty, value));
            let equal = b.binary(BinaryOp::Eq, x[0], x[0]);
            b.select(equal, values[0], values[1])
        });
    }

    /// Carried values, branches, local arrays.
    fn control(&mut self, ty: Type) {
        let lanes = i64::from(ty.lanes);
        self.add(&format!("loop_{ty}"), &[ty, ty], false, |b, x| {
            let (zero, five) = (b.int(0), b.int(5));
            b.for_loop(zero, five, 2, vec![x[0], x[1]], |_, _, carried| vec![carried[1], carried[0]])[0]
        });
        self.add(&format!("if_{ty}"), &[Type::scalar(DType::Bool), ty, ty], false, |b, x| {
            b.if_else(x[0], |_| vec![x[1]], |_| vec![x[2]])[0]
        });
        self.add(&format!("local_{ty}"), &[ty, ty], false, |b, x| {
            let local = b.local(ty.dtype, 3 * u32::from(ty.lanes));
            let (zero, first, second) = (b.int(0), b.int(lanes), b.int(2 * lanes));
            b.store(local, zero, x[0]);
            b.store(local, first, x[1]);
            b.store(local, second, x[0]);
            let middle = b.int(lanes / 2);
            b.load(local, middle, ty)
        });
        self.add(&format!("prefetch_{ty}"), &[ty], false, |b, x| {
            for offset in [0, 1 << 40, -1] {
                let offset = b.int(offset);
                b.prefetch(Place::Buffer(0), offset);
            }
            x[0]
        });
        self.add(&format!("compared_loop_{ty}"), &[ty, ty], false, |b, x| {
            let (zero, three) = (b.int(0), b.int(3));
            let start = b.binary(BinaryOp::Eq, x[0], x[1]);
            let any = b.for_loop(zero, three, 1, vec![start], |b, _, carried| {
                let other = b.binary(BinaryOp::Lt, x[0], x[1]);
                vec![b.binary(BinaryOp::Or, carried[0], other)]
            });
            any[0]
        });
    }
}

/// Everything, for vectors of `lanes` lanes.
pub fn instructions(lanes: u16) -> Vec<Case> {
    let mut cases = Cases { random: Random(u64::from(lanes)), cases: Vec::new() };
    for dtype in DTYPES {
        let ty = Type::vector(dtype, lanes);
        cases.arithmetic(ty);
        cases.moves(ty);
        cases.control(ty);
    }
    cases.cases
}

/// Sums of products of octets, in vectors of `lanes` sums.
pub fn dots(lanes: u16) -> Vec<Case> {
    let mut cases = Cases { random: Random(11 + u64::from(lanes)), cases: Vec::new() };
    cases.dots(lanes);
    if lanes.is_multiple_of(4) {
        cases.dot_pairs(lanes);
    }
    cases.cases
}

/// The functions that the builder expands.
pub fn functions(lanes: u16) -> Vec<Case> {
    let mut cases = Cases { random: Random(7 + u64::from(lanes)), cases: Vec::new() };
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let ty = Type::vector(dtype, lanes);
        for op in UnaryOp::ALL.iter().copied().filter(|op| *op != UnaryOp::Not) {
            cases.add(&format!("{}_{ty}", op.name()), &[ty], false, |b, x| b.unary(op, x[0]));
        }
        for op in [BinaryOp::Pow, BinaryOp::Rem] {
            cases.add(&format!("{}_{ty}", op.name()), &[ty, ty], false, |b, x| b.binary(op, x[0], x[1]));
        }
    }
    let ty = Type::vector(DType::I32, lanes);
    cases.add("int_pow", &[ty, ty], false, |b, x| b.binary(BinaryOp::Pow, x[0], x[1]));
    cases.cases
}
