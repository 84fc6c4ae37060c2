//! Index expressions as sums of loop variables times strides.

use drupe_ir::{BinaryOp, Body, DType, Dim, Scalar, ScalarId};
use std::collections::BTreeMap;

/// A loop variable of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Var {
    /// Of the result's index space.
    Index(usize),
    /// Of the enclosing fold.
    Reduce(usize),
}

/// `constant + sum of coefficient * variable`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Affine {
    /// The coefficients that are not zero.
    pub terms: BTreeMap<Var, Dim>,
    /// The constant.
    pub constant: Option<Dim>,
}

impl Affine {
    /// A constant.
    pub fn constant(value: Dim) -> Affine {
        Affine { terms: BTreeMap::new(), constant: Some(value) }
    }

    /// The constant term.
    pub fn start(&self) -> Dim {
        self.constant.clone().unwrap_or(Dim::from(0))
    }

    /// The coefficient of `var`.
    pub fn coefficient(&self, var: Var) -> Dim {
        self.terms.get(&var).cloned().unwrap_or(Dim::from(0))
    }

    /// The sum of two.
    pub fn plus(&self, other: &Affine) -> Affine {
        let mut sum = self.clone();
        sum.constant = Some(&self.start() + &other.start());
        for (var, coefficient) in &other.terms {
            let new = &sum.coefficient(*var) + coefficient;
            if new.is(0) {
                sum.terms.remove(var)
            } else {
                sum.terms.insert(*var, new)
            };
        }
        sum
    }

    /// Everything times `factor`.
    pub fn times(&self, factor: &Dim) -> Affine {
        if factor.is(0) {
            return Affine::default();
        }
        let terms = self.terms.iter().map(|(var, coefficient)| (*var, coefficient * factor)).collect();
        Affine { terms, constant: Some(&self.start() * factor) }
    }

    /// The i64 expression `id` of `body`, if it is affine in the loop variables.
    pub fn of(body: &Body, id: ScalarId) -> Option<Affine> {
        let var = |var| Affine { terms: BTreeMap::from([(var, Dim::from(1))]), constant: None };
        Some(match body.node(id) {
            Scalar::Int(DType::I64, value) => Affine::constant(Dim::from(*value)),
            Scalar::Dim(dim) => Affine::constant(dim.clone()),
            Scalar::Index(variable) => var(Var::Index(*variable)),
            Scalar::Reduce(variable) => var(Var::Reduce(*variable)),
            Scalar::Binary(op, a, b) => {
                let (a, b) = (Affine::of(body, *a)?, Affine::of(body, *b)?);
                match op {
                    BinaryOp::Add => a.plus(&b),
                    BinaryOp::Sub => a.plus(&b.times(&Dim::from(-1))),
                    BinaryOp::Mul if a.terms.is_empty() => b.times(&a.start()),
                    BinaryOp::Mul if b.terms.is_empty() => a.times(&b.start()),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

/// The greatest common divisor; that of 0 and a number is the number.
pub fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
