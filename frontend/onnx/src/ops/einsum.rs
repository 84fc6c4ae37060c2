//! `Einsum`: every operand is brought to the axes of all its labels, two at a time, by a matrix product.

use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId};
use std::collections::BTreeMap;

/// A label: a letter, or an axis that the ellipsis stands for (counted from the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Broadcast(usize),
    Letter(char),
}

/// A tensor whose axes have these labels, each once.
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

/// `Einsum`.
pub fn einsum(node: &mut Node) -> Result<ValueId> {
    let equation: String = node.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let inputs = node.all_inputs()?;
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != inputs.len() || inputs.is_empty() {
        return Err(node.invalid(format!("{equation:?} for {} operands", inputs.len())));
    }
    let mut terms = Vec::new();
    let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
    for (part, value) in parts.iter().zip(inputs) {
        let labels = labels(node, part, node.rank(value))?;
        for label in &labels {
            *counts.entry(*label).or_default() += 1;
        }
        terms.push(diagonals(node, value, labels)?);
    }
    let broadcasts = counts.keys().filter(|label| matches!(label, Label::Broadcast(_))).count();
    let result = match &right {
        Some(right) => labels(
            node,
            right,
            right.replace("...", "").chars().count() + if right.contains("...") { broadcasts } else { 0 },
        )?,
        // Ellipsis first, then the letters that occur once, in order.
        None => counts
            .iter()
            .filter(|(label, count)| matches!(label, Label::Broadcast(_)) || **count == 1)
            .map(|(label, _)| *label)
            .collect::<Vec<_>>(),
    };
    let result = match right {
        Some(_) => result,
        None => ordered(result),
    };
    if let Some(unknown) = result.iter().find(|label| !counts.contains_key(label)) {
        return Err(node.invalid(format!("{unknown:?} of the result is in no operand of {equation:?}")));
    }
    let mut terms = terms.into_iter();
    let mut all = terms.next().ok_or_else(|| node.invalid("no operands"))?;
    let mut rest: Vec<Term> = terms.collect();
    while !rest.is_empty() {
        let next = rest.remove(0);
        let needed = |label: &Label| result.contains(label) || rest.iter().any(|term| term.labels.contains(label));
        all = contract(node, all, next, &needed)?;
    }
    finished(node, all, &result)
}

/// Ellipsis axes from the outermost on, then letters.
fn ordered(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by_key(|label| match label {
        Label::Broadcast(from_last) => (0, usize::MAX - from_last, ' '),
        Label::Letter(letter) => (1, 0, *letter),
    });
    labels
}

fn labels(node: &Node, part: &str, rank: usize) -> Result<Vec<Label>> {
    let letters = part.replace("...", "");
    let wrong = || node.invalid(format!("{part:?} for a tensor of rank {rank}"));
    if !letters.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(wrong());
    }
    let hidden = rank.checked_sub(letters.len()).ok_or_else(wrong)?;
    let (before, after) = part.split_once("...").unwrap_or((part, ""));
    if hidden > 0 && !part.contains("...") || after.contains("...") {
        return Err(wrong());
    }
    let found = before.chars().map(Label::Letter);
    Ok(found.chain((0..hidden).rev().map(Label::Broadcast)).chain(after.chars().map(Label::Letter)).collect())
}

/// A term without repeated labels: of `ii` the diagonal is taken.
fn diagonals(node: &mut Node, mut value: ValueId, mut labels: Vec<Label>) -> Result<Term> {
    loop {
        let repeated = (0..labels.len()).find_map(|first| {
            let second = labels[first + 1..].iter().position(|label| *label == labels[first])?;
            Some((first, first + 1 + second))
        });
        let Some((first, second)) = repeated else { return Ok(Term { value, labels }) };
        // Everything off the diagonal becomes 0, and one of the axes is summed.
        let (shape, rank) = (node.shape(value), node.rank(value));
        let row = node.index_along(shape[first].clone(), first, rank, DType::I64)?;
        let column = node.index_along(shape[second].clone(), second, rank, DType::I64)?;
        let same = node.equal(row, column)?;
        let zero = node.number_like(value, 0.0);
        let only = node.choose(same, value, zero)?;
        let sum = node.sum_over(only, &[second])?;
        value = node.drop_axes(sum, &[second])?;
        labels.remove(second);
    }
}

