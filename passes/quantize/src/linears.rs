//! Linear layers: products of a computed matrix with a constant one.

use crate::stored::{StoredForm, numbers, stored, stored_form};
use drupe_ir::{DType, Diagnostic, Module, Op, TensorData, ValueId};
use std::collections::BTreeMap;

/// `x`, [.., K], times a constant matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The product, [.., N].
    pub result: ValueId,
    /// What is multiplied, f32 of rank 2 or more.
    pub x: ValueId,
    /// The constant, or the numbers made of constant integers: [N, K], or [K, N] if not `transposed`.
    pub weight: ValueId,
    /// Whether the product reads the constant transposed, as checkpoints store it.
    pub transposed: bool,
    /// Elements of a row of x.
    pub depth: usize,
    /// Elements of a row of the result.
    pub columns: usize,
}

/// Linear layers of one input, in the order of the graph, whose weights are stored alike. They become one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub x: ValueId,
    /// How the model file has their weights, if it has them in integers.
    pub stored: Option<StoredForm>,
    /// The layers; at least one.
    pub linears: Vec<Linear>,
}

impl Group {
    /// Elements of a row of the input.
    pub fn depth(&self) -> usize {
        self.linears.first().map_or(0, |linear| linear.depth)
    }

    /// Elements of a row of all layers' results.
    pub fn columns(&self) -> usize {
        self.linears.iter().map(|linear| linear.columns).sum()
    }
}

/// The linear layers of `module`, those of one input together whose weights are stored alike; groups are in the order of
/// their first layers.
pub fn find_linears(module: &Module) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<(ValueId, Option<StoredForm>), usize> = BTreeMap::new();
    for linear in module.graph.values().filter_map(|value| linear(module, value)) {
        let stored = stored_form(module, linear.weight);
        let at = *known.entry((linear.x, stored.clone())).or_insert_with(|| {
            groups.push(Group { x: linear.x, stored, linears: Vec::new() });
            groups.len() - 1
        });
        groups[at].linears.push(linear);
    }
    groups
}

fn linear(module: &Module, result: ValueId) -> Option<Linear> {
    let graph = &module.graph;
    let node = graph.node(result);
    let (Op::MatMul(_), [x, factor]) = (&node.op, node.operands.as_slice()) else { return None };
    let (weight, transposed) = match &graph.node(*factor).op {
        Op::Transpose(op) if op.perm == [1, 0] => (graph.node(*factor).operands[0], true),
        _ => (*factor, false),
    };
    // Scales of stored integers run along the rows that a transposed product reads.
    let constant = module.constant_of(weight).is_some() || transposed && stored_form(module, weight).is_some();
    let ty = graph.ty(weight);
    let [first, second] = ty.static_shape()?[..] else { return None };
    let (columns, depth) = if transposed { (first, second) } else { (second, first) };
    let float = constant && ty.dtype == DType::F32 && graph.ty(*x).dtype == DType::F32;
    (float && graph.ty(*x).rank() >= 2).then_some(Linear { result, x: *x, weight, transposed, depth, columns })
}

/// The constant `weight` as f32 [N, K].
pub(crate) fn rows_of(module: &Module, weight: ValueId, transposed: bool) -> Result<TensorData, Diagnostic> {
    let fault = || Diagnostic::new("quantise", "weights are a constant matrix of f32");
    if let Some(stored) = stored(module, weight) {
        return numbers(&stored, false);
    }
    let data = module.constant_of(weight).ok_or_else(fault)?;
    let (true, [first, second], Some(numbers)) = (!transposed, data.shape.as_slice(), data.to_f32()) else {
        return Ok(data.clone());
    };
    let turned: Vec<f32> = (0..*second)
        .flat_map(|column| (0..*first).map(move |row| (row, column)))
        .map(|(row, column)| numbers[row * second + column])
        .collect();
    TensorData::from_f32(vec![*second, *first], &turned).map_err(|error| Diagnostic::new("quantise", error))
}
