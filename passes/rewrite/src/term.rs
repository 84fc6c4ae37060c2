//! Right-hand sides of rules: small expressions over classes.

use crate::node::{TensorGraph, add_node};
use crate::pattern::{View, is_commutative};
use drupe_ir::{DType, Dim, Op, ops};
use egg::Id;

/// An expression over classes of the e-graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A class.
    Class(Id),
    /// An operator applied to terms.
    Node(Op, Vec<Term>),
}

impl From<Id> for Term {
    fn from(id: Id) -> Term {
        Term::Class(id)
    }
}

/// `op` applied to one operand.
pub fn unary(op: impl Into<Op>, x: impl Into<Term>) -> Term {
    Term::Node(op.into(), vec![x.into()])
}

/// `op` applied to two operands.
pub fn binary(op: impl Into<Op>, a: impl Into<Term>, b: impl Into<Term>) -> Term {
    Term::Node(op.into(), vec![a.into(), b.into()])
}

/// `a + b`.
pub fn add(a: impl Into<Term>, b: impl Into<Term>) -> Term {
    binary(ops::Add {}, a, b)
}

/// `a * b`.
pub fn mul(a: impl Into<Term>, b: impl Into<Term>) -> Term {
    binary(ops::Mul {}, a, b)
}

/// `x` in another shape.
pub fn reshape(x: impl Into<Term>, shape: Vec<Dim>) -> Term {
    unary(ops::Reshape { shape }, x)
}

/// `x` with its axes permuted.
pub fn transpose(x: impl Into<Term>, perm: Vec<i64>) -> Term {
    unary(ops::Transpose { perm }, x)
}

/// The number `value`, of rank 0.
pub fn number(dtype: DType, value: f64) -> Term {
    Term::Node(ops::Splat { value: value.into(), dtype, shape: Vec::new() }.into(), Vec::new())
}

/// Known extents as dimensions.
pub fn dims(extents: &[i64]) -> Vec<Dim> {
    extents.iter().map(|extent| Dim::from(*extent)).collect()
}

impl Term {
    /// Adds it to `egraph`; `None` if some part has no type.
    pub fn add_to(&self, egraph: &mut TensorGraph) -> Option<Id> {
        match self {
            Term::Class(id) => Some(egraph.find(*id)),
            Term::Node(op, operands) => {
                let operands = operands.iter().map(|term| term.add_to(egraph)).collect::<Option<Vec<Id>>>()?;
                add_node(egraph, op.clone(), operands)
            }
        }
    }
}

/// Whether `class` has a member like `term`, with perhaps other constants of the same types. As both compute the same,
/// the other constants are as good; without this test every order in which constants can be combined would be a
/// member of its own.
pub fn is_known(view: View, class: Id, term: &Term) -> bool {
    if term.is_constant(view) {
        return view.is_constant(class);
    }
    match term {
        Term::Class(id) => view.0.find(*id) == view.0.find(class),
        Term::Node(op, operands) => view.nodes(class).iter().any(|node| {
            let like = |order: &[Id]| order.iter().zip(operands).all(|(id, term)| is_known(view, *id, term));
            node.op == *op
                && node.operands.len() == operands.len()
                && (like(&node.operands) || is_commutative(op) && like(&[node.operands[1], node.operands[0]]))
        }),
    }
}

impl Term {
    fn is_constant(&self, view: View) -> bool {
        match self {
            Term::Class(id) => view.is_constant(view.0.find(*id)),
            Term::Node(Op::Input(_), _) => false,
            Term::Node(_, operands) => operands.iter().all(|operand| operand.is_constant(view)),
        }
    }
}

/// What became of a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Union {
    /// The classes are one now, and were not before.
    New,
    /// They were one already.
    Known,
    /// The term has no type, or another type than the class.
    Refused,
}

/// States that `term` computes what `class` does.
pub fn union(egraph: &mut TensorGraph, class: Id, term: &Term) -> Union {
    let class = egraph.find(class);
    if is_known(View(egraph), class, term) {
        return Union::Known;
    }
    egraph.analysis.origin = egraph[class].data.origin.clone();
    match term.add_to(egraph) {
        Some(id) if egraph[id].data.ty == egraph[class].data.ty => {
            if egraph.union(class, id) {
                Union::New
            } else {
                Union::Known
            }
        }
        _ => Union::Refused,
    }
}
