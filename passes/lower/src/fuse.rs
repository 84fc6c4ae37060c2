//! Fusion: which values get memory, and what one kernel computes.
//!
//! Every value of the graph is given a [`Role`]. A *kernel* value is the result of a region: its own operator,
//! and everything *inlined* into it, composed into one [`Body`]. Views need no code: they are another way to
//! read somebody's bytes. The choices, in the order of the graph:
//!
//! - a map (an operator without folds) takes over the one contraction, reduction or norm whose only user it
//!   is, when it reads it element by element (in any order of axes): that is the epilogue;
//! - a map with one user is inlined into it, unless elements would be computed more than once;
//! - floats of 16 bits, and integers with scales, that only contractions read as f32 are widened where they are loaded;
//! - transposes, slices, broadcasts and reshapes of memory are views.
//!
//! Invariant: an inlined value has one user, or is cheap and reads no memory (numbers, positions, comparisons of
//! these), or is what its operand has in memory, widened; so nothing that costs is computed twice; regions run in the order of their results.

use drupe_ir::{BinaryOp, Body, DType, Graph, Module, Op, Scalar, ScalarId, UnaryOp, ValueId, ops};
use std::collections::BTreeMap;

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing needs it.
    Dead,
    /// An input or a constant: it has memory before anything runs.
    Source,
    /// The result of a region.
    Kernel,
    /// Computed inside its user's region.
    Inlined,
    /// Another way to read its operand's memory.
    View,
    /// Made of its operands' memory side by side.
    Concat,
    /// Computed by the runtime's portable implementation.
    Builtin,
}

/// A kernel's work: a body over values that have memory.
#[derive(Clone, Debug)]
pub struct Region {
    /// The value it computes.
    pub result: ValueId,
    /// What each element is; operand numbers are positions in `operands`.
    pub body: Body,
    /// The values it reads.
    pub operands: Vec<ValueId>,
}

/// The role of every value of `module`, by number. With `observe` nothing is inlined and nothing is a view.
pub fn assign_roles(module: &Module, observe: bool) -> Vec<Role> {
    let graph = &module.graph;
    let (live, users) = (graph.live(), graph.users());
    let is_output = |value: ValueId| graph.outputs.values().any(|output| *output == value);
    let mut roles = vec![Role::Dead; graph.nodes.len()];
    // For a kernel value: whether its region computes folds; it may end in an epilogue.
    let mut folds = vec![false; graph.nodes.len()];
    // And whether those are of a quantized product, which stores its columns side by side.
    let mut quantized = vec![false; graph.nodes.len()];
    // What is made of positions and sizes alone: each reader counts it itself.
    let mut counted = vec![false; graph.nodes.len()];
    // Inputs have memory whether anything reads them or not.
    let needed = |value: &ValueId| live[value.index()] || matches!(graph.node(*value).op, Op::Input(_));
    for value in graph.values().filter(needed) {
        let node = graph.node(value);
        let at = value.index();
        roles[at] = match &node.op {
            Op::Input(_) | Op::Const(_) => Role::Source,
            Op::Splat(_) | Op::Iota(_) if !is_output(value) && !observe => Role::Inlined,
            Op::Concat(_) if !observe => Role::Concat,
            _ => match body_of(graph, value) {
                None => Role::Builtin,
                Some(body) => {
                    folds[at] = !body.folds.is_empty();
                    quantized[at] = matches!(node.op, Op::QuantizedLinear(_) | Op::WeightQuantizedLinear(_));
                    Role::Kernel
                }
            },
        };
        counted[at] = !observe && !is_output(value) && is_counted(graph, value, &counted);
        if counted[at] {
            roles[at] = Role::Inlined;
        }
        if roles[at] != Role::Kernel || observe {
            continue;
        }
        if matches!(node.op, Op::Reshape(_)) {
            roles[at] = Role::View;
            continue;
        }
        let body = body_of(graph, value).expect("kernel values have bodies");
        let takes_host = body.folds.is_empty();
        let only_user = |operand: ValueId| users[operand.index()].len() == 1 && !is_output(operand);
        // The latest fold whose only user this is becomes the host of the epilogue.
        let mut hosts: Vec<ValueId> = node.operands.clone();
        hosts.retain(|operand| takes_host && roles[operand.index()] == Role::Kernel && folds[operand.index()]);
        hosts.retain(|operand| only_user(*operand) && reads_each_element_once(graph, &body, value, *operand));
        hosts.retain(|operand| !(quantized[operand.index()] && matches!(node.op, Op::Transpose(_))));
        if let Some(host) = hosts.iter().max() {
            roles[host.index()] = Role::Inlined;
            folds[at] = true;
            quantized[at] = quantized[host.index()];
        }
        for operand in &node.operands {
            let at_operand = operand.index();
            let cheap = cost(graph, *operand) <= 4;
            let inlinable = roles[at_operand] == Role::Kernel
                && !folds[at_operand]
                && only_user(*operand)
                && !matches!(graph.node(*operand).op, Op::Pad(_))
                && !reads_by_data(graph, *operand);
            let multiplied = graph.ty(*operand).elements() != graph.ty(value).elements() || !takes_host;
            if inlinable && !is_contraction(&body) && (!multiplied || cheap && body.folds.len() <= 1) {
                roles[at_operand] = Role::Inlined;
            }
        }
        for operand in &node.operands {
            let in_memory = |narrow: &ValueId| roles[narrow.index()] != Role::Inlined;
            let widened = roles[operand.index()] == Role::Kernel
                && !is_output(*operand)
                && is_widened(graph, *operand)
                && graph.node(*operand).operands.iter().all(in_memory)
                && users[operand.index()].iter().all(|user| is_factor(graph, *operand, *user));
            if widened {
                roles[operand.index()] = Role::Inlined;
            }
        }
        if is_view(&node.op) && hosts.is_empty() && roles[node.operands[0].index()] != Role::Inlined {
            roles[at] = Role::View;
        }
    }
    // The caller gets dense tensors, and so do the runtime's implementations: what is not dense is copied.
    for output in graph.outputs.values() {
        let role = &mut roles[output.index()];
        if *role == Role::View {
            *role = Role::Kernel;
        }
    }
    for value in graph.values() {
        let reader = roles[value.index()];
        for operand in &graph.node(value).operands {
            let role = &mut roles[operand.index()];
            // A reshape is dense, or copied where it is placed.
            let sparse = *role == Role::View && !matches!(graph.node(*operand).op, Op::Reshape(_));
            match reader {
                // What is read as memory has memory, be it one number everywhere.
                Role::View | Role::Concat | Role::Builtin if *role == Role::Inlined => *role = Role::Kernel,
                Role::Builtin if sparse => *role = Role::Kernel,
                _ => {}
            }
        }
    }
    roles
}

