//! Exact changes of a product that make its input easier to round: `x W = (x T) (T^-1 W)`.

use drupe_ir::{Diagnostic, Dim, Module, Op, Origin, TensorData, ValueId, ops};

/// Channels that are rotated together, at most: `x` times a block costs so many multiplications a channel.
const BLOCK: usize = 64;

/// What is done to the input of linear layers before it is rounded, and undone in their weights.
///
/// First each channel is divided by a number (SmoothQuant, arXiv 2211.10438): large channels lend some of their range to
/// their weights. Then blocks of channels are rotated by a Hadamard matrix with random signs (QuaRot, arXiv 2404.00456):
/// what was in one channel is in all of a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transform {
    /// What each channel of the input is divided by, and its weights are multiplied by; none for 1.
    pub divisors: Option<Vec<f32>>,
    /// Whether blocks of channels are rotated: as many as the largest power of two that divides their number, and 64 at
    /// most.
    pub rotated: bool,
}

impl Transform {
    /// Rows of weights, each of `depth` elements, as they meet the changed input.
    pub(crate) fn weights(&self, rows: &mut [f32], depth: usize) {
        self.apply(rows, depth, |weight, divisor| *weight *= divisor);
    }

    /// Rows of inputs, each of `depth` elements, changed: what [`Transform::input`] computes.
    pub(crate) fn inputs(&self, rows: &mut [f32], depth: usize) {
        self.apply(rows, depth, |value, divisor| *value *= 1.0 / divisor);
    }

    fn apply(&self, rows: &mut [f32], depth: usize, scale: fn(&mut f32, f32)) {
        for row in rows.chunks_mut(depth.max(1)) {
            for (value, divisor) in row.iter_mut().zip(self.divisors.iter().flatten()) {
                scale(value, *divisor);
            }
            if self.rotated {
                row.iter_mut().enumerate().for_each(|(channel, value)| *value *= sign(channel));
                row.chunks_mut(block_of(depth)).for_each(rotate);
            }
        }
    }

    /// The nodes that change `x`, [.., K]; itself if there is nothing to do.
    pub(crate) fn input(&self, module: &mut Module, x: ValueId, origin: &Origin) -> Result<ValueId, Diagnostic> {
        let shape = module.graph.ty(x).shape.clone();
        let depth = shape.last().and_then(Dim::as_const).and_then(|extent| usize::try_from(extent).ok()).unwrap_or(0);
        if self.divisors.is_none() && !self.rotated {
            return Ok(x);
        }
        let fault = |error| Diagnostic::new("quantise", error).at(origin);
        let factor = |channel: usize| {
            let divisor = self.divisors.as_ref().map_or(1.0, |divisors| divisors[channel]);
            if self.rotated { sign(channel) / divisor } else { 1.0 / divisor }
        };
        let factors: Vec<f32> = (0..depth).map(factor).collect();
        let factors = module.constant("channel_factors", TensorData::from_f32(vec![depth], &factors).map_err(fault)?);
        let scaled = module.add(ops::Mul {}.into(), &[x, factors], origin)?;
        if !self.rotated {
            return Ok(scaled);
        }
        let block = block_of(depth);
        let mut matrix: Vec<f32> =
            (0..block * block).map(|at| if at / block == at % block { 1.0 } else { 0.0 }).collect();
        matrix.chunks_mut(block).for_each(rotate);
        let matrix = TensorData::from_f32(vec![block, block], &matrix).map_err(fault)?;
        let matrix = module.constant("hadamard", matrix);
        let mut cut = shape[..shape.len() - 1].to_vec();
        cut.extend([Dim::from((depth / block) as i64), Dim::from(block as i64)]);
        let blocks = module.add(ops::Reshape { shape: cut }.into(), &[scaled], origin)?;
        let rotated = module.add(ops::MatMul {}.into(), &[blocks, matrix], origin)?;
        module.add(Op::from(ops::Reshape { shape }), &[rotated], origin)
    }
}

/// Divisors for channels whose largest magnitudes are `inputs`, and whose weights' are `weights`: the range of the input
/// to the power `strength`, by that of the weights to the rest.
pub(crate) fn smoothing(inputs: &[f32], weights: &[f32], strength: f32) -> Vec<f32> {
    let divisor = |(input, weight): (&f32, &f32)| {
        let divisor = input.powf(strength) / weight.powf(1.0 - strength);
        // A channel that is always 0, or that nothing reads, may be divided by anything.
        if divisor.is_finite() && *input > 0.0 && *weight > 0.0 { divisor.clamp(1e-4, 1e4) } else { 1.0 }
    };
    inputs.iter().zip(weights).map(divisor).collect()
}

/// Channels of a block, of `depth` in all.
fn block_of(depth: usize) -> usize {
    (1usize << depth.trailing_zeros().min(usize::BITS - 1)).min(BLOCK)
}

/// 1 or -1, at random but always the same: SplitMix64's last bit.
fn sign(channel: usize) -> f32 {
    let mut bits = (channel as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    if (bits ^ (bits >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
}

/// `block`, of a power of two, times the Hadamard matrix of its size over the root of that: symmetric and orthogonal.
fn rotate(block: &mut [f32]) {
    let mut half = 1;
    while half < block.len() {
        for pair in block.chunks_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let norm = (block.len() as f32).sqrt().recip();
    block.iter_mut().for_each(|value| *value *= norm);
}

#[cfg(test)]
mod tests {
    use super::*;
    use drupe_ir::{DType, Type};

    /// Numbers that have nothing to do with each other.
    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + 31) % 1009) as f32 / 100.0 - 5.0).collect()
    }

    #[test]
    fn products_stay_the_same() {
        for depth in [1, 7, 24, 64, 192] {
            let divisors = (0..depth).map(|channel| 0.25 * (1 + channel % 9) as f32).collect();
            let transform = Transform { divisors: Some(divisors), rotated: true };
            let (rows, columns) = (numbers(3 * depth), numbers(5 * depth + 8)[8..].to_vec());
            let products = |rows: &[f32], columns: &[f32]| -> Vec<f32> {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum();
                rows.chunks(depth).flat_map(|row| columns.chunks(depth).map(move |column| dot(row, column))).collect()
            };
            let exact = products(&rows, &columns);
            let (mut changed, mut weights) = (rows.clone(), columns.clone());
            transform.inputs(&mut changed, depth);
            transform.weights(&mut weights, depth);
            assert!(depth < 2 || changed != rows);
            let largest = exact.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            for (exact, got) in exact.iter().zip(products(&changed, &weights)) {
                assert!((exact - got).abs() < 1e-4 * largest, "{depth}: {exact} {got}");
            }
            // The module computes the same.
            let mut module = Module::new("rows");
            let x = module.input("x", Type::new(DType::F32, [3, depth as i64])).expect("a type");
            let y = transform.input(&mut module, x, &Origin::default()).expect("it is a module");
            module.output("y", y);
            let x = TensorData::from_f32(vec![3, depth], &rows).expect("as many");
            let outputs = drupe_eval::eval(&module, &[("x".to_owned(), x)].into_iter().collect()).expect("it runs");
            for (expected, got) in changed.iter().zip(outputs["y"].to_f32().expect("floats")) {
                assert!((expected - got).abs() < 1e-4, "{depth}: {expected} {got}");
            }
        }
    }

    #[test]
    fn a_large_channel_is_spread() {
        let mut row = vec![0.0; 64];
        row[9] = 8.0;
        Transform { divisors: None, rotated: true }.inputs(&mut row, 64);
        assert!(row.iter().all(|value| (value.abs() - 1.0).abs() < 1e-6), "{row:?}");
    }
}
