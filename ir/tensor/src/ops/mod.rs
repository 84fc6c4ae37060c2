//! The operators: one table row and two functions each.
//!
//! A row of [`table`] gives an operator's name, operands and attributes; from it come the struct, its
//! variant of [`Op`], the printer, the parser and the documentation. [`Semantics`] is implemented in the
//! file of the operator's family: `infer` and `body`. To add one: a row, an `impl Semantics`, a filetest.
//!
//! Conventions: axes and permutations are counted from the front and never negative (frontends normalise);
//! element-wise operators broadcast as NumPy does; reductions keep the reduced axes with extent 1;
//! an operator without a bias has none, since an `add` after it is fused by the compiler.

mod attr;
mod contraction;
mod elementwise;
mod indexing;
mod movement;
mod norm;
mod opaque;
mod pool;
mod quantized;
mod reduce;
mod resize;
mod source;
mod table;

pub use attr::{Attr, AttrValue, Keyword};
pub use contraction::Layout;
pub use indexing::Reduction;
pub use movement::PadMode;
pub use quantized::QuantizedOperands;
pub use resize::Interpolation;
pub use table::*;

use crate::{Body, DType, Diagnostic, Dim, Type};

/// What an operator means: its result's type, and its result's elements.
pub trait Semantics {
    /// The type of the result, from the operands' types.
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError>;

    /// What each element of the result is; `None` for operators that are not loop nests (inputs, constants
    /// and the opaque ones, which have one portable implementation each in the interpreter and the runtime).
    /// `result` is what `infer` gave.
    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body>;
}

/// Why an operator cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// A wrong number of operands.
    #[error("takes {expected} operands, {have} given")]
    OperandCount {
        /// What it takes.
        expected: String,
        /// How many there are.
        have: usize,
    },
    /// Shapes that do not fit.
    #[error("{0}")]
    Shape(String),
    /// Two dimensions that are not equal, or not known to be.
    #[error("{what} {left} and {right} {}", if left.as_const().is_some() && right.as_const().is_some() { "differ" } else { "are not known to be equal" })]
    Dims {
        /// What they are, in the plural.
        what: &'static str,
        /// One.
        left: Dim,
        /// The other.
        right: Dim,
    },
    /// An element type that the operator does not take.
    #[error("operand {operand} has element type {dtype}, {expected} expected")]
    DType {
        /// Which operand.
        operand: usize,
        /// Its type.
        dtype: DType,
        /// What it should be.
        expected: &'static str,
    },
    /// A wrong attribute.
    #[error("attribute `{name}`: {why}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// No operator has this name.
    #[error("there is no operator `{0}`")]
    UnknownOp(String),
}

impl OpError {
    /// The error as shown to people: with the operator and its operands' types.
    pub fn diagnostic(&self, op: &Op, operands: &[&Type]) -> Diagnostic {
        let types: Vec<String> = operands.iter().map(|ty| ty.to_string()).collect();
        let diagnostic = Diagnostic::new("shape", format!("{}({}): {self}", op.name(), types.join(", ")));
        match self {
            OpError::Dims { left, right, .. } if left.as_const().is_none() || right.as_const().is_none() => diagnostic
                .help(
                    "give the input's shape, as numbers (`--shape x=1,3,320,320`) or as expressions that settle \
                     it (`--shape x=1,3,32*H,32*W`)",
                ),
            _ => diagnostic,
        }
    }
}

/// An operand of a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its name in documentation and errors.
    pub name: &'static str,
    /// Whether it stands for one or more operands (the last one only).
    pub variadic: bool,
    /// Whether it may be left out (the last one only).
    pub optional: bool,
}

pub(crate) fn expect_rank(ty: &Type, operand: usize, ranks: std::ops::RangeInclusive<usize>) -> Result<(), OpError> {
    if ranks.contains(&ty.rank()) {
        return Ok(());
    }
    let wanted = if ranks.start() == ranks.end() {
        ranks.start().to_string()
    } else {
        format!("{} to {}", ranks.start(), ranks.end())
    };
    Err(OpError::Shape(format!("operand {operand} has rank {}, {wanted} expected", ty.rank())))
}

/// That the first operand is of numbers, which bools are not.
pub(crate) fn expect_number(ty: &Type) -> Result<(), OpError> {
    let number = ty.dtype != DType::Bool;
    if number { Ok(()) } else { Err(OpError::DType { operand: 0, dtype: ty.dtype, expected: "a number" }) }
}

pub(crate) fn expect_axis(name: &str, axis: i64, rank: usize) -> Result<usize, OpError> {
    usize::try_from(axis)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| OpError::Attribute { name: name.into(), why: format!("axis {axis} of a tensor of rank {rank}") })
}

pub(crate) fn attribute(name: &str, why: impl Into<String>) -> OpError {
    OpError::Attribute { name: name.into(), why: why.into() }
}

pub(crate) fn dtypes_of(operands: &[&Type]) -> Vec<DType> {
    operands.iter().map(|ty| ty.dtype).collect()
}

/// The shape that NumPy broadcasting gives.
pub fn broadcast_shapes(operands: &[&Type]) -> Result<Vec<Dim>, OpError> {
    let rank = operands.iter().map(|ty| ty.rank()).max().unwrap_or(0);
    let mut shape = vec![Dim::from(1); rank];
    for ty in operands {
        let skip = rank - ty.rank();
        for (have, dim) in shape[skip..].iter_mut().zip(&ty.shape) {
            if have.is(1) {
                *have = dim.clone();
            } else if !dim.is(1) && dim != have {
                return Err(OpError::Dims { what: "broadcast dimensions", left: have.clone(), right: dim.clone() });
            }
        }
    }
    Ok(shape)
}

/// The index of `operand` (of shape `shape`) that broadcasts to loop variables `0..rank` of `body`.
pub(crate) fn broadcast_index(body: &mut Body, shape: &[Dim], rank: usize) -> Vec<crate::ScalarId> {
    let skip = rank - shape.len();
    (0..shape.len()).map(|axis| if shape[axis].is(1) { body.int(0) } else { body.index(skip + axis) }).collect()
}
