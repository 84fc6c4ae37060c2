//! Values as lists of scalars and vectors of 128 bits.

use super::Translator;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{ConstantData, Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use drupe_ir::DType;
use drupe_kernel as ir;

/// What the lanes of a value are in registers. Half floats are their bits. Bools are 0 or 1 as scalars; in vectors
/// 0 or -1, in integers of any width: that of the comparison that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub lane: Type,
    pub lanes: usize,
}

impl Shape {
    /// The shape of a kernel type; vectors of bools have 32-bit lanes where nothing else is said.
    pub fn of(ty: ir::Type) -> Shape {
        let lane = match ty.dtype {
            DType::F32 => types::F32,
            DType::F64 => types::F64,
            DType::Bool if ty.lanes > 1 => types::I32,
            DType::I8 | DType::U8 | DType::Bool | DType::I4 | DType::U4 => types::I8,
            DType::F16 | DType::Bf16 | DType::I16 | DType::U16 => types::I16,
            DType::I32 | DType::U32 => types::I32,
            DType::I64 | DType::U64 => types::I64,
        };
        Shape { lane, lanes: usize::from(ty.lanes) }
    }

    pub fn with_lane(self, lane: Type) -> Shape {
        Shape { lane, ..self }
    }

    /// Lanes that fit in a part.
    pub fn in_part(self) -> usize {
        if self.lanes == 1 { 1 } else { 128 / self.lane.bits() as usize }
    }

    /// How many parts there are.
    pub fn parts(self) -> usize {
        self.lanes.div_ceil(self.in_part())
    }

    /// The type of each part.
    pub fn part(self) -> Type {
        match self.lanes {
            1 => self.lane,
            _ => self.lane.by(self.in_part() as u32).expect("128 bits are a vector type"),
        }
    }
}

/// A kernel value in Cranelift's values.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub shape: Shape,
    pub parts: Vec<Value>,
}

impl Held {
    pub fn scalar(lane: Type, value: Value) -> Held {
        Held { shape: Shape { lane, lanes: 1 }, parts: vec![value] }
    }
}