/// Whether `value` is a cheap map of values that are `counted`, or of none.
fn is_counted(graph: &Graph, value: ValueId, counted: &[bool]) -> bool {
    let node = graph.node(value);
    let map = !matches!(node.op, Op::Input(_) | Op::Const(_) | Op::Concat(_) | Op::Pad(_));
    map && node.operands.iter().all(|operand| counted[operand.index()])
        && body_of(graph, value).is_some_and(|body| body.folds.is_empty())
        && cost(graph, value) <= 1
        && !reads_by_data(graph, value)
}

/// Whether `value` is floats of 16 bits as f32, or integers times their scales.
fn is_widened(graph: &Graph, value: ValueId) -> bool {
    let node = graph.node(value);
    let half = |operand: &ValueId| matches!(graph.ty(*operand).dtype, DType::F16 | DType::Bf16);
    match node.op {
        Op::Cast(ops::Cast { dtype: DType::F32 }) => node.operands.iter().all(half),
        Op::Dequantize(_) => true,
        _ => false,
    }
}

/// Whether all that `user` does with elements of `value` is to sum products of them.
fn is_factor(graph: &Graph, value: ValueId, user: ValueId) -> bool {
    let Some(body) = body_of(graph, user).filter(is_contraction) else { return false };
    let Scalar::Binary(_, a, b) = *body.node(body.folds[0].element) else { return false };
    let operands = &graph.node(user).operands;
    let reads = |id: ScalarId| matches!(body.node(id), Scalar::Load { operand, .. } if operands[*operand] == value);
    body.nodes().all(|(id, _)| !reads(id) || id == a || id == b)
}

fn is_view(op: &Op) -> bool {
    matches!(op, Op::Transpose(_) | Op::Slice(_) | Op::Broadcast(_) | Op::Reshape(_))
}

/// The body of `value`'s own operator.
pub fn body_of(graph: &Graph, value: ValueId) -> Option<Body> {
    let node = graph.node(value);
    let types: Vec<_> = node.operands.iter().map(|operand| graph.ty(*operand)).collect();
    node.op.body(&types, &node.ty)
}

/// Whether the body's one fold is a sum of products.
pub fn is_contraction(body: &Body) -> bool {
    match body.folds.as_slice() {
        [fold] => {
            fold.op == drupe_ir::FoldOp::Sum && matches!(body.node(fold.element), Scalar::Binary(BinaryOp::Mul, ..))
        }
        _ => false,
    }
}

