//! Left-hand sides of rules: patterns as data, matched modulo commutativity.
//!
//! [`pattern!`] writes them as expressions: names of operators apply, lower-case names bind a class (the same name
//! twice must be the same class), numbers (or, in braces, expressions) match uniform constants up to f32 rounding.
//!
//! ```text
//! pattern!(Mul(x, Sigmoid(x)))
//! pattern!(Mul(0.5, Mul(x, Add(Erf(Mul(x, {FRAC_1_SQRT_2})), 1.0))))
//! ```

use crate::node::{Facts, TensorGraph, TensorNode};
use drupe_ir::{Op, Type};
use egg::Id;

/// Read access to an e-graph, for rules.
#[derive(Clone, Copy)]
pub struct View<'a>(pub &'a TensorGraph);

impl<'a> View<'a> {
    /// What is known of `class`.
    pub fn facts(self, class: Id) -> &'a Facts {
        &self.0[class].data
    }

    /// The type of `class`.
    pub fn ty(self, class: Id) -> &'a Type {
        &self.facts(class).ty
    }

    /// Whether `class` can be folded to a constant.
    pub fn is_constant(self, class: Id) -> bool {
        self.facts(class).constant
    }

    /// The value of every element of `class`, where all are equal and known; not of a constant that differs between
    /// the instances of a repeated block.
    pub fn uniform(self, class: Id) -> Option<f64> {
        self.facts(class).uniform.map(|value| value.get())
    }

    /// Whether every element of `class` is the same number, known or not.
    pub fn is_number(self, class: Id) -> bool {
        let facts = self.facts(class);
        facts.uniform.is_some() || facts.constant && facts.ty.elements().is(1)
    }

    /// The members of `class`, in a fixed order.
    pub fn nodes(self, class: Id) -> &'a [TensorNode] {
        &self.0[class].nodes
    }

    /// The members of `class` that `select` picks something from.
    pub fn find<T>(
        self,
        class: Id,
        select: impl Fn(&'a Op) -> Option<T> + 'a,
    ) -> impl Iterator<Item = (T, &'a [Id])> + 'a {
        self.nodes(class).iter().filter_map(move |node| Some((select(&node.op)?, node.operands.as_slice())))
    }
}

/// What a class must look like.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Anything; the same name stands for the same class.
    Slot(&'static str),
    /// A uniform constant of about this value.
    Number(f64),
    /// An operator applied to what the patterns match; both orders are tried of commutative operators.
    Node(fn(&Op) -> bool, &'static [Pattern]),
}

/// A [`Pattern`], written as an expression; see the module's page.
macro_rules! pattern {
    (@list [$($done:expr,)*]) => { &[$($done,)*] };
    (@list [$($done:expr,)*] $op:ident ($($inner:tt)*) $(, $($rest:tt)*)?) => {
        pattern!(@list [$($done,)* pattern!($op($($inner)*)),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] $slot:ident $(, $($rest:tt)*)?) => {
        pattern!(@list [$($done,)* pattern!($slot),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] $number:literal $(, $($rest:tt)*)?) => {
        pattern!(@list [$($done,)* pattern!($number),] $($($rest)*)?)
    };
    (@list [$($done:expr,)*] { $number:expr } $(, $($rest:tt)*)?) => {
        pattern!(@list [$($done,)* $crate::pattern::Pattern::Number($number),] $($($rest)*)?)
    };
    ($op:ident ($($operands:tt)*)) => {
        $crate::pattern::Pattern::Node(
            |op| matches!(op, drupe_ir::Op::$op(_)),
            pattern!(@list [] $($operands)*),
        )
    };
    ($slot:ident) => { $crate::pattern::Pattern::Slot(stringify!($slot)) };
    ($number:literal) => { $crate::pattern::Pattern::Number($number) };
}
pub(crate) use pattern;

/// What a pattern has matched.
#[derive(Clone, Debug, Default)]
pub struct Match<'a> {
    slots: Vec<(&'static str, Id)>,
    /// The operators matched, in the order in which the pattern names them.
    pub ops: Vec<&'a Op>,
}

impl Match<'_> {
    /// The class bound to `slot`.
    pub fn get(&self, slot: &str) -> Id {
        let bound = self.slots.iter().find(|(name, _)| *name == slot);
        bound.expect("a rule asks only for slots of its own pattern").1
    }
}

/// Whether the operands of `op` may be exchanged.
pub fn is_commutative(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Mul(_) | Op::Min(_) | Op::Max(_) | Op::And(_) | Op::Or(_) | Op::Xor(_) | Op::Eq(_))
}

/// Both orders of two operands.
pub fn both_orders(operands: &[Id]) -> [(Id, Id); 2] {
    [(operands[0], operands[1]), (operands[1], operands[0])]
}

/// Whether two constants differ by f32 rounding at most.
pub fn about(a: f64, b: f64) -> bool {
    a == b || a.is_finite() && b.is_finite() && (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

impl Pattern {
    /// Every way in which `node` matches.
    pub fn matches<'a>(&self, view: View<'a>, node: &'a TensorNode) -> Vec<Match<'a>> {
        match self {
            Pattern::Node(op, _) if op(&node.op) => self.match_node(view, node, Match::default()),
            _ => Vec::new(),
        }
    }

    fn match_node<'a>(&self, view: View<'a>, node: &'a TensorNode, so_far: Match<'a>) -> Vec<Match<'a>> {
        let Pattern::Node(op, patterns) = self else { return Vec::new() };
        if !op(&node.op) || node.operands.len() != patterns.len() {
            return Vec::new();
        }
        let mut start = so_far;
        start.ops.push(&node.op);
        let in_order = |operands: &[Id]| {
            patterns.iter().zip(operands).fold(vec![start.clone()], |found, (pattern, operand)| {
                found.into_iter().flat_map(|so_far| pattern.match_class(view, *operand, so_far)).collect()
            })
        };
        let mut found = in_order(&node.operands);
        if let [a, b] = node.operands[..]
            && a != b
            && is_commutative(&node.op)
        {
            found.extend(in_order(&[b, a]));
        }
        found
    }

    fn match_class<'a>(&self, view: View<'a>, class: Id, mut so_far: Match<'a>) -> Vec<Match<'a>> {
        match self {
            Pattern::Slot(slot) => match so_far.slots.iter().find(|(name, _)| name == slot) {
                Some((_, bound)) if *bound != class => Vec::new(),
                Some(_) => vec![so_far],
                None => {
                    so_far.slots.push((slot, class));
                    vec![so_far]
                }
            },
            Pattern::Number(value) => match view.uniform(class) {
                Some(uniform) if about(uniform, *value) => vec![so_far],
                _ => Vec::new(),
            },
            Pattern::Node(..) => {
                view.nodes(class).iter().flat_map(|node| self.match_node(view, node, so_far.clone())).collect()
            }
        }
    }
}
