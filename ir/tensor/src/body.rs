//! Operators as loops: an index space, reads, a scalar expression and folds.
//!
//! A [`Body`] says what every element of an operator's result *is*. Everything that needs the meaning of
//! an operator comes from it: the reference evaluation, the cost, fusion, and the lowering to kernel IR for
//! every backend. A matmul of `[m, k]` and `[k, n]`:
//!
//! ```text
//! space [m, n]                              loop variables i0, i1: one result element each
//! f0 = sum over r0 in k of a[i0, r0] * b[r0, i1]
//! value = f0
//! ```
//!
//! and a softmax over the last axis of `[m, n]`, folds that read earlier folds:
//!
//! ```text
//! space [m, n]
//! f0 = max over r0 in n of x[i0, r0]
//! f1 = sum over r0 in n of exp(x[i0, r0] - f0)
//! value = exp(x[i0, i1] - f0) / f1
//! ```
//!
//! Invariants: nodes refer to earlier nodes only (the arena is in topological order and holds no node
//! twice); a fold reads only earlier folds; [`Scalar::Reduce`] appears only under a fold's element;
//! a fold's value depends on exactly the loop variables its element reads, so a fold that reads only `i0` is
//! computed once for all `i1`. The branch of a [`Scalar::Select`] that is not taken is never evaluated:
//! that is how padding guards a read. All index arithmetic is exact i64.

use crate::{DType, Dim, Float};
use indexmap::IndexSet;
use std::collections::BTreeSet;

/// A node of the expression arena of a [`Body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScalarId(u32);

impl ScalarId {
    /// Its position in [`Body::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One scalar operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A number of type `DType` (integers and bools are exact below 2^53; see `Int` for the others).
    Float(DType, Float),
    /// An integer (or bool, as 0 and 1) of type `DType`.
    Int(DType, i64),
    /// A dimension, as i64.
    Dim(Dim),
    /// Loop variable `i` of the result's index space, as i64.
    Index(usize),
    /// Loop variable `r` of the enclosing fold, as i64.
    Reduce(usize),
    /// The value of fold `f`.
    Fold(usize),
    /// The element of operand `operand` at `index` (i64 each, one per dimension, in bounds).
    Load {
        /// Which operand.
        operand: usize,
        /// Where, outermost dimension first.
        index: Vec<ScalarId>,
    },
    /// An operation on one value.
    Unary(UnaryOp, ScalarId),
    /// An operation on two values of one type.
    Binary(BinaryOp, ScalarId, ScalarId),
    /// The second if the first (bool) holds, else the third; the other is not evaluated.
    Select(ScalarId, ScalarId, ScalarId),
    /// Conversion; float to integer rounds towards zero and saturates, anything to bool is `!= 0`.
    Cast(DType, ScalarId),
}

macro_rules! scalar_ops {
    ($(#[$meta:meta])* $type:ident { $($variant:ident $name:literal $doc:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $(#[doc = $doc] $variant,)* }
        impl $type {
            /// Every operation.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];
            /// Its name in printed bodies and kernels.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }
        }
    };
}

scalar_ops! {
    /// Operations on one value; the result has the operand's type unless said otherwise.
    UnaryOp {
        Neg "neg" "`-x`; wraps for integers.",
        Abs "abs" "Absolute value.",
        Not "not" "Logical not of a bool, bitwise not of an integer.",
        Sign "sign" "-1, 0 or 1; NaN of NaN.",
        Floor "floor" "Rounds down.",
        Ceil "ceil" "Rounds up.",
        Round "round" "Rounds to nearest, halves to even.",
        Sqrt "sqrt" "Square root.",
        Exp "exp" "e to the power.",
        Log "log" "Natural logarithm.",
        Sin "sin" "Sine, radians.",
        Cos "cos" "Cosine, radians.",
        Tan "tan" "Tangent, radians.",
        Asin "asin" "Inverse sine.",
        Acos "acos" "Inverse cosine.",
        Atan "atan" "Inverse tangent.",
        Sinh "sinh" "Hyperbolic sine.",
        Cosh "cosh" "Hyperbolic cosine.",
        Tanh "tanh" "Hyperbolic tangent.",
        Asinh "asinh" "Inverse hyperbolic sine.",
        Acosh "acosh" "Inverse hyperbolic cosine.",
        Atanh "atanh" "Inverse hyperbolic tangent.",
        Erf "erf" "The error function.",
        IsNan "is_nan" "Whether it is NaN, a bool.",
        IsInf "is_inf" "Whether it is an infinity, a bool.",
    }
}

scalar_ops! {
    /// Operations on two values of one type; comparisons give bool, all others the operands' type.
    BinaryOp {
        Add "add" "Sum; wraps for integers.",
        Sub "sub" "Difference; wraps for integers.",
        Mul "mul" "Product; wraps for integers.",
        Div "div" "Quotient; integers round towards zero, and division by zero gives 0.",
        FloorDiv "floor_div" "Integer quotient rounded down; division by zero gives 0.",
        Mod "mod" "Remainder of `FloorDiv`, of the divisor's sign; integers only.",
        Rem "rem" "Remainder of `Div`, of the dividend's sign (C's `%` and `fmod`).",
        Pow "pow" "Power; integers by repeated multiplication (0 for negative exponents of |x| > 1).",
        Min "min" "The smaller; NaN if either is.",
        Max "max" "The larger; NaN if either is.",
        And "and" "Logical or bitwise and.",
        Or "or" "Logical or bitwise or.",
        Xor "xor" "Logical or bitwise exclusive or.",
        Shl "shl" "Shift left; integers only.",
        Shr "shr" "Shift right, with sign for signed integers.",
        Eq "eq" "Equal, a bool.",
        Ne "ne" "Not equal, a bool.",
        Lt "lt" "Less, a bool.",
        Le "le" "Less or equal, a bool.",
        Gt "gt" "Greater, a bool.",
        Ge "ge" "Greater or equal, a bool.",
    }
}

impl BinaryOp {
    /// Whether the result is a bool whatever the operands are.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }
}

/// How a fold combines its elements. Every one is associative and commutative (up to rounding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FoldOp {
    /// Sum, from 0.
    Sum,
    /// Product, from 1.
    Prod,
    /// Largest, from the type's lowest value (-inf for floats).
    Max,
    /// Smallest, from the type's highest value.
    Min,
}

