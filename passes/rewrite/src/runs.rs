//! What a reshape does to axes: runs of axes that are split and joined.

use drupe_ir::Dim;

/// A run: axes (of an extent other than 1) of the operand, and the axes of the result that they become.
pub struct Run {
    /// Axes of the operand.
    pub from: Vec<usize>,
    /// Axes of the result.
    pub to: Vec<usize>,
}

/// The shortest runs whose extents have equal products, in order.
pub fn runs(from: &[Dim], to: &[Dim]) -> Vec<Run> {
    let solid = |shape: &[Dim]| (0..shape.len()).filter(|axis| !shape[*axis].is(1)).collect::<Vec<usize>>();
    let (from_axes, to_axes) = (solid(from), solid(to));
    let (mut from_at, mut to_at) = (0, 0);
    let mut runs = Vec::new();
    while from_at < from_axes.len() || to_at < to_axes.len() {
        let mut run = Run { from: Vec::new(), to: Vec::new() };
        let (mut from_product, mut to_product) = (Dim::from(1), Dim::from(1));
        while run.from.is_empty() || from_product != to_product {
            let (from_left, to_left) = (from_at < from_axes.len(), to_at < to_axes.len());
            let from_behind = match (&from_product - &to_product).as_const() {
                Some(difference) => difference <= 0,
                // Unknown which is larger: extend the shorter.
                None => run.from.len() <= run.to.len(),
            };
            if from_left && (from_behind || !to_left) {
                from_product = &from_product * &from[from_axes[from_at]];
                run.from.push(from_axes[from_at]);
                from_at += 1;
            } else if to_left {
                to_product = &to_product * &to[to_axes[to_at]];
                run.to.push(to_axes[to_at]);
                to_at += 1;
            } else {
                break;
            }
        }
        runs.push(run);
    }
    runs
}
