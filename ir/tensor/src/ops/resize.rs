//! Resampling along every axis at once.

use super::attr::keyword;
use super::*;
use crate::{BinaryOp, Body, DType, Dim, ScalarId, Type};

keyword! {
    /// How [`Resize`] gets a value between elements.
    Interpolation "nearest_floor, nearest_ceil, nearest_down, nearest_up, linear or cubic" {
        /// The element before.
        NearestFloor "nearest_floor",
        /// The element after.
        NearestCeil "nearest_ceil",
        /// The nearest; the one before where both are as near.
        NearestDown "nearest_down",
        /// The nearest; the one after where both are as near.
        NearestUp "nearest_up",
        /// From the two elements around, by distance.
        Linear "linear",
        /// From the four elements around, by the cubic of coefficient `cubic`.
        Cubic "cubic",
    }
}

impl Semantics for Resize {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let x = operands[0];
        let lists = [("size", &self.size), ("step", &self.step), ("offset", &self.offset), ("divisor", &self.divisor)];
        for (name, list) in lists {
            if list.len() != x.rank() {
                return Err(attribute(name, format!("{} values for a tensor of rank {}", list.len(), x.rank())));
            }
        }
        if let Some(divisor) = self.divisor.iter().find(|divisor| divisor.as_const().is_some_and(|value| value <= 0)) {
            return Err(attribute("divisor", format!("{divisor} is not positive")));
        }
        let nearest = !matches!(self.mode, Interpolation::Linear | Interpolation::Cubic);
        if !nearest && !x.dtype.is_float() {
            return Err(OpError::DType { operand: 0, dtype: x.dtype, expected: "a float" });
        }
        Ok(x.with_shape(self.size.clone()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let x = operands[0];
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        // For each axis the positions that count and their weights; one of weight 1 where nothing is resampled.
        let axes: Vec<Vec<Tap>> = (0..x.rank()).map(|axis| self.taps(&mut body, x, axis)).collect();
        let mut value = combined(&mut body, &axes, Vec::new());
        if let Some(outside) = self.outside.first() {
            let outside = body.number(x.dtype, outside.get());
            for axis in (0..x.rank()).filter(|axis| !self.is_plain(*axis, x)) {
                let (position, divisor) = self.position(&mut body, axis);
                let (zero, last) = (body.int(0), body.dim(&(&x.shape[axis] - &Dim::from(1))));
                let limit = body.binary(BinaryOp::Mul, last, divisor);
                let above = body.binary(BinaryOp::Ge, position, zero);
                let below = body.binary(BinaryOp::Le, position, limit);
                let inside = body.binary(BinaryOp::And, above, below);
                value = body.select(inside, value, outside);
            }
        }
        body.value = value;
        Some(body)
    }
}

/// A position along an axis, in bounds, and what it counts (`None`: all).
type Tap = (ScalarId, Option<ScalarId>);

/// The sum over all combinations of taps.
fn combined(body: &mut Body, axes: &[Vec<Tap>], index: Vec<ScalarId>) -> ScalarId {
    let Some((taps, others)) = axes.split_first() else { return body.load(0, index) };
    let mut sum = None;
    for (position, weight) in taps {
        let mut term = combined(body, others, [index.as_slice(), &[*position]].concat());
        if let Some(weight) = weight {
            term = body.binary(BinaryOp::Mul, term, *weight);
        }
        sum = Some(sum.map_or(term, |sum| body.binary(BinaryOp::Add, sum, term)));
    }
    sum.expect("every axis has a tap")
}

impl Resize {
    /// Whether nothing is resampled along `axis`.
    fn is_plain(&self, axis: usize, x: &Type) -> bool {
        self.size[axis] == x.shape[axis] && self.step[axis] == self.divisor[axis] && self.offset[axis].is(0)
    }

    /// `i * step + offset` and the divisor.
    fn position(&self, body: &mut Body, axis: usize) -> (ScalarId, ScalarId) {
        let (i, step, offset) = (body.index(axis), body.dim(&self.step[axis]), body.dim(&self.offset[axis]));
        let scaled = body.binary(BinaryOp::Mul, i, step);
        (body.binary(BinaryOp::Add, scaled, offset), body.dim(&self.divisor[axis]))
    }

