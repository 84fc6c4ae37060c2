//! Structural re-parameterisation: parallel convolutions whose results are added become one.
//!
//! A sum is taken apart into its terms. Convolutions of the same input with the same stride and groups merge: their
//! weights are padded so that the taps line up, and added. The input itself, or the input times a constant per
//! channel, is a convolution by the unit weight. So the training forms of RepVGG, MobileOne and RepViT become
//! single branches.

use super::channel::{along, extent_along};
use crate::node::TensorNode;
use crate::pattern::{View, both_orders};
use crate::rule::{Rule, search};
use crate::term::{Term, add, binary, dims, mul, number, unary};
use drupe_ir::{DType, Dim, Op, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[search(
    "merge-parallel-convs",
    "conv(x, a) + conv(x, b) + x * c + .. = conv(x, a + b + unit * c) + ..",
    merge_parallel,
    |e| {
        let x = e.input(&[1, 4, 5, 5]);
        let (a, b) = (e.constant(&[4, 2, 3, 3]), e.constant(&[4, 2, 1, 1]));
        let (shift, scale) = (e.constant(&[4, 1, 1]), e.constant(&[4, 1, 1]));
        let wide = ops::Conv {
            stride: vec![],
            pad_low: vec![1, 1],
            pad_high: vec![1, 1],
            dilation: vec![],
            groups: 2,
            layout: ops::Layout::ChannelsFirst,
        };
        let first = e.add(wide.clone(), &[x, a]);
        let first = e.add(ops::Add {}, &[first, shift]);
        let second = e.add(ops::Conv { pad_low: vec![], pad_high: vec![], ..wide }, &[x, b]);
        let scaled = e.add(ops::Mul {}, &[x, scale]);
        let sum = e.add(ops::Add {}, &[first, second]);
        let sum = e.add(ops::Add {}, &[scaled, sum]);
        e.add(ops::Add {}, &[sum, x])
    },
)];

/// The most terms of a sum that are looked at.
const TERMS: usize = 16;

/// The pairs of classes of which `class` is the sum, both ways round.
fn sums<'a>(view: View<'a>, class: Id) -> impl Iterator<Item = (Id, Id)> + 'a {
    view.find(class, |op| matches!(op, Op::Add(_)).then_some(())).flat_map(|(_, operands)| both_orders(operands))
}

/// A term of a sum.
enum Summand<'a> {
    Constant(Id),
    Conv {
        conv: &'a ops::Conv,
        x: Id,
        weight: Id,
    },
    /// The input of a convolution among the terms, as it is or times a constant.
    Scaled {
        x: Id,
        by: Option<Id>,
    },
    Other(Id),
}

/// Takes `class` apart into terms; `inputs` are the inputs of convolutions, which are not taken apart.
fn summands<'a>(view: View<'a>, class: Id, inputs: &[Id], depth: usize, found: &mut Vec<Summand<'a>>) {
    let conv = view.find(class, |op| if let Op::Conv(conv) = op { Some(conv) } else { None }).next();
    if view.is_constant(class) {
        found.push(Summand::Constant(class));
    } else if inputs.contains(&class) {
        found.push(Summand::Scaled { x: class, by: None });
    } else if let Some((conv, operands)) = conv.filter(|(_, operands)| view.is_constant(operands[1])) {
        found.push(Summand::Conv { conv, x: operands[0], weight: operands[1] });
    } else if let Some((x, by)) = scaled_input(view, class, inputs) {
        found.push(Summand::Scaled { x, by: Some(by) });
    } else {
        let mut pairs = sums(view, class).filter(|(a, b)| view.ty(*a) == view.ty(class) || view.is_constant(*b));
        // A sum with a constant first: what is left of it is more likely to merge.
        let pair = sums(view, class)
            .find(|(a, b)| !view.is_constant(*a) && view.is_constant(*b) && view.ty(*a) == view.ty(class))
            .or_else(|| pairs.find(|(_, b)| view.ty(*b) == view.ty(class)));
        match pair {
            Some((a, b)) if depth > 0 && found.len() < TERMS => {
                summands(view, a, inputs, depth - 1, found);
                summands(view, b, inputs, depth - 1, found);
            }
            _ => found.push(Summand::Other(class)),
        }
    }
}

