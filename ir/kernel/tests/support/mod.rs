//! Kernels of one operation, interpreted.

use drupe_ir::{BinaryOp, DType, UnaryOp};
use drupe_kernel::{Access, KernelBuilder, Place, Type, Value};

/// Numbers of both signs up to `range`: spread over all magnitudes, then evenly.
pub fn samples(range: f64, count: usize) -> Vec<f64> {
    let lowest = f64::from(f32::MIN_POSITIVE).ln() / 2.0;
    let (highest, n) = (range.ln(), count / 4);
    let magnitudes = (0..n).map(|i| (lowest + (highest - lowest) * i as f64 / n as f64).exp());
    let even = (1..=n).map(|i| range.min(1e4) * i as f64 / n as f64);
    magnitudes.chain(even).flat_map(|x| [x, -x]).collect()
}

const LANES: usize = 256;

/// Runs `body` on vectors of the elements of `inputs`, padded with ones.
fn run(
    inputs: &[Vec<u8>],
    from: DType,
    to: DType,
    count: usize,
    body: impl FnOnce(&mut KernelBuilder, &[Value]) -> Value,
) -> Vec<u8> {
    let mut b = KernelBuilder::new("test");
    let buffers: Vec<usize> = inputs.iter().map(|_| b.buffer("x", from, Access::Read)).collect();
    let out = b.buffer("y", to, Access::Write);
    let (task, lanes) = (b.task(), b.int(LANES as i64));
    let offset = b.binary(BinaryOp::Mul, task, lanes);
    let ty = Type::vector(from, LANES as u16);
    let values: Vec<Value> = buffers.into_iter().map(|x| b.load(Place::Buffer(x), offset, ty)).collect();
    let result = body(&mut b, &values);
    b.store(Place::Buffer(out), offset, result);
    let kernel = b.finish();
    kernel.verify().unwrap_or_else(|error| panic!("{error}\n{kernel}"));
    let tasks = count.div_ceil(LANES);
    let mut memory: Vec<Vec<u8>> = inputs.to_vec();
    for input in &mut memory {
        let one = input[..from.bytes_of(1)].to_vec();
        while input.len() < from.bytes_of(tasks * LANES) {
            input.extend(&one);
        }
    }
    memory.push(vec![0; to.bytes_of(tasks * LANES)]);
    kernel.interpret(&mut memory, &[], 0..tasks as i64).unwrap();
    let mut result = memory.pop().unwrap();
    result.truncate(to.bytes_of(count));
    result
}

macro_rules! float_runs {
    ($unary:ident $binary:ident $type:ident $dtype:expr) => {
        pub fn $unary(op: UnaryOp, inputs: &[$type]) -> Vec<$type> {
            let octets = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
            let result = run(&[octets], $dtype, $dtype, inputs.len(), |b, x| b.unary(op, x[0]));
            result.as_chunks().0.iter().map(|x| $type::from_le_bytes(*x)).collect()
        }

        pub fn $binary(op: BinaryOp, a: &[$type], b: &[$type]) -> Vec<$type> {
            let octets = [a, b].map(|xs| xs.iter().flat_map(|x| x.to_le_bytes()).collect());
            let result = run(&octets, $dtype, $dtype, a.len(), |b, x| b.binary(op, x[0], x[1]));
            result.as_chunks().0.iter().map(|x| $type::from_le_bytes(*x)).collect()
        }
    };
}

float_runs!(unary_f32 binary_f32 f32 DType::F32);
float_runs!(unary_f64 binary_f64 f64 DType::F64);

pub fn unary_f16(op: UnaryOp, inputs: &[f32]) -> Vec<f32> {
    let octets = inputs.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let result = run(&[octets], DType::F16, DType::F16, inputs.len(), |b, x| b.unary(op, x[0]));
    result.as_chunks().0.iter().map(|x| half::f16::from_le_bytes(*x).to_f32()).collect()
}

pub fn predicate_f32(op: UnaryOp, inputs: &[f32]) -> Vec<u8> {
    let octets = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    run(&[octets], DType::F32, DType::Bool, inputs.len(), |b, x| b.unary(op, x[0]))
}

/// `value` of type `dtype`, from octets.
fn int(dtype: DType, octets: &[u8]) -> i64 {
    let unused = 64 - dtype.bits();
    let bits = octets.iter().rev().fold(0i64, |bits, octet| bits << 8 | i64::from(*octet)) << unused;
    if dtype.is_signed_int() { bits >> unused } else { (bits as u64 >> unused) as i64 }
}

pub fn int_pow(dtype: DType, a: i64, b: i64) -> i64 {
    let octets = [a, b].map(|x| x.to_le_bytes()[..dtype.bytes_of(1)].to_vec());
    int(dtype, &run(&octets, dtype, dtype, 1, |b, x| b.binary(BinaryOp::Pow, x[0], x[1])))
}

pub fn int_sign(dtype: DType, a: i64) -> i64 {
    let octets = a.to_le_bytes()[..dtype.bytes_of(1)].to_vec();
    int(dtype, &run(&[octets], dtype, dtype, 1, |b, x| b.unary(UnaryOp::Sign, x[0])))
}
