//! The bits of values as 32-bit words, and as values of other types.

use super::Translator;
use super::code::Expr;
use super::held::{F16, Held, U64, part_kind, register};
use drupe_ir::DType;
use drupe_kernel as ir;
use naga::{BinaryOperator as Bin, MathFunction as Math, Scalar, ScalarKind};

impl Translator<'_> {
    /// The same bits as `to`, which has as many. An `i64` is wide.
    pub fn bitcast(&mut self, a: &Held, from: DType, to: ir::Type) -> Held {
        let a = &self.widened(a, from == DType::I64);
        let out = register(to.dtype, true);
        self.code.needs.note(out);
        if from.bits() == to.dtype.bits() && from.bits() >= 32 {
            return self.map(a, out, |s, a| s.code.bits(a, out.kind));
        }
        if from.bits() == to.dtype.bits() && !from.is_float() && !to.dtype.is_float() {
            let same = self.resized(a, out);
            return self.wrap(to.dtype, &same);
        }
        let fields = self.fields(a, from);
        let words = self.words(&fields, from.bits());
        self.of_words(&words, to)
    }

    /// Each lane as the low bits of a `u32`; of 64 bits, two of them.
    fn fields(&mut self, a: &Held, dtype: DType) -> Vec<Expr> {
        let lanes = self.lanes(a);
        let mut fields = Vec::new();
        for lane in lanes {
            match dtype.bits() {
                64 => {
                    let bits = self.code.bits(lane, ScalarKind::Uint);
                    let by = self.code.u32(32);
                    let high = self.code.binary(Bin::ShiftRight, bits, by);
                    for half in [bits, high] {
                        fields.push(self.code.convert(half, Scalar::U32));
                    }
                }
                _ => fields.push(self.field(lane, dtype)),
            }
        }
        fields
    }

    /// The bits of a lane of 32 bits or less, at the low end of a `u32`; above them there are zeros.
    pub fn field(&mut self, lane: Expr, dtype: DType) -> Expr {
        let number = part_kind(Scalar::U32, 1);
        match dtype {
            DType::Bool => {
                let (one, zero) = (self.code.u32(1), self.code.u32(0));
                self.code.select(lane, one, zero)
            }
            DType::Bf16 => {
                let bits = self.code.bits(lane, ScalarKind::Uint);
                self.shifted_right(number, bits, 16)
            }
            DType::F16 => {
                let single = self.code.convert(lane, Scalar::F32);
                let zero = self.float(part_kind(Scalar::F32, 1), 0.0);
                let pair = self.code.compose(part_kind(Scalar::F32, 2), vec![single, zero]);
                self.code.math(Math::Pack2x16float, &[pair])
            }
            DType::I8 | DType::I16 | DType::I4 => {
                let bits = self.code.convert(lane, Scalar::U32);
                let mask = self.code.u32((1 << dtype.bits()) - 1);
                self.code.binary(Bin::And, bits, mask)
            }
            DType::U8 | DType::U16 | DType::U4 | DType::U32 => lane,
            DType::I32 => self.code.convert(lane, Scalar::U32),
            DType::F32 => self.code.bits(lane, ScalarKind::Uint),
            DType::F64 | DType::I64 | DType::U64 => unreachable!("64 bits are two fields"),
        }
    }

    /// Fields of `bits` bits packed into words, the first lowest; the last word may be partly filled.
    pub fn words(&mut self, fields: &[Expr], bits: u32) -> Vec<Expr> {
        if bits >= 32 {
            return fields.to_vec();
        }
        let mut words = Vec::new();
        for chunk in fields.chunks((32 / bits) as usize) {
            let mut word = chunk[0];
            for (index, field) in chunk.iter().enumerate().skip(1) {
                let by = self.code.u32(index as u32 * bits);
                let placed = self.code.binary(Bin::ShiftLeft, *field, by);
                word = self.code.binary(Bin::InclusiveOr, word, placed);
            }
            words.push(word);
        }
        words
    }

    /// A value from words.
    fn of_words(&mut self, words: &[Expr], to: ir::Type) -> Held {
        let (dtype, lanes) = (to.dtype, usize::from(to.lanes));
        let scalar = register(dtype, true);
        let mut all = Vec::new();
        match dtype.bits() {
            64 => {
                for pair in words.chunks(2) {
                    let [low, high] = [pair[0], pair[1]].map(|word| self.code.convert(word, U64));
                    let by = self.code.u32(32);
                    let high = self.code.binary(Bin::ShiftLeft, high, by);
                    let bits = self.code.binary(Bin::InclusiveOr, low, high);
                    all.push(self.code.bits(bits, scalar.kind));
                }
            }
            32 => all.extend(words.iter().map(|word| self.code.bits(*word, scalar.kind))),
            _ => {
                for word in words {
                    let held = self.unpacked(*word, dtype);
                    all.extend(self.lanes(&held));
                }
            }
        }
        self.of_lanes(scalar, &all[..lanes])
    }

    /// The lanes of a word of elements of 8 or 16 bits.
    pub fn unpacked(&mut self, word: Expr, dtype: DType) -> Held {
        let scalar = register(dtype, false);
        match dtype {
            DType::I8 | DType::U8 | DType::Bool => {
                let function = if dtype == DType::I8 { Math::Unpack4xI8 } else { Math::Unpack4xU8 };
                let part = self.code.math(function, &[word]);
                let octets = if dtype == DType::I8 { Scalar::I32 } else { Scalar::U32 };
                let held = Held { scalar: octets, lanes: 4, parts: vec![part] };
                if dtype == DType::Bool { self.cast(&held, DType::U8, DType::Bool, false) } else { held }
            }
            DType::Bf16 if self.halves => {
                let pair = self.code.math(Math::Unpack2x16float, &[word]);
                Held { scalar, lanes: 2, parts: vec![pair] }
            }
            DType::F16 => {
                let pair = self.code.math(Math::Unpack2x16float, &[word]);
                let part = self.code.convert(pair, F16);
                Held { scalar, lanes: 2, parts: vec![part] }
            }
            _ => {
                let sixteen = self.code.u32(16);
                let high = self.code.binary(Bin::ShiftLeft, word, sixteen);
                let lanes = [high, word].map(|field| self.upper_half(field, dtype));
                self.of_lanes(scalar, &lanes)
            }
        }
    }

    /// The element in the upper 16 bits of a word.
    fn upper_half(&mut self, word: Expr, dtype: DType) -> Expr {
        let sixteen = self.code.u32(16);
        match dtype {
            DType::Bf16 => {
                let mask = self.code.u32(0xffff_0000);
                let bits = self.code.binary(Bin::And, word, mask);
                self.code.bits(bits, ScalarKind::Float)
            }
            DType::I16 => {
                let signed = self.code.convert(word, Scalar::I32);
                self.code.binary(Bin::ShiftRight, signed, sixteen)
            }
            _ => self.code.binary(Bin::ShiftRight, word, sixteen),
        }
    }

    /// The element of 8 or 16 bits that starts at bit `shift` (a `u32`) of a word.
    pub fn element_at(&mut self, word: Expr, shift: Expr, dtype: DType) -> Expr {
        let low = self.code.binary(Bin::ShiftRight, word, shift);
        let up = self.code.u32(32 - dtype.bits());
        match dtype {
            DType::Bool => {
                let mask = self.code.u32(0xff);
                let (octet, zero) = (self.code.binary(Bin::And, low, mask), self.code.u32(0));
                self.code.binary(Bin::NotEqual, octet, zero)
            }
            DType::Bf16 if self.halves => {
                let pair = self.code.math(Math::Unpack2x16float, &[low]);
                self.code.component(pair, 0)
            }
            DType::Bf16 => {
                let bits = self.code.binary(Bin::ShiftLeft, low, up);
                self.code.bits(bits, ScalarKind::Float)
            }
            DType::I8 | DType::I16 => {
                let high = self.code.binary(Bin::ShiftLeft, low, up);
                let signed = self.code.convert(high, Scalar::I32);
                self.code.binary(Bin::ShiftRight, signed, up)
            }
            _ => {
                let mask = self.code.u32((1 << dtype.bits()) - 1);
                self.code.binary(Bin::And, low, mask)
            }
        }
    }
}
