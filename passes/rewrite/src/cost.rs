//! What a node costs on a target: the roofline.
//!
//! Operations come from the operator's [`Body`]: every fold is computed once for the loop variables its element
//! reads. Bytes are the operands read and the result written. A node takes the longer of the two, plus a little for
//! being a node at all. Times are whole picoseconds, so that sums do not depend on their order.

use drupe_ir::{BinaryOp, Body, Dim, Module, Op, Scalar, ScalarId, SymbolRange, Type, UnaryOp};
use drupe_target::Target;
use indexmap::IndexMap;
use std::sync::Arc;

/// Picoseconds.
pub type Cost = u64;

/// What every node that is more than a view costs besides its work.
const NODE: Cost = 100_000;
/// What a view, and a node that is folded at compile time, costs: enough to prefer fewer.
pub const FREE: Cost = 1;

/// No node costs more: a quarter of an hour, so that sums of absurd sizes do not overflow.
const MOST: f64 = 1e15;

/// The roofline of a target, for the nominal extents of a module.
#[derive(Clone, Debug)]
pub struct CostModel {
    flops_per_picosecond: f64,
    bytes_per_picosecond: f64,
    extents: IndexMap<Arc<str>, i64>,
}

impl CostModel {
    /// The model of `target` with the symbols of `module` at nominal values: 1 for a symbol that is the first
    /// extent of an input (a batch), 128 for the others, within their ranges.
    pub fn new(target: &Target, module: &Module) -> CostModel {
        let is_batch = |name: &Arc<str>| {
            module
                .graph
                .inputs()
                .any(|(_, value)| module.graph.ty(value).shape.first().is_some_and(|dim| dim.as_symbol() == Some(name)))
        };
        let nominal = |(name, range): (&Arc<str>, &SymbolRange)| {
            let wanted = if is_batch(name) { 1 } else { 128 };
            (name.clone(), wanted.clamp(range.min, range.max.max(range.min)) as i64)
        };
        CostModel {
            flops_per_picosecond: target.peak_flops() * 1e-12,
            bytes_per_picosecond: target.bandwidth_gb_s * 1e9 * 1e-12,
            extents: module.symbols.iter().map(nominal).collect(),
        }
    }

    /// The nominal value of `dim`: at least 1.
    pub fn extent(&self, dim: &Dim) -> f64 {
        dim.eval(&|name| self.extents.get(name).copied()).map_or(1.0, |value| value.max(1) as f64)
    }

    fn product(&self, dims: &[Dim]) -> f64 {
        dims.iter().map(|dim| self.extent(dim)).product()
    }

    fn bytes(&self, ty: &Type) -> f64 {
        self.product(&ty.shape) * f64::from(ty.dtype.bits()) / 8.0
    }

    /// The time that `op` on `operands` takes; of those that are the same value, all but one are `again`.
    pub fn cost(&self, op: &Op, operands: &[&Type], again: &[bool], result: &Type) -> Cost {
        if matches!(op, Op::Input(_) | Op::Const(_) | Op::Splat(_) | Op::Reshape(_)) {
            return FREE;
        }
        let body = op.body(operands, result);
        let moves = body.as_ref().is_some_and(|body| body.folds.is_empty());
        // Without a fold no element of the result reads more than one element of an operand.
        let most = if moves { self.product(&result.shape) } else { f64::INFINITY };
        let read = |ty: &&Type| self.bytes(ty).min(most * f64::from(ty.dtype.bits()) / 8.0);
        let once = operands.iter().zip(again).filter(|(_, again)| !**again).map(|(ty, _)| ty);
        let bytes: f64 = once.map(read).sum::<f64>() + self.bytes(result);
        let flops = body.map_or(self.product(&result.shape), |body| self.flops(&body));
        let time = (bytes / self.bytes_per_picosecond).max(flops / self.flops_per_picosecond);
        NODE + time.min(MOST) as Cost
    }

    /// The time that all nodes of `module` take that do not depend on constants only.
    pub fn module_cost(&self, module: &Module) -> Cost {
        let mut constant: Vec<bool> = Vec::with_capacity(module.graph.nodes.len());
        let mut total = 0;
        for node in &module.graph.nodes {
            let known = !matches!(node.op, Op::Input(_)) && node.operands.iter().all(|of| constant[of.index()]);
            constant.push(known);
            if !known {
                let types: Vec<&Type> = node.operands.iter().map(|of| module.graph.ty(*of)).collect();
                total += self.cost(&node.op, &types, &again(&node.operands), &node.ty);
            }
        }
        total
    }

    /// Float operations, transcendental ones counted as several.
    pub fn flops(&self, body: &Body) -> f64 {
        let per_element = |root: ScalarId| -> f64 { body.reachable(root).into_iter().map(|id| weight(body, id)).sum() };
        let folds: f64 = (body.folds.iter())
            .map(|fold| {
                let outer: f64 =
                    body.indices_of(fold.element).into_iter().map(|axis| self.extent(&body.space[axis])).product();
                outer * self.product(&fold.space) * (per_element(fold.element) + 1.0 + divided(body, fold.element))
            })
            .sum();
        folds + self.product(&body.space) * per_element(body.value)
    }
}

/// For every operand whether it is an earlier one.
pub fn again<T: PartialEq>(operands: &[T]) -> Vec<bool> {
    (0..operands.len()).map(|at| operands[..at].contains(&operands[at])).collect()
}

/// What the steps of a fold cost besides their operations if they divide to find their operands, as strided transposed
/// convolutions do: such steps do not become vectors.
fn divided(body: &Body, element: ScalarId) -> f64 {
    let steps = |id: ScalarId| body.reachable(id).into_iter().any(|id| matches!(body.node(id), Scalar::Reduce(_)));
    let divides = |id: &ScalarId| {
        matches!(body.node(*id), Scalar::Binary(BinaryOp::FloorDiv | BinaryOp::Mod, ..))
            && !body.dtype(*id).is_float()
            && steps(*id)
    };
    4.0 * body.reachable(element).iter().filter(|id| divides(id)).count() as f64
}

/// Operations that one evaluation of a node takes; index arithmetic is free, see [`divided`].
fn weight(body: &Body, id: ScalarId) -> f64 {
    let is_number = |id: ScalarId| body.dtype(id).is_float();
    match body.node(id) {
        Scalar::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign, _) => 1.0,
        Scalar::Unary(UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round, _) => 1.0,
        Scalar::Unary(_, x) if is_number(*x) => 12.0,
        Scalar::Binary(BinaryOp::Pow | BinaryOp::Rem, x, _) if is_number(*x) => 24.0,
        Scalar::Binary(BinaryOp::Div, x, _) if is_number(*x) => 5.0,
        Scalar::Binary(_, x, _) if is_number(*x) => 1.0,
        Scalar::Cast(..) => 1.0,
        _ => 0.0,
    }
}