/// `x` and `c` where `class` is `x * c`, `x` is one of `inputs` and `c` constant.
fn scaled_input(view: View, class: Id, inputs: &[Id]) -> Option<(Id, Id)> {
    view.find(class, |op| matches!(op, Op::Mul(_)).then_some(()))
        .flat_map(|(_, operands)| both_orders(operands))
        .find(|(x, c)| inputs.contains(x) && view.is_constant(*c))
}

fn merge_parallel(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Add(_) = node.op else { return Vec::new() };
    let take_apart = |inputs: &[Id]| {
        let mut found = Vec::new();
        for operand in &node.operands {
            summands(view, *operand, inputs, TERMS, &mut found);
        }
        found
    };
    let mut inputs = Vec::new();
    for summand in take_apart(&[]) {
        if let Summand::Conv { x, .. } = summand
            && !inputs.contains(&x)
        {
            inputs.push(x);
        }
    }
    if inputs.is_empty() {
        return Vec::new();
    }
    let all = take_apart(&inputs);
    let mut used = vec![false; all.len()];
    let (mut terms, mut constants, mut merged) = (Vec::new(), Vec::new(), false);
    for first in 0..all.len() {
        if used[first] {
            continue;
        }
        match &all[first] {
            Summand::Constant(constant) => constants.push(Term::Class(*constant)),
            Summand::Other(other) => terms.push(Term::Class(*other)),
            Summand::Scaled { .. } => continue,
            Summand::Conv { conv, x, weight } => {
                let mut branches = vec![Branch::of_conv(view, conv, *weight)];
                for (other, summand) in all.iter().enumerate() {
                    let branch = match summand {
                        _ if other == first || used[other] => None,
                        Summand::Conv { conv: same, x: input, weight } if input == x && fits(conv, same) => {
                            Some(Branch::of_conv(view, same, *weight))
                        }
                        Summand::Scaled { x: input, by } if input == x => {
                            Branch::of_input(view, conv, class, *x, *weight, *by)
                        }
                        _ => None,
                    };
                    if let Some(branch) = branch
                        && branches[0].accepts(&branch)
                    {
                        branches.push(branch);
                        used[other] = true;
                    }
                }
                merged |= branches.len() > 1;
                terms.push(merge(conv, *x, branches));
            }
        }
        used[first] = true;
    }
    if !merged {
        return Vec::new();
    }
    // What no convolution has taken.
    for (summand, used) in all.iter().zip(used) {
        if let Summand::Scaled { x, by } = summand
            && !used
        {
            terms.push(by.map_or((*x).into(), |by| mul(*x, by)));
        }
    }
    let sum = |terms: Vec<Term>| terms.into_iter().reduce(add);
    match (sum(terms), sum(constants)) {
        (Some(terms), Some(constants)) => vec![add(terms, constants)],
        (Some(terms), None) => vec![terms],
        (None, _) => Vec::new(),
    }
}

/// Whether two convolutions of one input may merge, but for their windows.
fn fits(a: &ops::Conv, b: &ops::Conv) -> bool {
    let dense = |conv: &ops::Conv| conv.dilation.iter().all(|dilation| *dilation == 1);
    let stride = |conv: &ops::Conv| conv.stride.iter().any(|stride| *stride != 1).then(|| conv.stride.clone());
    stride(a) == stride(b) && dense(a) && dense(b) && a.groups == b.groups && a.layout == b.layout
}

/// A convolution as a weight whose tap `k` reads the input at `k - low` of its window's origin.
struct Branch {
    weight: Term,
    /// Output channels, and input channels of a group.
    channels: [Dim; 2],
    kernel: Vec<i64>,
    low: Vec<i64>,
    high: Vec<i64>,
}

impl Branch {
    fn of_conv(view: View, conv: &ops::Conv, weight: Id) -> Branch {
        let shape = &view.ty(weight).shape;
        let kernel: Vec<i64> = shape[2..].iter().map(|extent| extent.as_const().unwrap_or(0)).collect();
        let or_zero = |pad: &[i64]| if pad.is_empty() { vec![0; kernel.len()] } else { pad.to_vec() };
        Branch {
            weight: weight.into(),
            channels: [shape[0].clone(), shape[1].clone()],
            low: or_zero(&conv.pad_low),
            high: or_zero(&conv.pad_high),
            kernel,
        }
    }

