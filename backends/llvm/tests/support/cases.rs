//! Kernels that use every instruction, for one element type and number of lanes each, with what they should give.

use super::scalar::{Scalar, binary, cast, decode, encode, fma, fold, unary};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type, Value};

/// A kernel, what it reads, and what it should write.
pub struct Case {
    pub kernel: Kernel,
    pub tasks: i64,
    pub dims: Vec<i64>,
    /// In the order of the kernel's buffers; outputs come after inputs.
    pub inputs: Vec<Vec<u8>>,
    pub outputs: Vec<Output>,
}

/// One output buffer.
pub struct Output {
    pub what: String,
    pub dtype: DType,
    pub expected: Vec<Scalar>,
    pub tolerance: f64,
}

const ELEMENTS: usize = 64;

/// The types that values of kernels have.
pub fn dtypes() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|dtype| !matches!(dtype, DType::I4 | DType::U4))
}

/// A kernel under construction.
struct Maker {
    b: KernelBuilder,
    dtype: DType,
    lanes: u16,
    at: Value,
    outputs: Vec<Output>,
}

impl Maker {
    /// Stores `value` and expects `expected`, all tasks' elements.
    fn expect(&mut self, what: &str, value: Value, tolerance: f64, expected: Vec<Scalar>) {
        let ty = self.b.ty(value);
        let buffer = self.b.buffer(what, ty.dtype, Access::Write);
        let width = self.b.int(ty.lanes.into());
        let task = self.b.task();
        let at = self.b.binary(BinaryOp::Mul, task, width);
        self.b.store(Place::Buffer(buffer), at, value);
        let what = format!("{what} of {} x {}", self.dtype, self.lanes);
        self.outputs.push(Output { what, dtype: ty.dtype, expected, tolerance });
    }
}

/// The case for `dtype` and `lanes`.
pub fn case(dtype: DType, lanes: u16) -> Case {
    let [a, b, c] = inputs(dtype);
    let mut k = KernelBuilder::new(&format!("every_{dtype}_{lanes}"));
    let places = ["a", "b", "c"].map(|name| Place::Buffer(k.buffer(name, dtype, Access::Read)));
    let (width, task) = (k.int(lanes.into()), k.task());
    let at = k.binary(BinaryOp::Mul, task, width);
    let values = places.map(|place| k.load(place, at, Type::vector(dtype, lanes)));
    let mut maker = Maker { b: k, dtype, lanes, at, outputs: Vec::new() };
    arithmetic(&mut maker, values, [&a, &b, &c]);
    conversions(&mut maker, values[0], &a);
    lanes_and_shapes(&mut maker, values, [&a, &b, &c]);
    control(&mut maker, places[2], values[2], &c);
    let encoded = [a, b, c].map(|values| {
        let mut octets = Vec::new();
        values.into_iter().for_each(|value| encode(dtype, value, &mut octets));
        octets
    });
    let tasks = (ELEMENTS / usize::from(lanes)) as i64;
    Case { kernel: maker.b.finish(), tasks, dims: vec![7, 3], inputs: encoded.into(), outputs: maker.outputs }
}

/// `a` takes special values, `b` is never 0, `c` is small.
fn inputs(dtype: DType) -> [Vec<Scalar>; 3] {
    const FLOATS: [f64; 20] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        3.7,
        -3.7,
        100.25,
        -128.6,
        255.5,
        1e-3,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        3e9,
        -3e9,
    ];
    const INTS: [i128; 16] = [
        0,
        1,
        -1,
        2,
        7,
        -7,
        100,
        127,
        -128,
        255,
        32767,
        -32768,
        i32::MAX as i128,
        i32::MIN as i128,
        i64::MAX as i128,
        i64::MIN as i128,
    ];
    let make = |number: &dyn Fn(usize) -> Scalar| {
        (0..ELEMENTS)
            .map(|index| {
                let mut octets = Vec::new();
                let value = match number(index) {
                    Scalar::Int(value) => Scalar::Int(super::scalar::wrap(dtype, value)),
                    float => float,
                };
                encode(dtype, value, &mut octets);
                decode(dtype, &octets)
            })
            .collect()
    };
    match dtype.is_float() {
        true => [
            make(&|i| Scalar::Float(FLOATS[i % 20])),
            make(&|i| Scalar::Float(FLOATS[(i * 7 + 3) % 20])),
            make(&|i| Scalar::Float(((i * 5) % 11) as f64 * 0.25 - 1.0)),
        ],
        false => [
            make(&|i| Scalar::Int(INTS[i % 16])),
            make(&|i| {
                let value = Scalar::Int(INTS[(i * 5 + i / 16 + 1) % 16]);
                if cast(dtype, dtype, value).int() == 0 { Scalar::Int(3) } else { value }
            }),
            make(&|i| Scalar::Int(((i * 5) % 11) as i128 - 4)),
        ],
    }
}