impl FoldOp {
    /// The binary operation that combines two values.
    pub fn combine(self) -> BinaryOp {
        match self {
            FoldOp::Sum => BinaryOp::Add,
            FoldOp::Prod => BinaryOp::Mul,
            FoldOp::Max => BinaryOp::Max,
            FoldOp::Min => BinaryOp::Min,
        }
    }

    /// Its name in printed bodies.
    pub fn name(self) -> &'static str {
        match self {
            FoldOp::Sum => "sum",
            FoldOp::Prod => "prod",
            FoldOp::Max => "max",
            FoldOp::Min => "min",
        }
    }

    /// What a fold over nothing gives, as a constant of type `dtype`.
    pub fn identity(self, dtype: DType) -> Scalar {
        let float = dtype.is_float();
        let bits = dtype.bits();
        let (lowest, highest) = match (dtype, dtype.is_signed_int()) {
            (DType::Bool, _) => (0, 1),
            (_, true) => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
            (DType::U64, _) => (0, -1),
            (_, false) => (0, (1i64 << bits.min(62)) - 1),
        };
        match self {
            FoldOp::Sum if float => Scalar::Float(dtype, 0.0.into()),
            FoldOp::Prod if float => Scalar::Float(dtype, 1.0.into()),
            FoldOp::Max if float => Scalar::Float(dtype, f64::NEG_INFINITY.into()),
            FoldOp::Min if float => Scalar::Float(dtype, f64::INFINITY.into()),
            FoldOp::Sum => Scalar::Int(dtype, 0),
            FoldOp::Prod => Scalar::Int(dtype, 1),
            FoldOp::Max => Scalar::Int(dtype, lowest),
            FoldOp::Min => Scalar::Int(dtype, highest),
        }
    }
}

/// A fold of a scalar expression over a reduction space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    /// How elements combine.
    pub op: FoldOp,
    /// The extents of the reduction variables `r0, r1, ...`; a fold over an empty space is the identity.
    pub space: Vec<Dim>,
    /// What is combined.
    pub element: ScalarId,
}

/// What every element of a result is. See the module's page.
#[derive(Clone, Debug)]
pub struct Body {
    /// The extents of the loop variables `i0, i1, ...`: the shape of the result.
    pub space: Vec<Dim>,
    /// Folds, in an order such that each reads only earlier ones.
    pub folds: Vec<Fold>,
    /// The element of the result.
    pub value: ScalarId,
    nodes: IndexSet<Scalar>,
    operand_dtypes: Vec<DType>,
    dtypes: Vec<DType>,
}

impl Body {
    /// An empty body over `space`, reading operands of the given element types; set `value` when built.
    pub fn new(space: Vec<Dim>, operand_dtypes: Vec<DType>) -> Body {
        let (nodes, dtypes) = (IndexSet::new(), Vec::new());
        Body { space, folds: Vec::new(), value: ScalarId(0), nodes, operand_dtypes, dtypes }
    }

