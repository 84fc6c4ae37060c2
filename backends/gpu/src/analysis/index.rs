//! What offsets are known to be: numbers, multiples of powers of two, not negative.

use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Inst, Kernel, Value};

/// What is known of an integer, in every lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// The number it is.
    pub known: Option<i64>,
    /// It is a multiple of 2 to this.
    pub factor: u32,
    /// It is 0 or more.
    pub positive: bool,
}

/// What is said of 0, a multiple of everything.
const MOST: u32 = 31;

impl Index {
    /// What is known of a number.
    pub fn number(value: i64) -> Index {
        Index { known: Some(value), factor: value.trailing_zeros().min(MOST), positive: value >= 0 }
    }

    /// Whether it is a multiple of `number`, a power of two.
    pub fn is_multiple_of(self, number: usize) -> bool {
        self.factor >= number.trailing_zeros()
    }

    fn either(self, other: Index) -> Index {
        let known = self.known.filter(|known| other.known == Some(*known));
        Index { known, factor: self.factor.min(other.factor), positive: self.positive && other.positive }
    }
}

/// By value.
pub(super) fn indices(kernel: &Kernel) -> Vec<Index> {
    let mut known = vec![Index::default(); kernel.types.len()];
    let count = Index { positive: true, ..Index::default() };
    known[kernel.task.0 as usize] = count;
    kernel.body.visit(&mut |inst| {
        let of = |value: &Value| known[value.0 as usize];
        let (out, index) = match inst {
            Inst::Int { out, value } if kernel.ty(*out).dtype != DType::Bool => {
                (out, Index::number(wrapped(kernel.ty(*out).dtype, *value)))
            }
            Inst::Dim { out, .. }
            | Inst::Invocation { out }
            | Inst::Subgroup { out }
            | Inst::Subgroups { out }
            | Inst::Iota { out } => (out, count),
            Inst::Binary { out, op, a, b } if kernel.ty(*a).dtype == DType::I64 => (out, binary(*op, of(a), of(b))),
            Inst::Fma { out, a, b, c } if kernel.ty(*a).dtype == DType::I64 => {
                (out, binary(BinaryOp::Add, binary(BinaryOp::Mul, of(a), of(b)), of(c)))
            }
            Inst::Select { out, a, b, .. } => (out, of(a).either(of(b))),
            Inst::Splat { out, a } | Inst::Extract { out, a, .. } => (out, of(a)),
            Inst::For(inner) => {
                let (low, step) = (of(&inner.low), Index::number(inner.step));
                (&inner.index, Index { known: None, ..low.either(step) })
            }
            Inst::Int { .. }
            | Inst::Binary { .. }
            | Inst::Fma { .. }
            | Inst::Dot { .. }
            | Inst::DotPairs { .. }
            | Inst::Float { .. }
            | Inst::Unary { .. }
            | Inst::Cast { .. }
            | Inst::Bitcast { .. }
            | Inst::Reduce { .. }
            | Inst::Shuffle { .. }
            | Inst::Load { .. }
            | Inst::Store { .. }
            | Inst::Prefetch { .. }
            | Inst::Barrier
            | Inst::Across { .. }
            | Inst::Tile { .. }
            | Inst::If { .. } => return,
        };
        known[out.0 as usize] = index;
    });
    known
}

/// An integer constant as its type holds it.
pub(crate) fn wrapped(dtype: DType, value: i64) -> i64 {
    match dtype {
        DType::Bool => i64::from(value != 0),
        DType::I8 => i64::from(value as i8),
        DType::U8 => i64::from(value as u8),
        DType::I16 => i64::from(value as i16),
        DType::U16 => i64::from(value as u16),
        DType::I32 => i64::from(value as i32),
        DType::U32 => i64::from(value as u32),
        DType::I4 | DType::U4 | DType::F16 | DType::Bf16 | DType::F32 | DType::F64 | DType::I64 | DType::U64 => value,
    }
}

fn binary(op: BinaryOp, a: Index, b: Index) -> Index {
    use BinaryOp::*;
    let both = a.positive && b.positive;
    let least = a.factor.min(b.factor);
    let power = b.known.filter(|b| *b > 0 && b.count_ones() == 1).map(i64::trailing_zeros);
    let (factor, positive) = match op {
        Add | Or | Xor => (least, both),
        Sub => (least, false),
        Min => (least, both),
        Max => (least, a.positive || b.positive),
        Mul => ((a.factor + b.factor).min(MOST), both),
        Div | FloorDiv => (power.map_or(0, |power| a.factor.saturating_sub(power)), both),
        Mod => (least, b.positive),
        Rem => (least, a.positive),
        And => (a.factor.max(b.factor), a.positive || b.positive),
        Shl => match b.known {
            Some(by @ 0..=31) => ((a.factor + by as u32).min(MOST), a.positive),
            Some(_) | None => (a.factor, false),
        },
        Shr => (0, a.positive),
        Pow | Eq | Ne | Lt | Le | Gt | Ge => (0, false),
    };
    Index { known: None, factor, positive }
}

#[cfg(test)]
mod tests {
    use super::{Index, binary};
    use drupe_ir::BinaryOp;

    #[test]
    fn multiples() {
        let (task, twelve) = (Index { positive: true, ..Index::default() }, Index::number(12));
        let product = binary(BinaryOp::Mul, task, twelve);
        assert_eq!((product.factor, product.positive), (2, true));
        let sum = binary(BinaryOp::Add, product, Index::number(8));
        assert!(sum.is_multiple_of(4) && !sum.is_multiple_of(8));
        assert_eq!(binary(BinaryOp::FloorDiv, sum, Index::number(2)).factor, 1);
        assert!(binary(BinaryOp::Mod, Index::default(), Index::number(7)).positive);
        assert!(Index::number(0).is_multiple_of(1 << 20));
    }
}