fn zip(a: &[Scalar], b: &[Scalar], of: impl Fn(Scalar, Scalar) -> Scalar) -> Vec<Scalar> {
    a.iter().zip(b).map(|(a, b)| of(*a, *b)).collect()
}

fn arithmetic(m: &mut Maker, [va, vb, vc]: [Value; 3], [a, b, c]: [&[Scalar]; 3]) {
    use BinaryOp::*;
    let dtype = m.dtype;
    for op in [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Not, UnaryOp::Floor, UnaryOp::Ceil, UnaryOp::Round, UnaryOp::Sqrt] {
        let valid = match op {
            UnaryOp::Neg | UnaryOp::Abs => dtype != DType::Bool,
            UnaryOp::Not => !dtype.is_float(),
            _ => dtype.is_float(),
        };
        if valid {
            let value = m.b.unary(op, va);
            m.expect(op.name(), value, 0.0, a.iter().map(|a| unary(op, dtype, *a)).collect());
        }
    }
    for &op in BinaryOp::ALL {
        let valid = match op {
            Pow => false,
            Eq | Ne | Min | Max => true,
            Add | Sub | Mul | Div | Lt | Le | Gt | Ge => dtype != DType::Bool,
            FloorDiv | Mod | Rem | Shl | Shr => dtype.is_int(),
            And | Or | Xor => !dtype.is_float(),
        };
        if !valid {
            continue;
        }
        let ty = m.b.ty(va);
        if matches!(op, Shl | Shr) {
            let most = m.b.integer(ty, i64::from(dtype.bits()) - 1);
            let amount = m.b.binary(And, vb, most);
            let value = m.b.binary(op, va, amount);
            let mask = Scalar::Int(i128::from(dtype.bits()) - 1);
            let expected = zip(a, b, |a, b| binary(op, dtype, a, binary(And, dtype, b, mask)));
            m.expect(op.name(), value, 0.0, expected);
            continue;
        }
        let value = m.b.binary(op, va, vb);
        m.expect(op.name(), value, 0.0, zip(a, b, |a, b| binary(op, dtype, a, b)));
        // The same with a constant, which backends treat apart.
        for number in [4, -1, 3] {
            if (number == -1 && dtype.is_int() && !dtype.is_signed_int()) || dtype == DType::Bool {
                continue;
            }
            let constant = m.b.number(ty, number as f64);
            let scalar = if dtype.is_float() { Scalar::Float(number as f64) } else { Scalar::Int(number) };
            let value = m.b.binary(op, va, constant);
            let expected = a.iter().map(|a| binary(op, dtype, *a, scalar)).collect();
            m.expect(&format!("{} with {number}", op.name()), value, 0.0, expected);
        }
    }
    if dtype != DType::Bool {
        let value = m.b.fma(va, vb, vc);
        let expected = (0..ELEMENTS).map(|i| fma(dtype, a[i], b[i], c[i])).collect();
        m.expect("fma", value, 0.0, expected);
    }
    let condition = m.b.binary(Eq, va, vc);
    let condition = m.b.unary(UnaryOp::Not, condition);
    let value = m.b.select(condition, va, vb);
    let expected = (0..ELEMENTS).map(|i| if binary(Ne, dtype, a[i], c[i]).int() != 0 { a[i] } else { b[i] }).collect();
    m.expect("select", value, 0.0, expected);
}

fn conversions(m: &mut Maker, va: Value, a: &[Scalar]) {
    let from = m.dtype;
    for to in dtypes().filter(|to| *to != from) {
        let value = m.b.cast(va, to);
        m.expect(&format!("cast to {to}"), value, 0.0, a.iter().map(|a| cast(from, to, *a)).collect());
        if to.bits() == from.bits() && to != DType::Bool && from != DType::Bool {
            let value = m.b.bitcast(va, to);
            let expected = (a.iter())
                .map(|a| {
                    let mut octets = Vec::new();
                    encode(from, *a, &mut octets);
                    decode(to, &octets)
                })
                .collect();
            m.expect(&format!("bitcast to {to}"), value, 0.0, expected);
        }
    }
}

