//! Movement of known elements, reductions, and tensors made from sizes.

use super::{Inputs, arithmetic};
use crate::bounds;
use crate::node::Node;
use crate::numbers::{LIMIT, Number, Numbers};
use drupe_ir::{DType, Dim};

/// An input as known integers.
fn integers(inputs: &Inputs, index: usize) -> Option<Vec<i64>> {
    inputs.get(index)?.as_ref()?.dims()?.iter().map(Dim::as_const).collect()
}

fn extents(inputs: &Inputs, index: usize) -> Option<Vec<usize>> {
    integers(inputs, index)?.into_iter().map(|extent| usize::try_from(extent).ok()).collect()
}

/// Axes from the attribute of old versions or an input; `None` where neither is given.
fn axes(node: &Node, inputs: &Inputs, index: usize, rank: usize) -> Option<Option<Vec<usize>>> {
    let given = match (node.ints("axes"), node.has(index)) {
        (Some(axes), _) => axes.to_vec(),
        (None, true) => integers(inputs, index)?,
        (None, false) => return Some(None),
    };
    node.axes(&given, rank).ok().map(Some)
}

fn reshaped(x: &Numbers, shape: Vec<usize>) -> Option<Numbers> {
    Numbers::new(x.dtype, shape, x.values.clone())
}

/// `Gather`.
pub fn gather(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let axis = node.axis(node.int("axis", 0), x.shape.len()).ok()?;
    let at = inputs.get(1)?.as_ref()?;
    let extent = i64::try_from(x.shape[axis]).ok()?;
    let picks: Vec<i64> = integers(inputs, 1)?.into_iter().map(|at| if at < 0 { at + extent } else { at }).collect();
    let shape = [&x.shape[..axis], &at.shape, &x.shape[axis + 1..]].concat();
    let rank = at.shape.len();
    Numbers::build(x.dtype, shape, |index| {
        let position = index[axis..axis + rank].iter().zip(&at.shape).fold(0, |p, (i, extent)| p * extent + i);
        let pick = usize::try_from(*picks.get(position)?).ok().filter(|pick| *pick < x.shape[axis])?;
        x.at(&[&index[..axis], &[pick], &index[axis + rank..]].concat()).cloned()
    })
}

/// `Slice`, with known starts and ends.
pub fn slice(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let (starts, ends) = match (node.ints("starts"), node.ints("ends")) {
        (Some(starts), Some(ends)) => (starts.to_vec(), ends.to_vec()),
        _ => (integers(inputs, 1)?, integers(inputs, 2)?),
    };
    let axes = match (node.ints("axes"), node.has(3)) {
        (Some(axes), _) => axes.to_vec(),
        (None, true) => integers(inputs, 3)?,
        (None, false) => (0..starts.len() as i64).collect(),
    };
    let steps = if node.has(4) { integers(inputs, 4)? } else { vec![1; starts.len()] };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return None;
    }
    let mut shape = x.shape.clone();
    let mut moves: Vec<(i64, i64)> = vec![(0, 1); shape.len()];
    for (at, axis) in axes.iter().enumerate() {
        let axis = node.axis(*axis, shape.len()).ok()?;
        let (extent, step) = (i64::try_from(x.shape[axis]).ok()?, steps[at]);
        let from_front = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
        let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
        let (start, end) =
            (from_front(starts[at]).clamp(low.max(0), high.max(0)), from_front(ends[at]).clamp(low, high));
        let size = end.checked_sub(start)?.checked_add(step - step.signum())?.checked_div(step)?.max(0);
        shape[axis] = usize::try_from(size).ok()?;
        moves[axis] = (start, step);
    }
    Numbers::build(x.dtype, shape, |index| {
        let from = index.iter().zip(&moves).map(|(i, (start, step))| usize::try_from(start + *i as i64 * step).ok());
        x.at(&from.collect::<Option<Vec<usize>>>()?).cloned()
    })
}

