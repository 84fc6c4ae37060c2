//! Products of floats with quantized weights: weights become floats in registers.
//!
//! The octets of a block are words, one a column, of four elements of 8 bits or eight of 4. A word is rid of its bias at
//! once; each element is then moved to the upper end and down again, which gives it its sign, and becomes a float.

use super::{Emitter, QUAD, Tile};
use crate::nest::Address;
use crate::quantized::Quantized;
use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Place, Type, Value};
use std::cmp::Ordering;

/// Where the first four bits of f32's fraction start.
const FRACTION: i64 = 19;

impl Emitter<'_> {
    /// One block of every column, `distance` elements from where the fold is; `count` of its elements are there.
    pub(super) fn float_block(&mut self, tile: &Tile, distance: i64, count: i64, sums: &mut [Value]) {
        let words: Vec<Value> = (0..tile.vectors).map(|vector| self.weight_words(tile, vector, distance)).collect();
        for element in 0..count {
            let factors: Vec<Value> =
                words.iter().map(|words| self.weight_floats(tile.quantized, *words, element)).collect();
            for row in 0..tile.rows {
                let x = self.x_in_all_lanes(tile, row, distance + element);
                for (vector, factor) in factors.iter().enumerate() {
                    let sum = &mut sums[(row * tile.vectors) as usize + vector];
                    *sum = self.b.fma(*factor, x, *sum);
                }
            }
        }
    }

    /// The block of each column of a vector, without the bias.
    pub(super) fn weight_words(&mut self, tile: &Tile, vector: i64, distance: i64) -> Value {
        let octets = self.packed_octets(tile, vector, distance);
        let ty = self.sums_type(DType::U32);
        let words = self.b.reinterpret(octets, ty);
        let packing = &tile.quantized.packing;
        // What a bias of half the range adds changes the highest bit only.
        let flips: i64 = match (packing.bias, packing.bits) {
            (0, _) => return words,
            (_, 4) => 0x8888_8888,
            _ => 0x8080_8080,
        };
        let flips = self.b.integer(ty, flips);
        self.b.binary(BinaryOp::Xor, words, flips)
    }

    /// Element `element` of the block of each column, as a float.
    pub(super) fn weight_floats(&mut self, quantized: &Quantized, words: Value, element: i64) -> Value {
        let packing = &quantized.packing;
        let bits = i64::from(packing.bits);
        let first = 8 * (element % QUAD) + 4 * (element / QUAD);
        let ty = self.b.ty(words);
        if quantized.loads.small_floats {
            return self.small_floats(words, first);
        }
        let (left, right) = (32 - bits - first, 32 - bits);
        let mut moved = words;
        if left > 0 {
            let left = self.b.integer(ty, left);
            moved = self.b.binary(BinaryOp::Shl, moved, left);
        }
        let dtype = if packing.signed { DType::I32 } else { DType::U32 };
        let moved = self.b.bitcast(moved, dtype);
        let right = self.b.integer(ty.with_dtype(dtype), right);
        let number = self.b.binary(BinaryOp::Shr, moved, right);
        // It is small: conversion with a sign is the cheaper one.
        let number = self.b.bitcast(number, DType::I32);
        self.b.cast(number, DType::F32)
    }

    /// The floats of 4 bits that start at bit `first` of words.
    fn small_floats(&mut self, words: Value, first: i64) -> Value {
        let ty = self.b.ty(words);
        // To where f32 has the first bits of its fraction, below the exponent of 1.
        let distance = self.b.integer(ty, (FRACTION - first).abs());
        let moved = match first.cmp(&FRACTION) {
            Ordering::Less => self.b.binary(BinaryOp::Shl, words, distance),
            Ordering::Equal => words,
            Ordering::Greater => self.b.binary(BinaryOp::Shr, words, distance),
        };
        let (mask, one) = (self.b.integer(ty, 15 << FRACTION), self.b.integer(ty, 0x3f80_0000));
        let bits = self.b.binary(BinaryOp::And, moved, mask);
        let bits = self.b.binary(BinaryOp::Or, bits, one);
        self.b.reinterpret(bits, self.sums_type(DType::F32))
    }

    /// An element of a row of x in all lanes.
    fn x_in_all_lanes(&mut self, tile: &Tile, row: i64, distance: i64) -> Value {
        let (operand, address) = &self.nest.reads[&tile.quantized.loads.x];
        let Address::Strided { affine, .. } = address else { unreachable!("x is read as it lies") };
        let base = self.base(affine, Vec::new());
        let point = super::Point { row, column: 0, lanes: 1, reduce: vec![distance] };
        let offset = self.offset(affine, &point);
        let at = self.moved(base, &offset);
        let dtype = self.nest.body.dtype(tile.quantized.loads.x);
        let x = self.b.load(Place::Buffer(*operand), at, Type::scalar(dtype));
        let x = self.b.cast(x, DType::F32);
        self.b.splat(x, self.schedule.lanes)
    }
}
