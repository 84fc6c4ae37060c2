//! Random numbers of every type.

use drupe_ir::DType;

/// The element types that kernels compute with.
pub(crate) const DTYPES: [DType; 13] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::Bf16,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::Bool,
];

/// Random numbers, the same on every run (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Floats at the edges of conversions and roundings.
const EDGES: [f64; 28] = [
    0.0,
    -0.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1.0,
    -1.0,
    127.5,
    128.0,
    -128.9,
    255.5,
    32768.0,
    65504.0,
    65519.9,
    65520.0,
    2147483648.0,
    -2147483649.0,
    4294967296.0,
    1e-7,
    6e-8,
    3e-8,
    1e-40,
    9.3e18,
    1.9e19,
    1e30,
    -1e30,
];

/// Octets of one element of type `dtype`: small numbers, edges or any bits; `odd` is for divisors.
fn element(dtype: DType, random: &mut Random, odd: bool) -> u64 {
    let small = random.below(41) as i64 - 20;
    if dtype == DType::Bool {
        return random.bits() & 1;
    }
    if !dtype.is_float() {
        let bits = match random.below(4) {
            0 => small as u64,
            1 => random.pick(&[0, -1, 1, i64::MIN, i64::MAX, 127, -128, 32767, -32768, 1 << 31, (1 << 31) - 1]) as u64,
            _ => random.bits(),
        };
        return bits | u64::from(odd);
    }
    let value = match random.below(4) {
        0 => small as f64 / 4.0,
        1 => random.pick(&EDGES),
        2 => random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        _ => (random.bits() as i64 as f64) * 2f64.powi(random.below(80) as i32 - 80),
    };
    match dtype {
        DType::F64 => value.to_bits(),
        DType::F16 => half::f16::from_f64(value).to_bits().into(),
        DType::Bf16 => half::bf16::from_f64(value).to_bits().into(),
        _ => (value as f32).to_bits().into(),
    }
}

/// `count` elements.
pub(crate) fn data(dtype: DType, count: usize, random: &mut Random, odd: bool) -> Vec<u8> {
    let size = dtype.bytes_of(1);
    (0..count).flat_map(|_| element(dtype, random, odd).to_le_bytes().into_iter().take(size)).collect()
}
