//! Loads and stores.

use super::Translator;
use super::code::Expr;
use super::held::{Held, part_kind, register};
use super::places::stored;
use crate::analysis::{Index, Layout};
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::Place;
use naga::{BinaryOperator as Bin, Scalar};

/// Where an access starts, in elements.
#[derive(Clone, Copy)]
pub(super) struct Offset {
    pub expr: Expr,
    pub index: Index,
}

impl Translator<'_> {
    pub fn offset(&mut self, value: ir::Value) -> Offset {
        let held = self.held(value);
        let narrow = self.widened(&held, false);
        Offset { expr: narrow.parts[0], index: self.facts.index(value) }
    }

    /// An offset some elements further.
    pub fn further(&mut self, from: Offset, by: usize) -> Offset {
        if by == 0 {
            return from;
        }
        match from.index.known {
            Some(known) => {
                let known = known + by as i64;
                Offset { expr: self.code.i32(known as i32), index: Index::number(known) }
            }
            None => {
                let step = self.code.i32(by as i32);
                let least = from.index.factor.min(by.trailing_zeros());
                Offset {
                    expr: self.code.binary(Bin::Add, from.expr, step),
                    index: Index { known: None, factor: least, ..from.index },
                }
            }
        }
    }

    /// The number of the group of `size` elements (a power of two) that an offset is in.
    pub fn group(&mut self, offset: Offset, size: usize) -> Expr {
        match offset.index.known {
            Some(known) => self.code.i32(known.div_euclid(size as i64) as i32),
            None => self.shifted_right(part_kind(Scalar::I32, 1), offset.expr, size.trailing_zeros()),
        }
    }

    /// Its place in that group.
    pub fn within(&mut self, offset: Offset, size: usize) -> Expr {
        let mask = size as i32 - 1;
        match offset.index.known {
            Some(known) => self.code.i32(known.rem_euclid(size as i64) as i32),
            None => {
                let mask = self.code.i32(mask);
                self.code.binary(Bin::And, offset.expr, mask)
            }
        }
    }

    /// Loads what `out` is.
    pub fn load(&mut self, place: Place, offset: ir::Value, out: ir::Value) -> Held {
        let (ty, offset, (layout, base)) = (self.kernel.ty(out), self.offset(offset), self.place(place));
        let (dtype, lanes) = (ty.dtype, usize::from(ty.lanes));
        let buffer = matches!(place, Place::Buffer(_));
        match layout {
            Layout::Words | Layout::WordQuads | Layout::AtomicWords if self.facts.packed(out) => {
                self.load_words(base, layout, offset, dtype, lanes)
            }
            Layout::Words | Layout::WordQuads | Layout::AtomicWords => {
                self.load_packed(base, layout, offset, dtype, lanes)
            }
            Layout::Narrow if buffer => {
                let all: Vec<Expr> = (0..lanes)
                    .map(|lane| {
                        let at = self.further(offset, lane);
                        let pair = self.code.access(base, at.expr);
                        let low = self.code.component(pair, 0);
                        let word = self.code.load(low);
                        self.code.convert(word, Scalar::I32)
                    })
                    .collect();
                self.of_lanes(Scalar::I32, &all)
            }
            Layout::Elements | Layout::Quads | Layout::Narrow => {
                let scalar = if buffer { register(dtype, true) } else { stored(dtype, layout) };
                let held = self.load_units(base, layout == Layout::Quads, offset, scalar, lanes);
                if dtype == DType::Bool { self.cast(&held, DType::U32, DType::Bool, false) } else { held }
            }
        }
    }

    /// `lanes` scalars of an array of them, or of vectors of four.
    pub fn load_units(&mut self, base: Expr, quads: bool, offset: Offset, scalar: Scalar, lanes: usize) -> Held {
        if quads && lanes.is_multiple_of(4) && offset.index.is_multiple_of(4) {
            let parts = (0..lanes / 4).map(|part| {
                let at = self.further(offset, 4 * part);
                let number = self.group(at, 4);
                let pointer = self.code.access(base, number);
                self.code.load(pointer)
            });
            return Held { scalar, lanes, parts: parts.collect() };
        }
        let all: Vec<Expr> = (0..lanes)
            .map(|lane| {
                let at = self.further(offset, lane);
                let pointer = self.unit(base, quads, at);
                self.code.load(pointer)
            })
            .collect();
        self.of_lanes(scalar, &all)
    }

    /// A pointer to one scalar.
    pub fn unit(&mut self, base: Expr, quads: bool, at: Offset) -> Expr {
        if !quads {
            return self.code.access(base, at.expr);
        }
        let (number, component) = (self.group(at, 4), self.within(at, 4));
        let quad = self.code.access(base, number);
        match at.index.known {
            Some(known) => self.code.component(quad, known.rem_euclid(4) as u32),
            None => self.code.access(quad, component),
        }
    }

    pub fn store(&mut self, place: Place, offset: ir::Value, value: ir::Value) {
        let (dtype, offset, (layout, base)) = (self.dtype(value), self.offset(offset), self.place(place));
        let held = self.held(value);
        let buffer = matches!(place, Place::Buffer(_));
        match layout {
            Layout::Words | Layout::WordQuads | Layout::AtomicWords => {
                self.store_packed(base, layout, offset, dtype, &held);
            }
            Layout::Narrow if buffer => {
                let (high_bits, kind) = (self.code.u32(31), part_kind(Scalar::U32, 2));
                for (lane, number) in self.lanes(&held).into_iter().enumerate() {
                    let at = self.further(offset, lane);
                    let sign = self.code.binary(Bin::ShiftRight, number, high_bits);
                    let words = [number, sign].map(|word| self.code.convert(word, Scalar::U32));
                    let pair = self.code.compose(kind, words.to_vec());
                    let pointer = self.code.access(base, at.expr);
                    self.code.store(pointer, pair);
                }
            }
            Layout::Elements | Layout::Quads | Layout::Narrow => {
                let held = match dtype {
                    DType::Bool => self.cast(&held, DType::Bool, DType::U32, false),
                    _ => self.widened(&held, layout != Layout::Narrow && dtype == DType::I64),
                };
                self.store_units(base, layout == Layout::Quads, offset, &held);
            }
        }
    }

    /// Scalars to an array of them, or whole vectors of four.
    pub fn store_units(&mut self, base: Expr, quads: bool, offset: Offset, held: &Held) {
        if quads {
            for (part, value) in held.parts.iter().enumerate() {
                let at = self.further(offset, 4 * part);
                let number = self.group(at, 4);
                let pointer = self.code.access(base, number);
                self.code.store(pointer, *value);
            }
            return;
        }
        for (lane, value) in self.lanes(held).into_iter().enumerate() {
            let at = self.further(offset, lane);
            let pointer = self.code.access(base, at.expr);
            self.code.store(pointer, value);
        }
    }
}