    /// Every node, operands before users.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (ScalarId, &Scalar)> {
        self.nodes.iter().enumerate().map(|(index, node)| (ScalarId(index as u32), node))
    }

    /// The node `id`.
    pub fn node(&self, id: ScalarId) -> &Scalar {
        &self.nodes[id.index()]
    }

    /// The type of the value of `id`.
    pub fn dtype(&self, id: ScalarId) -> DType {
        self.dtypes[id.index()]
    }

    /// The element types of the operands.
    pub fn operand_dtypes(&self) -> &[DType] {
        &self.operand_dtypes
    }

    /// Adds an operand of element type `dtype` and gives its number.
    pub fn add_operand(&mut self, dtype: DType) -> usize {
        self.operand_dtypes.push(dtype);
        self.operand_dtypes.len() - 1
    }

    /// Adds `node`, or finds it: equal nodes get equal ids. Folds a few index identities (`x + 0`, `x * 1`,
    /// arithmetic on known integers) so that fused bodies stay small.
    pub fn add(&mut self, node: Scalar) -> ScalarId {
        let node = match self.simplified(node) {
            Ok(id) => return id,
            Err(node) => node,
        };
        let dtype = match &node {
            Scalar::Float(dtype, _) | Scalar::Int(dtype, _) | Scalar::Cast(dtype, _) => *dtype,
            Scalar::Dim(_) | Scalar::Index(_) | Scalar::Reduce(_) => DType::I64,
            Scalar::Fold(fold) => self.dtype(self.folds[*fold].element),
            Scalar::Load { operand, .. } => self.operand_dtypes[*operand],
            Scalar::Unary(UnaryOp::IsNan | UnaryOp::IsInf, _) => DType::Bool,
            Scalar::Binary(op, ..) if op.is_comparison() => DType::Bool,
            Scalar::Unary(_, of) | Scalar::Binary(_, of, _) | Scalar::Select(_, of, _) => self.dtype(*of),
        };
        let (index, new) = self.nodes.insert_full(node);
        if new {
            self.dtypes.push(dtype);
        }
        ScalarId(index as u32)
    }

    fn simplified(&self, node: Scalar) -> Result<ScalarId, Scalar> {
        let known = |id: ScalarId| match self.node(id) {
            Scalar::Int(DType::I64, value) => Some(*value),
            _ => None,
        };
        match node {
            Scalar::Dim(Dim::Const(value)) => Err(Scalar::Int(DType::I64, value)),
            Scalar::Cast(dtype, of) if self.dtype(of) == dtype => Ok(of),
            Scalar::Binary(op, a, b) => match (op, known(a), known(b)) {
                (BinaryOp::Add, Some(a), Some(b)) => Err(Scalar::Int(DType::I64, a.wrapping_add(b))),
                (BinaryOp::Sub, Some(a), Some(b)) => Err(Scalar::Int(DType::I64, a.wrapping_sub(b))),
                (BinaryOp::Mul, Some(a), Some(b)) => Err(Scalar::Int(DType::I64, a.wrapping_mul(b))),
                (BinaryOp::FloorDiv, Some(a), Some(b)) if b > 0 => Err(Scalar::Int(DType::I64, a.div_euclid(b))),
                (BinaryOp::Mod, Some(a), Some(b)) if b > 0 => Err(Scalar::Int(DType::I64, a.rem_euclid(b))),
                (BinaryOp::Add | BinaryOp::Sub, _, Some(0)) => Ok(a),
                (BinaryOp::Add, Some(0), _) => Ok(b),
                (BinaryOp::Mul | BinaryOp::FloorDiv, _, Some(1)) => Ok(a),
                (BinaryOp::Mul, Some(1), _) => Ok(b),
                (BinaryOp::Mul, _, Some(0)) | (BinaryOp::Mod, _, Some(1)) => Err(Scalar::Int(DType::I64, 0)),
                (BinaryOp::Mul, Some(0), _) => Ok(a),
                _ => Err(Scalar::Binary(op, a, b)),
            },
            other => Err(other),
        }
    }

    /// Adds a fold and gives its value.
    pub fn fold(&mut self, op: FoldOp, space: Vec<Dim>, element: ScalarId) -> ScalarId {
        self.folds.push(Fold { op, space, element });
        self.add(Scalar::Fold(self.folds.len() - 1))
    }

    /// Loop variable `i` of the result.
    pub fn index(&mut self, variable: usize) -> ScalarId {
        self.add(Scalar::Index(variable))
    }

    /// Loop variable `r` of the enclosing fold.
    pub fn reduce(&mut self, variable: usize) -> ScalarId {
        self.add(Scalar::Reduce(variable))
    }

    /// An i64 constant.
    pub fn int(&mut self, value: i64) -> ScalarId {
        self.add(Scalar::Int(DType::I64, value))
    }

    /// A dimension as an i64.
    pub fn dim(&mut self, dim: &Dim) -> ScalarId {
        self.add(Scalar::Dim(dim.clone()))
    }

    /// A number of type `dtype`.
    pub fn number(&mut self, dtype: DType, value: f64) -> ScalarId {
        self.add(if dtype.is_float() { Scalar::Float(dtype, value.into()) } else { Scalar::Int(dtype, value as i64) })
    }

    /// A read of an operand.
    pub fn load(&mut self, operand: usize, index: Vec<ScalarId>) -> ScalarId {
        self.add(Scalar::Load { operand, index })
    }

    /// `op(a)`.
    pub fn unary(&mut self, op: UnaryOp, a: ScalarId) -> ScalarId {
        self.add(Scalar::Unary(op, a))
    }

    /// `op(a, b)`.
    pub fn binary(&mut self, op: BinaryOp, a: ScalarId, b: ScalarId) -> ScalarId {
        self.add(Scalar::Binary(op, a, b))
    }

    /// `a` if `condition` else `b`.
    pub fn select(&mut self, condition: ScalarId, a: ScalarId, b: ScalarId) -> ScalarId {
        self.add(Scalar::Select(condition, a, b))
    }

    /// Conversion to `dtype`.
    pub fn cast(&mut self, dtype: DType, a: ScalarId) -> ScalarId {
        self.add(Scalar::Cast(dtype, a))
    }

    /// `low <= index < high` for i64 values.
    pub fn in_range(&mut self, index: ScalarId, low: ScalarId, high: ScalarId) -> ScalarId {
        let above = self.binary(BinaryOp::Ge, index, low);
        let below = self.binary(BinaryOp::Lt, index, high);
        self.binary(BinaryOp::And, above, below)
    }

    /// The nodes `node` reads directly.
    pub fn children(node: &Scalar) -> Vec<ScalarId> {
        match node {
            Scalar::Float(..) | Scalar::Int(..) | Scalar::Dim(_) => Vec::new(),
            Scalar::Index(_) | Scalar::Reduce(_) | Scalar::Fold(_) => Vec::new(),
            Scalar::Load { index, .. } => index.clone(),
            Scalar::Unary(_, a) | Scalar::Cast(_, a) => vec![*a],
            Scalar::Binary(_, a, b) => vec![*a, *b],
            Scalar::Select(c, a, b) => vec![*c, *a, *b],
        }
    }

    /// Every node reachable from `root` (not into folds), in topological order.
    pub fn reachable(&self, root: ScalarId) -> Vec<ScalarId> {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![root]);
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                stack.extend(Body::children(self.node(id)));
            }
        }
        seen.into_iter().collect()
    }

    /// The loop variables of the result that `root` depends on, through folds too.
    pub fn indices_of(&self, root: ScalarId) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for id in self.reachable(root) {
            match self.node(id) {
                Scalar::Index(variable) => {
                    found.insert(*variable);
                }
                Scalar::Fold(fold) => found.extend(self.indices_of(self.folds[*fold].element)),
                _ => {}
            }
        }
        found
    }

    /// Copies the expression `root` of `self` into `into`, replacing each leaf for which `replace` gives a
    /// node of `into` (asked for `Index`, `Reduce`, `Fold`; and for `Load` with its index already copied).
    pub fn copy_into(
        &self,
        root: ScalarId,
        into: &mut Body,
        replace: &mut dyn FnMut(&mut Body, &Scalar) -> Option<ScalarId>,
    ) -> ScalarId {
        let mut copied = std::collections::BTreeMap::new();
        for id in self.reachable(root) {
            let of = |child: &ScalarId| copied[child];
            let node = match self.node(id) {
                Scalar::Load { operand, index } => {
                    Scalar::Load { operand: *operand, index: index.iter().map(of).collect() }
                }
                Scalar::Unary(op, a) => Scalar::Unary(*op, of(a)),
                Scalar::Binary(op, a, b) => Scalar::Binary(*op, of(a), of(b)),
                Scalar::Select(c, a, b) => Scalar::Select(of(c), of(a), of(b)),
                Scalar::Cast(dtype, a) => Scalar::Cast(*dtype, of(a)),
                leaf => leaf.clone(),
            };
            let replaced = match node {
                Scalar::Index(_) | Scalar::Reduce(_) | Scalar::Fold(_) | Scalar::Load { .. } => replace(into, &node),
                _ => None,
            };
            let new = replaced.unwrap_or_else(|| into.add(node));
            copied.insert(id, new);
        }
        copied[&root]
    }
}