/// `Concat`.
pub fn concat(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let parts: Vec<&Numbers> = inputs.iter().map(|part| part.as_deref()).collect::<Option<_>>()?;
    let first = parts.first()?;
    let axis = node.axis(node.int("axis", 0), first.shape.len()).ok()?;
    let mut shape = first.shape.clone();
    for part in &parts[1..] {
        let fits = |other: usize| other == axis || part.shape.get(other) == shape.get(other);
        if part.dtype != first.dtype || part.shape.len() != shape.len() || !(0..shape.len()).all(fits) {
            return None;
        }
        shape[axis] = shape[axis].checked_add(part.shape[axis])?;
    }
    Numbers::build(first.dtype, shape, |index| {
        let mut index = index.to_vec();
        for part in &parts {
            if index[axis] < part.shape[axis] {
                return part.at(&index).cloned();
            }
            index[axis] -= part.shape[axis];
        }
        None
    })
}

/// `Squeeze`.
pub fn squeeze(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let dropped = match axes(node, inputs, 1, x.shape.len())? {
        Some(axes) if axes.iter().all(|axis| x.shape[*axis] == 1) => axes,
        Some(_) => return None,
        None => (0..x.shape.len()).filter(|axis| x.shape[*axis] == 1).collect(),
    };
    let kept = x.shape.iter().enumerate().filter(|(axis, _)| !dropped.contains(axis)).map(|(_, extent)| *extent);
    reshaped(x, kept.collect())
}

/// `Unsqueeze`.
pub fn unsqueeze(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let count =
        node.ints("axes").map_or_else(|| inputs.get(1)?.as_ref().map(|axes| axes.values.len()), |a| Some(a.len()));
    let axes = axes(node, inputs, 1, x.shape.len() + count?)??;
    let mut shape = x.shape.clone();
    for axis in axes {
        shape.insert(axis.min(shape.len()), 1);
    }
    reshaped(x, shape)
}

/// `Reshape` and `Flatten` to known extents.
pub fn reshape(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    if node.op_type() == "Flatten" {
        let axis = node.axis(node.int("axis", 1), x.shape.len() + 1).ok()?;
        return reshaped(x, vec![x.shape[..axis].iter().product(), x.shape[axis..].iter().product()]);
    }
    let target = match node.ints("shape") {
        Some(shape) => shape.to_vec(),
        None => integers(inputs, 1)?,
    };
    let mut shape = Vec::new();
    let (mut product, mut open) = (1usize, None);
    for (axis, extent) in target.into_iter().enumerate() {
        let extent = match extent {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !node.flag("allowzero", false) => *x.shape.get(axis)?,
            extent => usize::try_from(extent).ok()?,
        };
        product = product.checked_mul(extent)?;
        shape.push(extent);
    }
    if let Some(axis) = open {
        shape[axis] = x.values.len().checked_div(product)?;
    }
    reshaped(x, shape)
}

/// `Transpose`.
pub fn transpose(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let rank = x.shape.len();
    let perm = node.ints("perm").map_or_else(|| (0..rank as i64).rev().collect(), <[i64]>::to_vec);
    let perm: Vec<usize> = perm.iter().map(|axis| node.axis(*axis, rank).ok()).collect::<Option<_>>()?;
    if perm.len() != rank || (0..rank).any(|axis| !perm.contains(&axis)) {
        return None;
    }
    let shape = perm.iter().map(|axis| x.shape[*axis]).collect();
    Numbers::build(x.dtype, shape, |index| {
        let mut from = vec![0; rank];
        for (to, axis) in perm.iter().enumerate() {
            from[*axis] = index[to];
        }
        x.at(&from).cloned()
    })
}

/// `Expand` to known extents.
pub fn expand(_: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let shape = arithmetic::broadcast(&x.shape, &extents(inputs, 1)?)?;
    Numbers::build(x.dtype, shape, |index| x.broadcast_at(index).cloned())
}

