//! The e-graph: one generic node, and what is known of every class.
//!
//! A [`TensorNode`] is an [`Op`] of the tensor IR applied to classes; there is no second list of operators.
//! [`Facts`] are the legality analysis: rules ask them for types, constness and uniform values. A union of
//! classes of different types is a bug in a rule, and panics; [`crate::term::union`] refuses such unions.

use crate::evaluate;
use drupe_ir::{Float, Module, Op, Origin, TensorData, Type, ops};
use egg::{Analysis, DidMerge, EGraph, Id, Language};
use indexmap::IndexMap;
use std::mem::Discriminant;
use std::sync::Arc;

/// An operator applied to classes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorNode {
    /// What is computed.
    pub op: Op,
    /// From which classes.
    pub operands: Vec<Id>,
}

impl Language for TensorNode {
    type Discriminant = Discriminant<Op>;

    fn discriminant(&self) -> Discriminant<Op> {
        std::mem::discriminant(&self.op)
    }

    fn matches(&self, other: &TensorNode) -> bool {
        self.op == other.op && self.operands.len() == other.operands.len()
    }

    fn children(&self) -> &[Id] {
        &self.operands
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.operands
    }
}

/// The e-graph of a module.
pub type TensorGraph = EGraph<TensorNode, Knowledge>;

/// What is known of every member of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The type.
    pub ty: Arc<Type>,
    /// Whether it is computed from constants only and has a static shape, so that it can be folded.
    pub constant: bool,
    /// The value of every element, where all are equal.
    pub uniform: Option<Float>,
    /// The position in the module of the earliest node that is (or led to) a member, and that node's origin.
    pub origin: (u32, Origin),
}

/// What the analysis needs to know besides the e-graph itself.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The constants of the module that are not too large to look at, and the uniform values among them.
    uniform_constants: IndexMap<Arc<str>, Float>,
    /// The origin that new classes get.
    pub origin: (u32, Origin),
}

impl Knowledge {
    /// Knowledge of the constants of `module`.
    pub fn of(module: &Module) -> Knowledge {
        let uniform = |(name, data): (&Arc<str>, &TensorData)| Some((name.clone(), evaluate::uniform_value(data)?));
        Knowledge { uniform_constants: module.constants.iter().filter_map(uniform).collect(), ..Default::default() }
    }
}

impl Analysis<TensorNode> for Knowledge {
    type Data = Facts;

    fn make(egraph: &mut TensorGraph, node: &TensorNode, _: Id) -> Facts {
        let facts: Vec<&Facts> = node.operands.iter().map(|id| &egraph[*id].data).collect();
        let types: Vec<&Type> = facts.iter().map(|facts| &*facts.ty).collect();
        let ty = node.op.infer(&types).expect("nodes are added through `add_node`, which infers first");
        let constant = facts.iter().all(|facts| facts.constant) && evaluate::is_static(&node.op, &ty);
        let uniform = match &node.op {
            Op::Splat(splat) => Some(splat.value),
            Op::Const(constant) => egraph.analysis.uniform_constants.get(&constant.name).copied(),
            op => {
                let values: Option<Vec<Float>> = facts.iter().map(|facts| facts.uniform).collect();
                values.filter(|values| !values.is_empty()).and_then(|values| uniform_result(op, &types, &ty, &values))
            }
        };
        Facts { ty: Arc::new(ty), constant, uniform, origin: egraph.analysis.origin.clone() }
    }

