//! Integer expressions that are linear in the variables of a nest.

/// `base + sum of coefs[v] * variable v`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    pub base: i64,
    pub coefs: Vec<i64>,
}

/// The least and the greatest value an integer may take, both included.
pub type Interval = (i64, i64);

/// Any integer.
pub const ANY: Interval = (i64::MIN, i64::MAX);

impl Affine {
    /// The number `base`, over `variables` variables.
    pub fn constant(base: i64, variables: usize) -> Affine {
        Affine { base, coefs: vec![0; variables] }
    }

    /// Variable `variable` of `variables`.
    pub fn variable(variable: usize, variables: usize) -> Affine {
        let mut affine = Affine::constant(0, variables);
        affine.coefs[variable] = 1;
        affine
    }

    /// Whether it is a number.
    pub fn as_constant(&self) -> Option<i64> {
        self.coefs.iter().all(|coef| *coef == 0).then_some(self.base)
    }

    /// `self + other * factor`; `None` if a coefficient overflows.
    pub fn plus(&self, other: &Affine, factor: i64) -> Option<Affine> {
        let add = |a: i64, b: i64| a.checked_add(b.checked_mul(factor)?);
        let coefs = self.coefs.iter().zip(&other.coefs).map(|(a, b)| add(*a, *b)).collect::<Option<Vec<i64>>>()?;
        Some(Affine { base: add(self.base, other.base)?, coefs })
    }

    /// The value where the variables have the values `at`.
    pub fn at(&self, at: &[i64]) -> i64 {
        self.coefs.iter().zip(at).fold(self.base, |sum, (coef, at)| sum.wrapping_add(coef.wrapping_mul(*at)))
    }

    /// The coefficient of the innermost variable.
    pub fn step(&self) -> i64 {
        self.coefs.last().copied().unwrap_or(0)
    }

    /// What it may be over variables in `0..extents[v]`, none of them empty.
    pub fn interval(&self, extents: &[i64]) -> Interval {
        let (mut low, mut high) = (i128::from(self.base), i128::from(self.base));
        for (coef, extent) in self.coefs.iter().zip(extents) {
            let reach = i128::from(*coef) * i128::from(extent - 1);
            low += reach.min(0);
            high += reach.max(0);
        }
        clamp(low, high)
    }
}

/// The interval `low..=high` as far as i64 goes; any integer where arithmetic may have wrapped.
pub fn clamp(low: i128, high: i128) -> Interval {
    match (i64::try_from(low), i64::try_from(high)) {
        (Ok(low), Ok(high)) => (low, high),
        _ => ANY,
    }
}

/// The `k` in `0..len` with `low <= start + k * step < high`, as a range.
pub fn lanes_within(start: i64, step: i64, low: i64, high: i64, len: usize) -> std::ops::Range<usize> {
    let inside = |value: i64| low <= value && value < high;
    if step == 0 {
        return if inside(start) { 0..len } else { 0..0 };
    }
    let (start, step, low, high) = (i128::from(start), i128::from(step), i128::from(low), i128::from(high));
    let ceil_div = |a: i128, b: i128| a.div_euclid(b) + i128::from(a.rem_euclid(b) != 0);
    // First and one-past-last k, for a rising and for a falling sequence.
    let (first, end) = if step > 0 {
        (ceil_div(low - start, step), ceil_div(high - start, step))
    } else {
        (ceil_div(start - high + 1, -step), ceil_div(start - low + 1, -step))
    };
    let bound = |k: i128| k.clamp(0, len as i128) as usize;
    bound(first)..bound(end).max(bound(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_within_agrees_with_testing_each() {
        for start in -6..6 {
            for step in -3..4 {
                for (low, high) in [(0, 4), (-2, 3), (1, 1), (2, 0)] {
                    let inside = |k: &usize| (low..high).contains(&(start + *k as i64 * step));
                    let expected: Vec<usize> = (0..7).filter(inside).collect();
                    let found: Vec<usize> = lanes_within(start, step, low, high, 7).collect();
                    assert_eq!(found, expected, "{start} {step} {low}..{high}");
                }
            }
        }
    }
}