/// `Tile` by known numbers.
pub fn tile(_: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let repeats = extents(inputs, 1)?;
    if repeats.len() != x.shape.len() {
        return None;
    }
    let shape: Option<Vec<usize>> = x.shape.iter().zip(&repeats).map(|(extent, by)| extent.checked_mul(*by)).collect();
    Numbers::build(x.dtype, shape?, |index| {
        let index: Vec<usize> = index.iter().zip(&x.shape).map(|(at, extent)| at % extent).collect();
        x.at(&index).cloned()
    })
}

/// `ConstantOfShape` with known extents.
pub fn constant_of_shape(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let shape = extents(inputs, 0)?;
    // Large ones are a splat, not a table.
    let total = shape.iter().try_fold(1usize, |total, extent| total.checked_mul(*extent))?;
    if node.attribute("value").is_some() && node.tensor("value")?.dims.iter().any(|extent| *extent != 1)
        || total > LIMIT
    {
        return None;
    }
    let (dtype, number) = match node.tensor("value") {
        None => (DType::F32, Number::Float(0.0)),
        Some(tensor) => {
            let value = crate::model::TensorReader::new(None).read(tensor).ok()?;
            (value.dtype, Numbers::of(&value)?.values.into_iter().next()?)
        }
    };
    Numbers::build(dtype, shape, |_| Some(number.clone()))
}

/// `Range` of a known number of elements.
pub fn range(_: &Node, inputs: &Inputs) -> Option<Numbers> {
    let [Some(start), Some(limit), Some(delta)] = inputs else { return None };
    let (start_at, step) = (start.dims()?.first()?.clone(), delta.dims()?.first()?.as_const()?);
    let difference = &limit.dims()?.first()?.clone() - &start_at;
    let distance = difference.as_const()?;
    let count = if step == 0 {
        return None;
    } else {
        (i128::from(distance) + i128::from(step - step.signum())) / i128::from(step)
    };
    let count = usize::try_from(count.max(0)).ok().filter(|count| *count <= LIMIT)?;
    let values = (0..count).map(|at| Number::Int(&start_at + &Dim::from(step.saturating_mul(at as i64))));
    Numbers::new(start.dtype, vec![count], values.collect())
}

/// `ReduceSum`, `ReduceProd`, `ReduceMax` and `ReduceMin`.
pub fn reduce(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let rank = x.shape.len();
    let axes = match axes(node, inputs, 1, rank)? {
        Some(axes) if !axes.is_empty() => axes,
        Some(_) | None if node.flag("noop_with_empty_axes", false) => Vec::new(),
        Some(_) | None => (0..rank).collect(),
    };
    let dims = x.dims().filter(|_| x.dtype == DType::I64 && !x.values.is_empty())?;
    let kept: Vec<usize> = (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { x.shape[axis] }).collect();
    let mut results: Vec<Option<Dim>> = vec![None; kept.iter().product()];
    for (position, dim) in dims.iter().enumerate() {
        let (mut rest, mut target, mut stride) = (position, 0, 1);
        for axis in (0..rank).rev() {
            let at = rest % x.shape[axis];
            rest /= x.shape[axis];
            target += if axes.contains(&axis) { 0 } else { at * stride };
            stride *= kept[axis];
        }
        results[target] = Some(match results[target].take() {
            None => dim.clone(),
            Some(value) if value.terms().len() * dim.terms().len() > 1 << 12 => return None,
            Some(value) => match node.op_type() {
                "ReduceSum" => &value + dim,
                "ReduceProd" => &value * dim,
                "ReduceMax" => bounds::larger(&value, dim, node.ranges()),
                _ => bounds::smaller(&value, dim, node.ranges()),
            },
        });
    }
    let values = results.into_iter().map(|dim| dim.map(Number::Int)).collect::<Option<Vec<Number>>>()?;
    let shape = if node.flag("keepdims", true) {
        kept
    } else {
        (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| x.shape[axis]).collect()
    };
    Numbers::new(x.dtype, shape, values)
}