/// Whether every read of `operand` by `body` is at a permutation of all loop variables.
fn reads_each_element_once(graph: &Graph, body: &Body, value: ValueId, operand: ValueId) -> bool {
    let (from, to) = (graph.ty(operand), graph.ty(value));
    if from.rank() != to.rank() || from.elements() != to.elements() {
        return false;
    }
    let numbers: Vec<usize> =
        (0..graph.node(value).operands.len()).filter(|n| graph.node(value).operands[*n] == operand).collect();
    let mut seen: Option<Vec<ScalarId>> = None;
    for (_, node) in body.nodes() {
        let Scalar::Load { operand, index } = node else { continue };
        if !numbers.contains(operand) {
            continue;
        }
        let mut variables = Vec::new();
        for (axis, id) in index.iter().enumerate() {
            match body.node(*id) {
                Scalar::Index(variable) => variables.push(*variable),
                // An axis of extent 1 is read at 0.
                Scalar::Int(DType::I64, 0) if from.shape[axis].is(1) => {}
                _ => return false,
            }
        }
        let distinct = variables.iter().collect::<std::collections::BTreeSet<_>>().len() == variables.len();
        if !distinct || seen.as_ref().is_some_and(|seen| seen != index) {
            return false;
        }
        seen = Some(index.clone());
    }
    // Unused variables must have extent 1, which equal element counts imply.
    seen.is_some()
}

/// Whether the value reads at positions that come from data or from divisions: better done once than inside another loop.
fn reads_by_data(graph: &Graph, value: ValueId) -> bool {
    let Some(body) = body_of(graph, value) else { return true };
    body.nodes().any(|(_, node)| match node {
        Scalar::Load { index, .. } => index.iter().any(|id| {
            body.reachable(*id).iter().any(|id| {
                matches!(body.node(*id), Scalar::Load { .. } | Scalar::Binary(BinaryOp::Mod | BinaryOp::FloorDiv, ..))
            })
        }),
        _ => false,
    })
}

/// Roughly the instructions one element costs.
fn cost(graph: &Graph, value: ValueId) -> usize {
    let Some(body) = body_of(graph, value) else { return usize::MAX };
    let price = |node: &Scalar| match node {
        Scalar::Unary(UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not, _) => 1,
        Scalar::Unary(..) => 16,
        Scalar::Binary(BinaryOp::Div | BinaryOp::Pow | BinaryOp::Rem, ..) => 8,
        Scalar::Binary(_, a, _) if body.dtype(*a) != DType::I64 => 1,
        _ => 0,
    };
    body.reachable(body.value).into_iter().map(|id| price(body.node(id))).sum()
}

/// The region that computes `result`: its operator with everything inlined.
pub fn compose(module: &Module, roles: &[Role], result: ValueId) -> Region {
    let graph = &module.graph;
    let mut region =
        Region { result, body: Body::new(graph.ty(result).shape.clone(), Vec::new()), operands: Vec::new() };
    let index = (0..graph.ty(result).rank()).map(|variable| region.body.index(variable)).collect();
    let mut done = BTreeMap::new();
    let mut body = std::mem::replace(&mut region.body, Body::new(Vec::new(), Vec::new()));
    body.value = inline(graph, roles, result, index, &mut body, &mut region.operands, &mut done);
    region.body = body;
    region
}

/// Adds the element of `value` at `index` to `into`.
fn inline(
    graph: &Graph,
    roles: &[Role],
    value: ValueId,
    index: Vec<ScalarId>,
    into: &mut Body,
    operands: &mut Vec<ValueId>,
    done: &mut BTreeMap<(ValueId, Vec<ScalarId>), ScalarId>,
) -> ScalarId {
    let key = (value, index.clone());
    if let Some(id) = done.get(&key) {
        return *id;
    }
    let own = body_of(graph, value).expect("only operators with bodies are inlined");
    let node = graph.node(value);
    let mut fold_values = Vec::new();
    let mut copy = |root: ScalarId, into: &mut Body, fold_values: &[ScalarId]| {
        own.copy_into(root, into, &mut |into, leaf| match leaf {
            Scalar::Index(variable) => Some(index[*variable]),
            Scalar::Fold(fold) => Some(fold_values[*fold]),
            Scalar::Load { operand, index } => {
                let read = node.operands[*operand];
                if roles[read.index()] == Role::Inlined {
                    return Some(inline(graph, roles, read, index.clone(), into, operands, done));
                }
                let number = operands.iter().position(|other| *other == read).unwrap_or_else(|| {
                    operands.push(read);
                    into.add_operand(graph.ty(read).dtype)
                });
                Some(into.load(number, index.clone()))
            }
            _ => None,
        })
    };
    for fold in &own.folds {
        let element = copy(fold.element, into, &fold_values);
        fold_values.push(into.fold(fold.op, fold.space.clone(), element));
    }
    let id = copy(own.value, into, &fold_values);
    done.insert(key, id);
    id
}
