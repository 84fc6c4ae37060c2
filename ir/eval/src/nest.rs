//! Nests of loops, walked in chunks of points.

use crate::affine::Affine;

/// Variables with their ranges, outermost first; at least one.
#[derive(Clone, Debug)]
pub struct Nest {
    pub ranges: Vec<(i64, i64)>,
}

/// Points of a chunk: runs along the innermost variable.
#[derive(Default, Debug)]
pub struct Rows {
    starts: Vec<i64>,
    lens: Vec<usize>,
    variables: usize,
}

impl Rows {
    /// For every run the values of the variables at its start, its first lane, and its length.
    pub fn iter(&self) -> impl Iterator<Item = (&[i64], usize, usize)> {
        let mut lane = 0;
        self.starts.chunks_exact(self.variables).zip(&self.lens).map(move |(start, len)| {
            let first = lane;
            lane += len;
            (start, first, *len)
        })
    }
}

impl Nest {
    /// Variables from 0 to `extents`.
    pub fn new(extents: &[i64]) -> Nest {
        Nest { ranges: extents.iter().map(|extent| (0, *extent)).collect() }
    }

    /// The number of points, if it is not absurd.
    pub fn points(&self) -> Option<i64> {
        let extent = |(low, high): &(i64, i64)| high - low;
        if self.ranges.iter().any(|range| extent(range) <= 0) {
            return Some(0);
        }
        self.ranges.iter().try_fold(1i64, |product, range| product.checked_mul(extent(range)))
    }

    /// Where a walk begins.
    pub fn start(&self) -> Vec<i64> {
        self.ranges.iter().map(|(low, _)| *low).collect()
    }

    /// The next chunk of at most `max` points from `cursor` on, which is moved behind it: its points, 0 at the
    /// end. The nest has points.
    pub fn next_chunk(&self, cursor: &mut [i64], max: usize, rows: &mut Rows) -> usize {
        let inner = self.ranges.len() - 1;
        rows.variables = self.ranges.len();
        rows.starts.clear();
        rows.lens.clear();
        let mut points = 0;
        while points < max && cursor[0] < self.ranges[0].1 {
            let left = (self.ranges[inner].1 - cursor[inner]) as usize;
            let len = left.min(max - points);
            rows.starts.extend_from_slice(cursor);
            rows.lens.push(len);
            points += len;
            cursor[inner] += len as i64;
            let mut variable = inner;
            while variable > 0 && cursor[variable] == self.ranges[variable].1 {
                cursor[variable] = self.ranges[variable].0;
                variable -= 1;
                cursor[variable] += 1;
            }
        }
        points
    }

    /// Drops variables of one value and joins neighbours that every one of `affines` steps through as one.
    pub fn simplify(&mut self, affines: &mut [&mut Affine]) {
        let mut variable = self.ranges.len();
        while variable > 0 {
            variable -= 1;
            let (low, high) = self.ranges[variable];
            if high - low == 1 && self.ranges.len() > 1 {
                for affine in affines.iter_mut() {
                    let coef = affine.coefs.remove(variable);
                    affine.base = affine.base.wrapping_add(coef.wrapping_mul(low));
                }
                self.ranges.remove(variable);
            }
        }
        let mut inner = self.ranges.len();
        while inner > 1 {
            inner -= 1;
            let (low, extent) = self.ranges[inner];
            let joined = |affine: &&mut Affine| affine.coefs[inner - 1] == affine.coefs[inner].wrapping_mul(extent);
            if low == 0 && affines.iter().all(joined) {
                for affine in affines.iter_mut() {
                    affine.coefs.remove(inner - 1);
                }
                let (outer_low, outer_high) = self.ranges[inner - 1];
                self.ranges[inner - 1] = (outer_low * extent, outer_high * extent);
                self.ranges.remove(inner);
            }
        }
    }
}
