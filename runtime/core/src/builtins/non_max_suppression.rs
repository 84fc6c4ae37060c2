//! ONNX `NonMaxSuppression`: the best-scored boxes that do not overlap better ones.

use super::{Builtin, Call, product, sizes};
use crate::error::BuiltinFault;

/// ONNX `NonMaxSuppression` (opset 11). Sets one symbol, the number n of boxes selected.
///
/// Per batch and class, boxes are taken by falling score (equal scores: lower index first); one is
/// selected if its score is above the score threshold and its intersection over union with every
/// box selected before is at most the IoU threshold.
///
/// Arguments: `boxes` f32 [batches, boxes, 4]; `scores` f32 [batches, classes, boxes]; `selected`
/// i64 [n, 3] of batch, class, box, with room for the largest n. Integers: center_point_box (0:
/// two opposite corners y, x, y, x; 1: centre x, centre y, width, height). Floats: IoU threshold,
/// score threshold (minus infinity for none). Dimensions: batches, classes, boxes, most boxes
/// selected per class.
pub(super) const BUILTIN: Builtin = Builtin {
    name: "non_max_suppression",
    args: &[false, false, true],
    ints: 1,
    floats: 2,
    dims: Some(4),
    sets: 1,
    run,
};

fn run(call: &mut Call) -> Result<(), BuiltinFault> {
    let centered = call.ints[0] != 0;
    let (iou_threshold, score_threshold) = (call.floats[0] as f32, call.floats[1] as f32);
    let [batches, classes, boxes, most] = sizes(call.dims)?;
    let boxes_len = product(&[batches, boxes, 16])?;
    let scores_len = product(&[batches, classes, boxes, 4])?;
    let [box_bytes, score_bytes, selected] = &mut call.args[..] else {
        return Err(BuiltinFault::Access { index: 0 });
    };
    let (box_numbers, _) = box_bytes.read(0, boxes_len)?.as_chunks::<4>();
    let (score_numbers, _) = score_bytes.read(1, scores_len)?.as_chunks::<4>();
    let corners: Vec<Corners> = box_numbers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|numbers| Corners::new(numbers.map(f32::from_le_bytes), centered))
        .collect();
    let mut count = 0;
    let mut order: Vec<(f32, usize)> = Vec::new();
    let mut kept: Vec<Corners> = Vec::new();
    for (batch, class) in (0..batches).flat_map(|batch| (0..classes).map(move |class| (batch, class))) {
        let lane = (batch * classes + class) * boxes;
        let scores = score_numbers[lane..lane + boxes].iter().map(|&number| f32::from_le_bytes(number));
        order.clear();
        order.extend(scores.zip(0..).filter(|(score, _)| *score > score_threshold));
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        kept.clear();
        for &(_, index) in &order {
            if kept.len() == most {
                break;
            }
            let candidate = corners[batch * boxes + index];
            if kept.iter().any(|better| better.overlaps(&candidate, iou_threshold)) {
                continue;
            }
            kept.push(candidate);
            let row = selected.write(2, (count + 1) * 24)?;
            for (column, number) in [batch, class, index].into_iter().enumerate() {
                let to = count * 24 + column * 8;
                row[to..to + 8].copy_from_slice(&(number as i64).to_le_bytes());
            }
            count += 1;
        }
    }
    call.sets[0] = count as i64;
    Ok(())
}

/// A box by its lower and upper corner.
#[derive(Clone, Copy)]
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    fn new([a, b, c, d]: [f32; 4], centered: bool) -> Corners {
        if centered {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            return Corners { low: [b - half_height, a - half_width], high: [b + half_height, a + half_width] };
        }
        Corners { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union is above the threshold; empty boxes overlap nothing.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let side = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let intersection = side(0).max(0.0) * side(1).max(0.0);
        let union = self.area() + other.area() - intersection;
        intersection > 0.0 && self.area() > 0.0 && other.area() > 0.0 && intersection / union > threshold
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, f32_bytes, i64_values};
    use super::*;

    const CORNERS: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0, 10.1, 1.0, 11.1, 0.0,
        100.0, 1.0, 101.0,
    ];
    const SCORES: [f32; 6] = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];

    fn select(boxes: &[f32], centered: i64, score_threshold: f64, most: i64) -> Vec<i64> {
        let mut out = vec![0; 6 * 24];
        let attributes = (&[centered][..], &[0.5, score_threshold][..], &[1, 1, 6, most][..]);
        let inputs = [&f32_bytes(boxes)[..], &f32_bytes(&SCORES)[..]];
        let sets = call(&BUILTIN, attributes, &inputs, &mut [&mut out]).expect("valid");
        i64_values(&out[..sets[0] as usize * 24]).chunks(3).map(|row| row[2]).collect()
    }

    /// The examples of the ONNX operator's documentation.
    #[test]
    fn onnx_examples() {
        assert_eq!(select(&CORNERS, 0, 0.0, 3), [3, 0, 5]);
        assert_eq!(select(&CORNERS, 0, 0.4, 3), [3, 0]);
        assert_eq!(select(&CORNERS, 0, 0.0, 2), [3, 0]);
        let centers: Vec<f32> = CORNERS
            .chunks(4)
            .flat_map(|corner| [(corner[1] + corner[3]) / 2.0, (corner[0] + corner[2]) / 2.0, 1.0, 1.0])
            .collect();
        assert_eq!(select(&centers, 1, 0.0, 3), [3, 0, 5]);
    }

    #[test]
    fn flipped_corners_are_the_same_box() {
        let flipped: Vec<f32> = CORNERS.chunks(4).flat_map(|c| [c[2], c[3], c[0], c[1]]).collect();
        assert_eq!(select(&flipped, 0, 0.0, 3), [3, 0, 5]);
    }

    #[test]
    fn none_allowed_none_selected() {
        assert_eq!(select(&CORNERS, 0, 0.0, 0), [0; 0]);
    }
}
