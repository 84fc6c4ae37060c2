//! Conversions of lanes, and of shapes.

use super::Translator;
use super::lanes::{Held, Shape};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use drupe_ir::DType;

/// The lanes of `dtype` in registers.
fn lane(dtype: DType) -> Type {
    Shape::of(drupe_kernel::Type::scalar(dtype)).lane
}

impl Translator<'_> {
    /// `a`, of type `from`, as `to`.
    pub fn cast(&mut self, a: &Held, from: DType, to: DType) -> Held {
        use DType::{Bf16, Bool, F16, F32, F64};
        match (from, to) {
            (from, to) if from == to => a.clone(),
            // Half floats go through f32.
            (F16, F32) => self.f16_to_f32(a),
            (Bf16, F32) => self.bf16_to_f32(a),
            (F32, F16) => self.f32_to_f16(a),
            (F32, Bf16) => self.f32_to_bf16(a),
            (F16 | Bf16, _) => {
                let wide = self.cast(a, from, F32);
                self.cast(&wide, F32, to)
            }
            (_, F16 | Bf16) => {
                let wide = self.cast(a, from, F32);
                self.cast(&wide, F32, to)
            }
            (F32, F64) => self.promoted(a),
            (F64, F32) => self.demoted(a),
            (F32 | F64, Bool) => {
                let (zero, bools) = (self.constant(a.shape, 0), self.bool_lane(a));
                self.map2(a, &zero, bools, |t, a, zero| t.b.ins().fcmp(FloatCC::NotEqual, a, zero))
            }
            (F32 | F64, _) => self.float_to_int(a, to),
            (Bool, F32 | F64) if a.shape.lanes > 1 => {
                let mask = self.mask(a, lane(to));
                let one = if to == F32 { i64::from(1f32.to_bits()) } else { 1f64.to_bits() as i64 };
                let one = self.constant(mask.shape, one);
                let bits = self.map2(&mask, &one, mask.shape.lane, |t, a, one| t.b.ins().band(a, one));
                self.bitcast(&bits, bits.shape.with_lane(lane(to)))
            }
            (Bool, _) if a.shape.lanes > 1 => {
                let mask = self.mask(a, lane(to));
                let one = self.constant(mask.shape, 1);
                self.map2(&mask, &one, mask.shape.lane, |t, a, one| t.b.ins().band(a, one))
            }
            (_, F32 | F64) => self.int_to_float(a, from.is_signed_int(), to),
            (_, Bool) => {
                let (zero, bools) = (self.constant(a.shape, 0), self.bool_lane(a));
                self.map2(a, &zero, bools, |t, a, zero| t.b.ins().icmp(IntCC::NotEqual, a, zero))
            }
            _ => self.resize(a, lane(to), from.is_signed_int()),
        }
    }

    /// What a comparison of lanes like those of `a` gives.
    pub fn bool_lane(&self, a: &Held) -> Type {
        if a.shape.lanes == 1 { types::I8 } else { a.shape.lane.as_int() }
    }

    fn promoted(&mut self, a: &Held) -> Held {
        if a.shape.lanes == 1 {
            return self.map(a, types::F64, |t, a| t.b.ins().fpromote(types::F64, a));
        }
        let shape = a.shape.with_lane(types::F64);
        let mut parts = Vec::with_capacity(shape.parts());
        for part in &a.parts {
            parts.push(self.b.ins().fvpromote_low(*part));
            if parts.len() < shape.parts() {
                let high = self.pick_lanes(*part, *part, &[2, 3, 2, 3], types::F32X4);
                parts.push(self.b.ins().fvpromote_low(high));
            }
        }
        Held { shape, parts }
    }

    fn demoted(&mut self, a: &Held) -> Held {
        if a.shape.lanes == 1 {
            return self.map(a, types::F32, |t, a| t.b.ins().fdemote(types::F32, a));
        }
        let halves: Vec<Value> = a.parts.iter().map(|part| self.b.ins().fvdemote(*part)).collect();
        let parts = (halves.chunks(2))
            .map(|pair| match pair {
                [low, high] => self.pick_lanes(*low, *high, &[0, 1, 4, 5], types::F32X4),
                _ => pair[0],
            })
            .collect();
        Held { shape: a.shape.with_lane(types::F32), parts }
    }

    /// Rounds towards zero and saturates; NaN gives 0.
    fn float_to_int(&mut self, a: &Held, to: DType) -> Held {
        let (signed, bits) = (to.is_signed_int(), to.bits());
        let convert = |t: &mut Self, ty: Type, a: Value| match signed || bits < 32 {
            true => t.b.ins().fcvt_to_sint_sat(ty, a),
            false => t.b.ins().fcvt_to_uint_sat(ty, a),
        };
        // Narrow integers saturate in 32 bits, with sign.
        let wide = if bits == 64 { types::I64 } else { types::I32 };
        let vector = a.shape.lane == types::F32 && wide == types::I32;
        let converted = if vector || a.shape.lanes == 1 {
            let ty = a.shape.with_lane(wide).part();
            self.map(a, wide, |t, a| convert(t, ty, a))
        } else {
            self.lane_by_lane(a, wide, |t, a| convert(t, wide, a))
        };
        if bits >= 32 {
            return converted;
        }
        let (low, high) = if signed { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let (low, high) = (self.constant(converted.shape, low), self.constant(converted.shape, high));
        let clamped = self.map2(&converted, &low, wide, |t, a, low| t.b.ins().smax(a, low));
        let clamped = self.map2(&clamped, &high, wide, |t, a, high| t.b.ins().smin(a, high));
        self.resize(&clamped, lane(to), signed)
    }

    /// Bools are scalars here: 0 and 1.
    fn int_to_float(&mut self, a: &Held, signed: bool, to: DType) -> Held {
        let to = lane(to);
        // Narrow integers are extended, without sign to positive ones.
        let (a, signed) = match a.shape.lane.bits() {
            8 | 16 => (self.resize(a, types::I32, signed), true),
            _ => (a.clone(), signed),
        };
        let convert = |t: &mut Self, ty: Type, a: Value| match signed {
            true => t.b.ins().fcvt_from_sint(ty, a),
            false => t.b.ins().fcvt_from_uint(ty, a),
        };
        if a.shape.lanes == 1 {
            return self.map(&a, to, |t, a| convert(t, to, a));
        }
        match (a.shape.lane, to) {
            (types::I32, types::F32) => self.map(&a, to, |t, a| convert(t, types::F32X4, a)),
            (types::I32, _) => {
                let wide = self.resize(&a, types::I64, signed);
                self.map(&wide, to, |t, a| t.b.ins().fcvt_from_sint(types::F64X2, a))
            }
            // Once rounded: through f64 it would be twice.
            _ => self.lane_by_lane(&a, to, |t, a| convert(t, to, a)),
        }
    }

    /// The same bits in another shape of the same size.
    pub fn bitcast(&mut self, a: &Held, to: Shape) -> Held {
        let part = to.part();
        if (a.shape.lanes == 1) == (to.lanes == 1) {
            return Held { shape: to, parts: a.parts.iter().map(|value| self.as_type(*value, part)).collect() };
        }
        if a.shape.lanes == 1 {
            // A scalar in the first lanes of a vector.
            let whole = Shape { lane: a.shape.lane, lanes: 2 }.part();
            let vector = self.b.ins().splat(whole, a.parts[0]);
            return Held { shape: to, parts: vec![self.as_type(vector, part)] };
        }
        let whole = Shape { lane: to.lane, lanes: 2 }.part();
        let vector = self.as_type(a.parts[0], whole);
        Held { shape: to, parts: vec![self.b.ins().extractlane(vector, 0)] }
    }

    /// `a` in every lane of `shape`.
    pub fn splat(&mut self, a: &Held, shape: Shape, dtype: DType) -> Held {
        if shape.lanes == 1 {
            return a.clone();
        }
        let scalar = match dtype {
            DType::Bool => self.lane_of_bool(a.parts[0], shape.lane),
            _ => a.parts[0],
        };
        let part = self.b.ins().splat(shape.part(), scalar);
        Held { shape, parts: vec![part; shape.parts()] }
    }

    pub fn extract(&mut self, a: &Held, dtype: DType, lane: usize) -> Held {
        if a.shape.lanes == 1 {
            return a.clone();
        }
        let count = a.shape.in_part();
        let scalar = self.b.ins().extractlane(a.parts[lane / count], (lane % count) as u8);
        match dtype {
            DType::Bool => Held::scalar(types::I8, self.bool_of_lane(scalar)),
            _ => Held::scalar(a.shape.lane, scalar),
        }
    }

    /// Lanes of `a` then `b`.
    pub fn shuffle(&mut self, dtype: DType, a: &Held, b: &Held, lanes: &[u16]) -> Held {
        let b = if dtype == DType::Bool { self.mask(b, a.shape.lane) } else { b.clone() };
        let lanes: Vec<usize> = lanes.iter().map(|lane| usize::from(*lane)).collect();
        if let [lane] = lanes.as_slice() {
            let (from, lane) = if *lane < a.shape.lanes { (a, *lane) } else { (&b, lane - a.shape.lanes) };
            return self.extract(from, dtype, lane);
        }
        if a.shape.lanes == 1 {
            let mut pair = [a.parts[0], b.parts[0]];
            let mut lane = a.shape.lane;
            if dtype == DType::Bool {
                lane = types::I32;
                pair = pair.map(|scalar| self.lane_of_bool(scalar, lane));
            }
            let picked: Vec<Value> = lanes.iter().map(|lane| pair[*lane]).collect();
            return self.gather(lane, &picked);
        }
        let shape = Shape { lanes: lanes.len(), ..a.shape };
        let parts = lanes.chunks(shape.in_part()).map(|lanes| self.shuffled_part(a, &b, lanes)).collect();
        Held { shape, parts }
    }

    /// One part of a shuffle: from two parts at once, then one more at a time.
    fn shuffled_part(&mut self, a: &Held, b: &Held, lanes: &[usize]) -> Value {
        let (count, part) = (a.shape.in_part(), a.shape.part());
        // Where each lane comes from: a part (those of `b` after those of `a`) and a place in it.
        let source = |lane: usize| match lane.checked_sub(a.shape.lanes) {
            None => (lane / count, lane % count),
            Some(lane) => (a.parts.len() + lane / count, lane % count),
        };
        let mut sources: Vec<(usize, usize)> = lanes.iter().map(|lane| source(*lane)).collect();
        sources.resize(count, sources[0]);
        let mut used: Vec<usize> = sources.iter().map(|(part, _)| *part).collect();
        used.sort_unstable();
        used.dedup();
        let parts: Vec<Value> = a.parts.iter().chain(&b.parts).copied().collect();
        let (mut merged, rest) = (parts[used[0]], &used[1..]);
        let mut places: Vec<usize> = sources.iter().map(|(_, place)| *place).collect();
        if rest.is_empty() {
            return self.pick_lanes(merged, merged, &places, part);
        }
        for next in rest {
            let picks: Vec<usize> = (sources.iter().zip(&places).enumerate())
                .map(|(lane, ((from, place), merged_place))| match from.cmp(next) {
                    std::cmp::Ordering::Less => *merged_place,
                    std::cmp::Ordering::Equal => count + place,
                    // Comes later: anything.
                    std::cmp::Ordering::Greater => lane,
                })
                .collect();
            merged = self.pick_lanes(merged, parts[*next], &picks, part);
            places = (0..count).collect();
        }
        merged
    }
}
