//! Elements of 8 and 16 bits in buffers of words.

use super::Translator;
use super::code::Expr;
use super::held::{Held, part_kind, register};
use super::memory::Offset;
use crate::analysis::{Layout, per_word};
use drupe_ir::DType;
use naga::{AtomicFunction, BinaryOperator as Bin, Scalar, Statement, UnaryOperator};

impl Translator<'_> {
    pub fn load_packed(&mut self, base: Expr, layout: Layout, offset: Offset, dtype: DType, lanes: usize) -> Held {
        let (unit, quads, scalar) = (per_word(dtype), layout == Layout::WordQuads, register(dtype, false));
        if lanes.is_multiple_of(unit) && offset.index.is_multiple_of(unit) {
            let words = self.load_words(base, layout, offset, dtype, lanes);
            let mut parts = Vec::new();
            for word in self.lanes(&words) {
                parts.push(self.unpacked(word, dtype));
            }
            return self.joined(&parts, scalar);
        }
        let mut all = Vec::new();
        for lane in 0..lanes {
            let at = self.further(offset, lane);
            let words = self.word_offset(at, unit);
            let pointer = self.unit(base, quads, words);
            let (word, shift) = (self.code.load(pointer), self.shift_in_word(at, dtype));
            all.push(self.element_at(word, shift, dtype));
        }
        self.of_lanes(scalar, &all)
    }

    /// The words of `lanes` elements, which are whole words.
    pub fn load_words(&mut self, base: Expr, layout: Layout, offset: Offset, dtype: DType, lanes: usize) -> Held {
        let unit = per_word(dtype);
        let words = self.word_offset(offset, unit);
        self.load_units(base, layout == Layout::WordQuads, words, Scalar::U32, lanes / unit)
    }

    /// The words that elements are in.
    fn word_offset(&mut self, offset: Offset, unit: usize) -> Offset {
        let mut index = offset.index;
        index.known = index.known.map(|known| known.div_euclid(unit as i64));
        index.factor = index.factor.saturating_sub(unit.trailing_zeros());
        Offset { expr: self.group(offset, unit), index }
    }

    /// The first bit of an element in its word.
    fn shift_in_word(&mut self, at: Offset, dtype: DType) -> Expr {
        let (unit, bits) = (per_word(dtype), dtype.bits());
        match at.index.known {
            Some(known) => self.code.u32(known.rem_euclid(unit as i64) as u32 * bits),
            None => {
                let within = self.within(at, unit);
                let within = self.code.convert(within, Scalar::U32);
                let by = self.code.u32(bits.trailing_zeros());
                self.code.binary(Bin::ShiftLeft, within, by)
            }
        }
    }

    /// Values one after the other.
    fn joined(&mut self, parts: &[Held], scalar: Scalar) -> Held {
        if parts.iter().all(|part| part.lanes == 4) {
            let all: Vec<Expr> = parts.iter().flat_map(|part| part.parts.clone()).collect();
            return Held { scalar, lanes: 4 * parts.len(), parts: all };
        }
        let mut all = Vec::new();
        for part in parts {
            all.extend(self.lanes(part));
        }
        self.of_lanes(scalar, &all)
    }

    pub fn store_packed(&mut self, base: Expr, layout: Layout, offset: Offset, dtype: DType, held: &Held) {
        let unit = per_word(dtype);
        let mut fields = Vec::new();
        for lane in self.lanes(held) {
            fields.push(self.field(lane, dtype));
        }
        if held.lanes.is_multiple_of(unit) && offset.index.is_multiple_of(unit) {
            let words = self.words(&fields, dtype.bits());
            let at = self.word_offset(offset, unit);
            let words = match layout == Layout::WordQuads {
                true => self.of_lanes(Scalar::U32, &words),
                false => {
                    let scalars = words.len();
                    for (index, word) in words.into_iter().enumerate() {
                        let at = self.further(at, index);
                        let pointer = self.code.access(base, at.expr);
                        self.code.store(pointer, word);
                    }
                    debug_assert!(scalars > 0);
                    return;
                }
            };
            return self.store_units(base, true, at, &words);
        }
        for (lane, field) in fields.into_iter().enumerate() {
            let at = self.further(offset, lane);
            let words = self.word_offset(at, unit);
            let pointer = self.code.access(base, words.expr);
            self.merge(pointer, at, field, dtype);
        }
    }

    /// Puts a field into its bits of a word, others of which may be stored at the same time.
    fn merge(&mut self, pointer: Expr, at: Offset, field: Expr, dtype: DType) {
        let shift = self.shift_in_word(at, dtype);
        let mask = self.code.int(part_kind(Scalar::U32, 1), (1 << dtype.bits()) - 1);
        let taken = self.code.binary(Bin::ShiftLeft, mask, shift);
        let kept = self.code.unary(UnaryOperator::BitwiseNot, taken);
        let placed = self.code.binary(Bin::ShiftLeft, field, shift);
        for (fun, value) in [(AtomicFunction::And, kept), (AtomicFunction::InclusiveOr, placed)] {
            self.code.statement(Statement::Atomic { pointer, fun, value, result: None });
        }
    }
}