/// The term with its axes in the order of `wanted`, axes of extent 1 for labels that it lacks.
fn aligned(node: &mut Node, term: &Term, wanted: &[Label]) -> Result<ValueId> {
    let present: Vec<Label> = wanted.iter().copied().filter(|label| term.labels.contains(label)).collect();
    let position = |label: &Label| term.labels.iter().position(|other| other == label);
    let perm: Vec<usize> = present.iter().filter_map(position).collect();
    let value = node.transpose(term.value, &perm)?;
    let missing: Vec<usize> = (0..wanted.len()).filter(|at| !present.contains(&wanted[*at])).collect();
    node.insert_axes(value, &missing)
}

/// The term summed over every label that `needed` does not want.
fn summed(node: &mut Node, term: Term, needed: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let axes: Vec<usize> = (0..term.labels.len()).filter(|axis| !needed(&term.labels[*axis])).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let sum = node.sum_over(term.value, &axes)?;
    let value = node.drop_axes(sum, &axes)?;
    Ok(Term { value, labels: term.labels.into_iter().filter(|label| needed(label)).collect() })
}

/// Two terms as one: `[batch..., rows] x [batch..., columns]`, summed over what nothing later needs.
fn contract(node: &mut Node, a: Term, b: Term, needed: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let (in_a, in_b) = (a.labels.clone(), b.labels.clone());
    let a = summed(node, a, &|label| needed(label) || in_b.contains(label))?;
    let b = summed(node, b, &|label| needed(label) || in_a.contains(label))?;
    let shared: Vec<Label> = a.labels.iter().copied().filter(|label| b.labels.contains(label)).collect();
    let inner: Vec<Label> = shared.iter().copied().filter(|label| !needed(label)).collect();
    let batch: Vec<Label> = shared.iter().copied().filter(|label| needed(label)).collect();
    let rows: Vec<Label> = a.labels.iter().copied().filter(|label| !shared.contains(label)).collect();
    let columns: Vec<Label> = b.labels.iter().copied().filter(|label| !shared.contains(label)).collect();
    let labels = [batch.as_slice(), &rows, &columns].concat();
    if inner.is_empty() {
        let (left, right) = (aligned(node, &a, &labels)?, aligned(node, &b, &labels)?);
        return Ok(Term { value: node.times(left, right)?, labels });
    }
    let left = aligned(node, &a, &[batch.as_slice(), &rows, &inner].concat())?;
    let right = aligned(node, &b, &[batch.as_slice(), &inner, &columns].concat())?;
    let (left_shape, right_shape) = (node.shape(left), node.shape(right));
    let (batches, in_rows) = left_shape.split_at(batch.len());
    let (row_shape, inner_shape) = in_rows.split_at(rows.len());
    let (right_batches, in_columns) = right_shape.split_at(batch.len());
    let (right_inner, column_shape) = in_columns.split_at(inner.len());
    if inner_shape != right_inner {
        return Err(node.invalid(format!("summed extents {inner_shape:?} and {right_inner:?} differ")));
    }
    let flat = |batches: &[Dim], a: &[Dim], b: &[Dim]| [batches, &[Dim::product(a), Dim::product(b)]].concat();
    let left = node.reshape(left, flat(batches, row_shape, inner_shape))?;
    let right = node.reshape(right, flat(right_batches, inner_shape, column_shape))?;
    let product = node.matmul(left, right)?;
    let outer = node.shape(product)[..batch.len()].to_vec();
    let value = node.reshape(product, [outer.as_slice(), row_shape, column_shape].concat())?;
    Ok(Term { value, labels })
}

/// The term with exactly the labels of the result, in order.
fn finished(node: &mut Node, term: Term, result: &[Label]) -> Result<ValueId> {
    let term = summed(node, term, &|label| result.contains(label))?;
    aligned(node, &term, result)
}