    /// A constant of equal elements is a splat, so that however it was computed it is one class.
    fn modify(egraph: &mut TensorGraph, class: Id) {
        let facts = &egraph[class].data;
        let Some(value) = facts.uniform.filter(|_| facts.constant && facts.ty.scale.is_none()) else { return };
        let splat = ops::Splat { value, dtype: facts.ty.dtype, shape: facts.ty.shape.clone() };
        let node = TensorNode { op: splat.into(), operands: Vec::new() };
        if !egraph[class].nodes.contains(&node) {
            let splat = egraph.add(node);
            egraph.union(class, splat);
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        assert_eq!(a.ty, b.ty, "a rule has united values of different types");
        let merged = Facts {
            ty: a.ty.clone(),
            constant: a.constant || b.constant,
            uniform: a.uniform.or(b.uniform),
            origin: a.origin.clone().min(b.origin.clone()),
        };
        let changed = |old: &Facts| old.constant != merged.constant || old.uniform != merged.uniform;
        let did = DidMerge(changed(a), changed(&b));
        *a = merged;
        did
    }
}

/// The uniform result of `op` on uniform operands: of operators that only move elements, and of element-wise ones
/// by evaluating them on scalars.
fn uniform_result(op: &Op, types: &[&Type], ty: &Type, values: &[Float]) -> Option<Float> {
    match op {
        Op::Transpose(_) | Op::Reshape(_) | Op::Broadcast(_) | Op::Slice(_) => values.first().copied(),
        _ if is_elementwise(op, types, ty) => {
            let scalar = |(ty, value): (&&Type, &Float)| evaluate::scalar(ty.dtype, value.get());
            let operands: Option<Vec<TensorData>> = types.iter().zip(values).map(scalar).collect();
            evaluate::uniform_value(&evaluate::evaluate(op, &operands?)?)
        }
        _ => None,
    }
}

/// Whether each element of the result depends on just the broadcast elements at the same place: derived from the
/// operator's body.
pub fn is_elementwise(op: &Op, operands: &[&Type], result: &Type) -> bool {
    use drupe_ir::Scalar;
    if operands.is_empty() {
        return false;
    }
    let Some(body) = op.body(operands, result) else { return false };
    let in_place = |operand: usize, index: &[drupe_ir::ScalarId]| {
        let shape = &operands[operand].shape;
        let skip = result.rank() - shape.len().min(result.rank());
        index.iter().enumerate().all(|(axis, at)| match body.node(*at) {
            Scalar::Index(variable) => *variable == skip + axis,
            Scalar::Int(_, 0) => shape[axis].is(1),
            _ => false,
        })
    };
    // An operator that is just a read moves elements: it has attributes that speak of axes.
    let moves = matches!(body.node(body.value), Scalar::Load { .. });
    if moves || !body.folds.is_empty() {
        return false;
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut stack = vec![body.value];
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        match body.node(id) {
            Scalar::Load { operand, index } if in_place(*operand, index) => {}
            // A position that counts as a value makes elements differ (iota, padding).
            Scalar::Load { .. } | Scalar::Index(_) | Scalar::Reduce(_) | Scalar::Fold(_) | Scalar::Dim(_) => {
                return false;
            }
            other => stack.extend(drupe_ir::Body::children(other)),
        }
    }
    true
}

/// Adds `op` applied to `operands` if that has a type.
pub fn add_node(egraph: &mut TensorGraph, op: Op, operands: Vec<Id>) -> Option<Id> {
    let types: Vec<Arc<Type>> = operands.iter().map(|id| egraph[*id].data.ty.clone()).collect();
    let types: Vec<&Type> = types.iter().map(|ty| &**ty).collect();
    op.infer(&types).ok()?;
    Some(egraph.add(TensorNode { op, operands }))
}

/// The e-graph of `module` and the class of each of its nodes.
pub fn from_module(module: &Module) -> (TensorGraph, Vec<Id>) {
    let mut egraph = TensorGraph::new(Knowledge::of(module));
    let mut classes: Vec<Id> = Vec::with_capacity(module.graph.nodes.len());
    for (position, node) in module.graph.nodes.iter().enumerate() {
        egraph.analysis.origin = (position as u32, node.origin.clone());
        let operands = node.operands.iter().map(|operand| classes[operand.index()]).collect();
        classes.push(egraph.add(TensorNode { op: canonical(&node.op), operands }));
    }
    egraph.rebuild();
    (egraph, classes)
}

/// The same operator with attributes that say the same in one way only: windows of convolutions and pools without
/// lists that hold just defaults.
fn canonical(op: &Op) -> Op {
    let all = |list: &[i64], value: i64| list.iter().all(|item| *item == value);
    let clear = |list: &mut Vec<i64>, default: i64| {
        if all(list, default) {
            list.clear();
        }
    };
    let mut op = op.clone();
    match &mut op {
        Op::Conv(ops::Conv { stride, pad_low, pad_high, dilation, .. })
        | Op::ConvTranspose(ops::ConvTranspose { stride, pad_low, pad_high, dilation, .. })
        | Op::MaxPool(ops::MaxPool { stride, pad_low, pad_high, dilation, .. })
        | Op::AvgPool(ops::AvgPool { stride, pad_low, pad_high, dilation, .. }) => {
            clear(stride, 1);
            clear(dilation, 1);
            clear(pad_low, 0);
            clear(pad_high, 0);
        }
        Op::Slice(ops::Slice { step, .. }) => clear(step, 1),
        _ => {}
    }
    op
}
