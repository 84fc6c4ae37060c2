//! Half floats to and from `f32`, with integer arithmetic: not every target has instructions, and Cranelift uses
//! none.

use super::Translator;
use super::lanes::Held;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};

impl Translator<'_> {
    fn with_constant(&mut self, a: &Held, constant: i64, mut op: impl FnMut(&mut Self, Value, Value) -> Value) -> Held {
        let constant = self.constant(a.shape, constant);
        self.map2(a, &constant, a.shape.lane, |t, a, b| op(t, a, b))
    }

    fn and(&mut self, a: &Held, constant: i64) -> Held {
        self.with_constant(a, constant, |t, a, b| t.b.ins().band(a, b))
    }

    fn add(&mut self, a: &Held, constant: i64) -> Held {
        self.with_constant(a, constant, |t, a, b| t.b.ins().iadd(a, b))
    }

    fn or(&mut self, a: &Held, b: &Held) -> Held {
        self.map2(a, b, a.shape.lane, |t, a, b| t.b.ins().bor(a, b))
    }

    /// `a > constant`, as bools.
    fn above(&mut self, a: &Held, constant: i64) -> Held {
        let bools = if a.shape.lanes == 1 { types::I8 } else { a.shape.lane };
        let constant = self.constant(a.shape, constant);
        self.map2(a, &constant, bools, |t, a, b| t.b.ins().icmp(IntCC::SignedGreaterThan, a, b))
    }

    pub fn shift(&mut self, a: &Held, amount: i64, left: bool) -> Held {
        let amount = self.b.ins().iconst(types::I32, amount);
        self.map(a, a.shape.lane, |t, a| match left {
            true => t.b.ins().ishl(a, amount),
            false => t.b.ins().ushr(a, amount),
        })
    }

    fn as_float(&mut self, bits: &Held) -> Held {
        self.bitcast(bits, bits.shape.with_lane(types::F32))
    }

    fn as_bits(&mut self, float: &Held) -> Held {
        self.bitcast(float, float.shape.with_lane(types::I32))
    }

    /// `bf16` is the upper half of an `f32`.
    pub fn bf16_to_f32(&mut self, a: &Held) -> Held {
        let wide = self.resize(a, types::I32, false);
        let bits = self.shift(&wide, 16, true);
        self.as_float(&bits)
    }

    /// To nearest, halves to even; NaN stays NaN.
    pub fn f32_to_bf16(&mut self, a: &Held) -> Held {
        let bits = self.as_bits(a);
        let upper = self.shift(&bits, 16, false);
        let odd = self.and(&upper, 1);
        let bias = self.add(&odd, 0x7FFF);
        let biased = self.map2(&bits, &bias, types::I32, |t, a, b| t.b.ins().iadd(a, b));
        let rounded = self.shift(&biased, 16, false);
        let quiet = self.constant(bits.shape, 0x40);
        let nan = self.or(&upper, &quiet);
        let bools = if a.shape.lanes == 1 { types::I8 } else { types::I32 };
        let is_nan = self.map2(a, a, bools, |t, a, b| t.b.ins().fcmp(FloatCC::Unordered, a, b));
        let result = self.select(&is_nan, &nan, &rounded);
        self.resize(&result, types::I16, false)
    }

    /// The exponent is moved; subnormal numbers are normalised by a subtraction. No number on the way is subnormal in
    /// `f32`, where it may count as zero.
    pub fn f16_to_f32(&mut self, a: &Held) -> Held {
        let wide = self.resize(a, types::I32, false);
        let sign = self.and(&wide, 0x8000);
        let sign = self.shift(&sign, 16, true);
        let magnitude = self.and(&wide, 0x7FFF);
        let magnitude = self.shift(&magnitude, 13, true);
        let moved = self.add(&magnitude, 112 << 23);
        let raised = self.add(&magnitude, 113 << 23);
        let raised = self.as_float(&raised);
        let least = self.constant(raised.shape, 113 << 23);
        let small = self.map2(&raised, &least, types::F32, |t, a, b| t.b.ins().fsub(a, b));
        let small = self.as_bits(&small);
        let is_normal = self.above(&magnitude, 0x007F_FFFF);
        let finite = self.select(&is_normal, &moved, &small);
        // Infinities and NaN.
        let special = self.above(&magnitude, 0x0F7F_FFFF);
        let full = self.constant(magnitude.shape, 0x7F80_0000);
        let full = self.or(&magnitude, &full);
        let bits = self.select(&special, &full, &finite);
        let bits = self.or(&bits, &sign);
        self.as_float(&bits)
    }

    /// To nearest, halves to even (Giesen, "float_to_half_fast3_rtne", public domain).
    pub fn f32_to_f16(&mut self, a: &Held) -> Held {
        let bits = self.as_bits(a);
        let sign = self.shift(&bits, 16, false);
        let sign = self.and(&sign, 0x8000);
        let magnitude = self.and(&bits, 0x7FFF_FFFF);
        // Subnormal results: adding 1/2 shifts the digits to their place, and rounds.
        let float = self.as_float(&magnitude);
        let half = self.constant(float.shape, i64::from(0.5f32.to_bits()));
        let aligned = self.map2(&float, &half, types::F32, |t, a, b| t.b.ins().fadd(a, b));
        let aligned = self.as_bits(&aligned);
        let small = self.add(&aligned, -i64::from(0.5f32.to_bits()));
        // Normal results: the exponent is moved, and the digits rounded.
        let odd = self.shift(&magnitude, 13, false);
        let odd = self.and(&odd, 1);
        let moved = self.add(&magnitude, 0xFFF - (112 << 23));
        let moved = self.map2(&moved, &odd, types::I32, |t, a, b| t.b.ins().iadd(a, b));
        let normal = self.shift(&moved, 13, false);
        // Too large a number is infinite; NaN is quiet.
        let (infinity, nan) = (self.constant(bits.shape, 0x7C00), self.constant(bits.shape, 0x7E00));
        let is_nan = self.above(&magnitude, 0x7F80_0000);
        let special = self.select(&is_nan, &nan, &infinity);
        let is_special = self.above(&magnitude, 0x477F_FFFF);
        let is_normal = self.above(&magnitude, 0x387F_FFFF);
        let result = self.select(&is_normal, &normal, &small);
        let result = self.select(&is_special, &special, &result);
        let result = self.or(&result, &sign);
        self.resize(&result, types::I16, false)
    }
}