fn lanes_and_shapes(m: &mut Maker, [va, vb, vc]: [Value; 3], [a, b, c]: [&[Scalar]; 3]) {
    let (dtype, lanes) = (m.dtype, m.lanes);
    let width = usize::from(lanes);
    let tolerance = match dtype {
        DType::F32 => 1e-5,
        DType::F64 => 1e-14,
        _ => 1e-2,
    };
    let folds = if dtype == DType::Bool {
        &[FoldOp::Max, FoldOp::Min][..]
    } else {
        &[FoldOp::Sum, FoldOp::Prod, FoldOp::Max, FoldOp::Min]
    };
    for &op in folds {
        let value = m.b.reduce(op, vc);
        m.expect(op.name(), value, tolerance, c.chunks(width).map(|lanes| fold(op, dtype, lanes)).collect());
    }
    for op in [FoldOp::Max, FoldOp::Min] {
        let value = m.b.reduce(op, va);
        m.expect(op.name(), value, 0.0, a.chunks(width).map(|lanes| fold(op, dtype, lanes)).collect());
    }
    let last = m.b.extract(va, lanes - 1);
    let lasts: Vec<Scalar> = a.chunks(width).map(|lanes| lanes[width - 1]).collect();
    m.expect("extract", last, 0.0, lasts.clone());
    let value = m.b.splat(last, lanes);
    m.expect("splat", value, 0.0, lasts.iter().flat_map(|last| vec![*last; width]).collect());
    let reversed: Vec<u16> = (0..lanes).rev().collect();
    let value = m.b.shuffle(va, vb, reversed);
    m.expect("reverse", value, 0.0, a.chunks(width).flat_map(|lanes| lanes.iter().rev().copied()).collect());
    if lanes < 64 {
        let interleaved: Vec<u16> = (0..lanes).flat_map(|lane| [lane, lane + lanes]).collect();
        let value = m.b.shuffle(va, vb, interleaved);
        m.expect("interleave", value, 0.0, a.iter().zip(b).flat_map(|(a, b)| [*a, *b]).collect());
    }
    let value = m.b.shuffle(va, vb, vec![lanes]);
    m.expect("pick", value, 0.0, b.chunks(width).map(|lanes| lanes[0]).collect());
    if dtype.is_int() {
        let value = m.b.iota(Type::vector(dtype, lanes));
        m.expect("iota", value, 0.0, (0..ELEMENTS).map(|i| Scalar::Int((i % width) as i128)).collect());
    }
    let constants = match dtype.is_float() {
        true => vec![0.1, -3.0, 1e-20, f64::INFINITY, f64::NAN],
        false => vec![1.0, 0.0],
    };
    for number in constants {
        let value = m.b.number(Type::vector(dtype, lanes), number);
        let expected = cast(DType::F64, dtype, Scalar::Float(number));
        m.expect(&format!("number {number}"), value, 0.0, vec![expected; ELEMENTS]);
    }
}

fn control(m: &mut Maker, place: Place, vc: Value, c: &[Scalar]) {
    let (dtype, lanes) = (m.dtype, m.lanes);
    let ty = Type::vector(dtype, lanes);
    // A local array, written and read back from its second half.
    let local = m.b.local(dtype, u32::from(lanes) * 3);
    let (zero, width) = (m.b.int(0), m.b.int(lanes.into()));
    m.b.store(local, zero, vc);
    m.b.store(local, width, vc);
    let half = m.b.int(i64::from(lanes / 2));
    let value = m.b.load(local, half, ty);
    let expected = c.chunks(lanes.into()).flat_map(|lanes| {
        let twice = [lanes, lanes].concat();
        twice[lanes.len() / 2..][..lanes.len()].to_vec()
    });
    m.expect("local", value, 0.0, expected.collect());
    // Two carried values that change places on each of 7 (the first dimension) turns; the loop ends odd.
    let (low, high) = (m.b.int(-2), m.b.dim(0));
    let zeros = m.b.number(ty, 0.0);
    let results = m.b.for_loop(low, high, 3, vec![vc, zeros], |_, _, carried| vec![carried[1], carried[0]]);
    m.expect("swapped", results[0], 0.0, vec![cast(DType::I64, dtype, Scalar::Int(0)); ELEMENTS]);
    // A loop that does not run gives what it was given.
    let results = m.b.for_loop(high, low, 1, vec![vc], |_, _, _| vec![zeros]);
    m.expect("no turns", results[0], 0.0, c.to_vec());
    // A branch on the task's parity; the load in it is the next task's.
    let (two, three, task) = (m.b.int(2), m.b.dim(1), m.b.task());
    let odd = m.b.binary(BinaryOp::Mod, task, two);
    let one = m.b.int(1);
    let odd = m.b.binary(BinaryOp::Eq, odd, one);
    let at = m.at;
    let limit = m.b.binary(BinaryOp::Mul, three, three);
    let results = m.b.if_else(
        odd,
        |b| {
            let same = b.load(place, at, ty);
            vec![same, limit]
        },
        |b| vec![zeros, b.task()],
    );
    let nothing = cast(DType::I64, dtype, Scalar::Int(0));
    let tasks = c.chunks(lanes.into()).enumerate();
    let expected =
        tasks.clone().flat_map(|(task, lanes)| lanes.iter().map(move |c| if task % 2 == 1 { *c } else { nothing }));
    m.expect("branch", results[0], 0.0, expected.collect());
    let expected = tasks.map(|(task, _)| Scalar::Int(if task % 2 == 1 { 9 } else { task as i128 }));
    m.expect("branch's number", results[1], 0.0, expected.collect());
}