/// How bits of vectors are seen as other vectors.
pub(super) fn little_endian() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Translator<'_> {
    /// `op` on each part; the result has lanes of type `lane`.
    pub fn map(&mut self, a: &Held, lane: Type, mut op: impl FnMut(&mut Self, Value) -> Value) -> Held {
        let parts = a.parts.iter().map(|part| op(self, *part)).collect();
        Held { shape: a.shape.with_lane(lane), parts }
    }

    /// `op` on each pair of parts.
    pub fn map2(
        &mut self,
        a: &Held,
        b: &Held,
        lane: Type,
        mut op: impl FnMut(&mut Self, Value, Value) -> Value,
    ) -> Held {
        let parts = a.parts.iter().zip(&b.parts).map(|(a, b)| op(self, *a, *b)).collect();
        Held { shape: a.shape.with_lane(lane), parts }
    }

    /// A part of type `ty` from the bits of each lane.
    fn vector(&mut self, ty: Type, lanes: impl Iterator<Item = i64>) -> Value {
        let size = ty.lane_type().bytes() as usize;
        let octets: Vec<u8> = lanes.flat_map(|bits| bits.to_le_bytes().into_iter().take(size)).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(octets.as_slice()));
        self.b.ins().vconst(ty, constant)
    }

    /// The lane with bits `bits`, everywhere.
    pub fn constant(&mut self, shape: Shape, bits: i64) -> Held {
        let ty = shape.part();
        let part = match shape.lane {
            types::F32 if shape.lanes == 1 => self.b.ins().f32const(f32::from_bits(bits as u32)),
            types::F64 if shape.lanes == 1 => self.b.ins().f64const(f64::from_bits(bits as u64)),
            _ if shape.lanes == 1 => {
                let unused = 64 - shape.lane.bits();
                // Immediates of narrow types are zero-extended.
                let bits = ((bits << unused) as u64 >> unused) as i64;
                self.b.ins().iconst(ty, bits)
            }
            _ => self.vector(ty, std::iter::repeat_n(bits, shape.in_part())),
        };
        Held { shape, parts: vec![part; shape.parts()] }
    }

    pub fn int_constant(&mut self, ty: ir::Type, value: i64) -> Held {
        let bits = match ty.dtype {
            DType::Bool if ty.lanes > 1 => -i64::from(value != 0),
            DType::Bool => i64::from(value != 0),
            _ => value,
        };
        self.constant(Shape::of(ty), bits)
    }

    pub fn float_constant(&mut self, ty: ir::Type, value: f64) -> Held {
        let shape = Shape::of(ty);
        let single = i64::from((value as f32).to_bits());
        match ty.dtype {
            DType::F64 => self.constant(shape, value.to_bits() as i64),
            DType::F16 | DType::Bf16 => {
                let wide = self.constant(shape.with_lane(types::F32), single);
                self.cast(&wide, DType::F32, ty.dtype)
            }
            _ => self.constant(shape, single),
        }
    }

    pub fn iota(&mut self, ty: ir::Type) -> Held {
        let shape = Shape::of(ty);
        if shape.lanes == 1 {
            return self.constant(shape, 0);
        }
        let count = shape.in_part();
        let part = |part: usize| (part * count..(part + 1) * count).map(|lane| lane as i64);
        let parts = (0..shape.parts()).map(|number| self.vector(shape.part(), part(number))).collect();
        Held { shape, parts }
    }

    /// The bits of a part as another type of 128 bits.
    pub fn as_type(&mut self, part: Value, ty: Type) -> Value {
        if self.b.func.dfg.value_type(part) == ty {
            return part;
        }
        self.b.ins().bitcast(ty, little_endian(), part)
    }

    /// Octets picked from `a` then `b`, as type `ty`.
    pub fn pick_octets(&mut self, a: Value, b: Value, octets: [u8; 16], ty: Type) -> Value {
        let (a, b) = (self.as_type(a, types::I8X16), self.as_type(b, types::I8X16));
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(octets.as_slice()));
        let picked = self.b.ins().shuffle(a, b, mask);
        self.as_type(picked, ty)
    }

    /// Lanes of `bits` each, picked from `a` then `b`.
    pub fn pick_lanes(&mut self, a: Value, b: Value, lanes: &[usize], ty: Type) -> Value {
        let size = 16 / lanes.len();
        let octets = std::array::from_fn(|octet| (lanes[octet / size] * size + octet % size) as u8);
        self.pick_octets(a, b, octets, ty)
    }

    /// Every lane as a scalar; bools stay as wide as they are.
    pub fn scalars(&mut self, a: &Held) -> Vec<Value> {
        if a.shape.lanes == 1 {
            return a.parts.clone();
        }
        let count = a.shape.in_part();
        (0..a.shape.lanes).map(|lane| self.b.ins().extractlane(a.parts[lane / count], (lane % count) as u8)).collect()
    }

    /// A vector of scalars, one a lane.
    pub fn gather(&mut self, lane: Type, scalars: &[Value]) -> Held {
        let shape = Shape { lane, lanes: scalars.len() };
        if let [scalar] = scalars {
            return Held::scalar(lane, *scalar);
        }
        let part = |t: &mut Self, scalars: &[Value]| {
            let first = t.b.ins().splat(shape.part(), scalars[0]);
            (scalars.iter().enumerate().skip(1))
                .fold(first, |vector, (lane, scalar)| t.b.ins().insertlane(vector, *scalar, lane as u8))
        };
        let parts = scalars.chunks(shape.in_part()).map(|chunk| part(self, chunk)).collect();
        Held { shape, parts }
    }

    /// Lane by lane, for what vectors have no instruction for.
    pub fn lane_by_lane(&mut self, a: &Held, lane: Type, mut op: impl FnMut(&mut Self, Value) -> Value) -> Held {
        let lanes: Vec<Value> = self.scalars(a).into_iter().map(|scalar| op(self, scalar)).collect();
        self.gather(lane, &lanes)
    }

    /// Integers (or masks, with `signed`) as integers of another width, by dropping or extending bits.
    pub fn resize(&mut self, a: &Held, lane: Type, signed: bool) -> Held {
        let mut a = a.clone();
        if a.shape.lanes == 1 {
            let (from, to) = (a.shape.lane.bits(), lane.bits());
            return self.map(&a, lane, |t, part| match (from.cmp(&to), signed) {
                (std::cmp::Ordering::Equal, _) => part,
                (std::cmp::Ordering::Greater, _) => t.b.ins().ireduce(lane, part),
                (std::cmp::Ordering::Less, true) => t.b.ins().sextend(lane, part),
                (std::cmp::Ordering::Less, false) => t.b.ins().uextend(lane, part),
            });
        }
        while a.shape.lane.bits() < lane.bits() {
            a = self.widened(&a, signed);
        }
        while a.shape.lane.bits() > lane.bits() {
            a = self.narrowed(&a);
        }
        a
    }

    fn widened(&mut self, a: &Held, signed: bool) -> Held {
        let shape = a.shape.with_lane(a.shape.lane.double_width().expect("there is a wider integer"));
        let mut parts = Vec::with_capacity(2 * a.parts.len());
        for part in &a.parts {
            let low = if signed { self.b.ins().swiden_low(*part) } else { self.b.ins().uwiden_low(*part) };
            parts.push(low);
            if parts.len() < shape.parts() {
                let high = if signed { self.b.ins().swiden_high(*part) } else { self.b.ins().uwiden_high(*part) };
                parts.push(high);
            }
        }
        Held { shape, parts }
    }

    fn narrowed(&mut self, a: &Held) -> Held {
        let shape = a.shape.with_lane(a.shape.lane.half_width().expect("there is a narrower integer"));
        let ones = i64::MAX >> (63 - shape.lane.bits());
        let low = (shape.lane != types::I32).then(|| self.constant(Shape { lanes: 2, ..a.shape }, ones).parts[0]);
        let mut parts = Vec::with_capacity(shape.parts());
        for pair in a.parts.chunks(2) {
            let (first, second) = (pair[0], *pair.last().unwrap_or(&pair[0]));
            parts.push(match low {
                // Without the upper half of their bits, saturation does nothing.
                Some(mask) => {
                    let (first, second) = (self.b.ins().band(first, mask), self.b.ins().band(second, mask));
                    self.b.ins().unarrow(first, second)
                }
                None => self.pick_lanes(first, second, &[0, 2, 4, 6], shape.part()),
            });
        }
        Held { shape, parts }
    }

    /// Bools (0 or 1, or a mask) as a mask of lanes as wide as `lane`; scalars stay.
    pub fn mask(&mut self, a: &Held, lane: Type) -> Held {
        if a.shape.lanes == 1 { a.clone() } else { self.resize(a, lane.as_int(), true) }
    }

    /// A lane of a mask as a bool.
    pub fn bool_of_lane(&mut self, lane: Value) -> Value {
        self.b.ins().icmp_imm_s(IntCC::NotEqual, lane, 0)
    }

    /// A scalar bool as 0 or -1 of type `lane`.
    pub fn lane_of_bool(&mut self, scalar: Value, lane: Type) -> Value {
        self.b.ins().bmask(lane, scalar)
    }
}