    fn taps(&self, body: &mut Body, x: &Type, axis: usize) -> Vec<Tap> {
        if self.is_plain(axis, x) {
            return vec![(body.index(axis), None)];
        }
        let extent = &x.shape[axis];
        let (position, divisor) = self.position(body, axis);
        let two = body.int(2);
        let floor = |body: &mut Body, a, b| body.binary(BinaryOp::FloorDiv, a, b);
        let ceil = |body: &mut Body, a, b| {
            let (one, sum) = (body.int(1), body.binary(BinaryOp::Add, a, b));
            let below = body.binary(BinaryOp::Sub, sum, one);
            body.binary(BinaryOp::FloorDiv, below, b)
        };
        let at = match self.mode {
            Interpolation::NearestFloor => floor(body, position, divisor),
            Interpolation::NearestCeil => ceil(body, position, divisor),
            Interpolation::NearestDown => {
                // ceil(p / d - 1/2) = ceil((2 p - d) / 2 d)
                let (above, below) =
                    (body.binary(BinaryOp::Mul, position, two), body.binary(BinaryOp::Mul, divisor, two));
                let above = body.binary(BinaryOp::Sub, above, divisor);
                ceil(body, above, below)
            }
            Interpolation::NearestUp => {
                let (above, below) =
                    (body.binary(BinaryOp::Mul, position, two), body.binary(BinaryOp::Mul, divisor, two));
                let above = body.binary(BinaryOp::Add, above, divisor);
                floor(body, above, below)
            }
            Interpolation::Linear | Interpolation::Cubic => {
                let first = floor(body, position, divisor);
                let rest = body.binary(BinaryOp::Mod, position, divisor);
                let (rest, below) = (body.cast(DType::F32, rest), body.cast(DType::F32, divisor));
                let distance = body.binary(BinaryOp::Div, rest, below);
                let distance = body.cast(x.dtype, distance);
                return self.weighted(body, extent, first, distance);
            }
        };
        // No bounds test where a whole factor enlarges: `i / k` stays inside.
        let whole = self.step[axis].is(1) && self.offset[axis].is(0);
        let exact =
            whole && self.mode == Interpolation::NearestFloor && self.size[axis] == extent * &self.divisor[axis];
        vec![(if exact { at } else { clamped(body, at, extent) }, None)]
    }

    /// The taps around `first`, the element at or before the position, which is `distance` further.
    fn weighted(&self, body: &mut Body, extent: &Dim, first: ScalarId, distance: ScalarId) -> Vec<Tap> {
        let dtype = body.dtype(distance);
        let (offsets, mut weights) = if self.mode == Interpolation::Linear {
            let one = body.number(dtype, 1.0);
            (vec![0, 1], vec![body.binary(BinaryOp::Sub, one, distance), distance])
        } else {
            (vec![-1, 0, 1, 2], cubic_weights(body, distance, self.cubic.get()))
        };
        let mut positions = Vec::new();
        for offset in offsets {
            let offset = body.int(offset);
            positions.push(body.binary(BinaryOp::Add, first, offset));
        }
        if self.exclude_outside {
            let zero = body.number(dtype, 0.0);
            let mut sum = zero;
            for (position, weight) in positions.iter().zip(&mut weights) {
                let (low, high) = (body.int(0), body.dim(extent));
                let inside = body.in_range(*position, low, high);
                *weight = body.select(inside, *weight, zero);
                sum = body.binary(BinaryOp::Add, sum, *weight);
            }
            for weight in &mut weights {
                *weight = body.binary(BinaryOp::Div, *weight, sum);
            }
        }
        let bounded: Vec<ScalarId> = positions.into_iter().map(|position| clamped(body, position, extent)).collect();
        bounded.into_iter().zip(weights.into_iter().map(Some)).collect()
    }
}

fn clamped(body: &mut Body, position: ScalarId, extent: &Dim) -> ScalarId {
    let (zero, last) = (body.int(0), body.dim(&(extent - &Dim::from(1))));
    let position = body.binary(BinaryOp::Max, position, zero);
    body.binary(BinaryOp::Min, position, last)
}

/// Keys, "Cubic convolution interpolation for digital image processing" (1981): the weights of the elements at
/// -1, 0, 1 and 2 for a position `t` after 0.
fn cubic_weights(body: &mut Body, t: ScalarId, a: f64) -> Vec<ScalarId> {
    let dtype = body.dtype(t);
    let polynomial = |body: &mut Body, t: ScalarId, factors: [f64; 4]| {
        let mut value = body.number(dtype, factors[0]);
        for factor in &factors[1..] {
            let factor = body.number(dtype, *factor);
            let scaled = body.binary(BinaryOp::Mul, value, t);
            value = body.binary(BinaryOp::Add, scaled, factor);
        }
        value
    };
    // Distance s below 1: (a+2)s^3 - (a+3)s^2 + 1; from 1 to 2: a s^3 - 5a s^2 + 8a s - 4a.
    let near = [a + 2.0, -(a + 3.0), 0.0, 1.0];
    let far = [a, -5.0 * a, 8.0 * a, -4.0 * a];
    let (one, two) = (body.number(dtype, 1.0), body.number(dtype, 2.0));
    let before = body.binary(BinaryOp::Add, t, one);
    let after = body.binary(BinaryOp::Sub, one, t);
    let last = body.binary(BinaryOp::Sub, two, t);
    vec![
        polynomial(body, before, far),
        polynomial(body, t, near),
        polynomial(body, after, near),
        polynomial(body, last, far),
    ]
}