    /// The input `x` (times `by`) as a branch beside `conv` with its `weight`, where `conv` keeps the shape.
    fn of_input(view: View, conv: &ops::Conv, class: Id, x: Id, weight: Id, by: Option<Id>) -> Option<Branch> {
        let (ty, weight_ty) = (view.ty(x), view.ty(weight));
        let keeps = view.ty(class) == ty && conv.stride.iter().all(|stride| *stride == 1);
        let dense = conv.dilation.iter().all(|dilation| *dilation == 1);
        let (outputs, inputs) = (weight_ty.shape[0].as_const()?, weight_ty.shape[1].as_const()?);
        if !keeps || !dense || outputs != inputs * conv.groups {
            return None;
        }
        let spatial = weight_ty.rank() - 2;
        let shape = [vec![Dim::from(outputs), Dim::from(inputs)], vec![Dim::from(1); spatial]].concat();
        let iota =
            |axis: i64| Term::Node(ops::Iota { dtype: DType::I64, shape: shape.clone(), axis }.into(), Vec::new());
        let in_group = binary(ops::Mod {}, iota(0), number(DType::I64, inputs as f64));
        let unit = unary(ops::Cast { dtype: ty.dtype }, binary(ops::Eq {}, in_group, iota(1)));
        let weight = match by {
            None => unit,
            Some(by) => {
                let extent = extent_along(view, by, ty, conv.layout.channel_axis(ty.rank()))?;
                mul(unit, along(by, extent, 0, weight_ty.rank()))
            }
        };
        let zeros = vec![0; spatial];
        let channels = [Dim::from(outputs), Dim::from(inputs)];
        Some(Branch { weight, channels, kernel: vec![1; spatial], low: zeros.clone(), high: zeros })
    }

    /// Whether the window of `other` has as many positions, so that the sum has this one's shape.
    fn accepts(&self, other: &Branch) -> bool {
        let slack = |branch: &Branch, d: usize| branch.low[d] + branch.high[d] - branch.kernel[d];
        let positive = |branch: &Branch| branch.low.iter().chain(&branch.high).all(|pad| *pad >= 0);
        self.channels == other.channels
            && positive(self)
            && positive(other)
            && (0..self.kernel.len()).all(|d| slack(self, d) == slack(other, d))
    }
}

/// One convolution of `x` for all `branches`.
fn merge(conv: &ops::Conv, x: Id, branches: Vec<Branch>) -> Term {
    let spatial = branches[0].kernel.len();
    let most = |of: fn(&Branch, usize) -> i64| -> Vec<i64> {
        (0..spatial).map(|d| branches.iter().map(|branch| of(branch, d)).max().unwrap_or(0)).collect()
    };
    // Taps before and after the one that reads the window's origin.
    let low = most(|branch, d| branch.low[d]);
    let after = most(|branch, d| branch.kernel[d] - 1 - branch.low[d]);
    let first = &branches[0];
    let high: Vec<i64> =
        (0..spatial).map(|d| first.high[d] + after[d] - (first.kernel[d] - 1 - first.low[d])).collect();
    let mut weights = Vec::new();
    for branch in &branches {
        let mut pad_low = vec![0, 0];
        let mut pad_high = vec![0, 0];
        for d in 0..spatial {
            pad_low.push(low[d] - branch.low[d]);
            pad_high.push(after[d] - (branch.kernel[d] - 1 - branch.low[d]));
        }
        let padded = pad_low.iter().chain(&pad_high).any(|by| *by != 0);
        weights.push(if padded {
            let (mode, value) = (ops::PadMode::Constant, 0.0.into());
            unary(ops::Pad { low: dims(&pad_low), high: dims(&pad_high), mode, value }, branch.weight.clone())
        } else {
            branch.weight.clone()
        });
    }
    let weight = weights.into_iter().reduce(add).expect("at least the first branch");
    let or_empty = |pad: Vec<i64>| if pad.iter().all(|by| *by == 0) { Vec::new() } else { pad };
    let merged = ops::Conv { pad_low: or_empty(low), pad_high: or_empty(high), ..conv.clone() };
    binary(merged, x, weight)
}
