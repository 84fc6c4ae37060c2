//! How much a task is, before it runs.

use drupe_ir::BinaryOp;
use drupe_kernel::{Block, Inst, Kernel, Value};

/// Instructions of a task, counted for every invocation; none where a loop's end depends on data. An upper bound but
/// for loops whose bounds change from one iteration of an outer loop to the next.
pub(super) fn instructions(kernel: &Kernel, dims: &[i32]) -> Option<u64> {
    let mut numbers = Numbers { dims, known: vec![None; kernel.types.len()] };
    numbers.known[kernel.task.0 as usize] = Some(0);
    numbers.block(&kernel.body)?.checked_mul(u64::from(kernel.workgroup))
}

/// The integers that task 0 computes in invocation 0, whose loops are the longest, in first iterations.
struct Numbers<'a> {
    dims: &'a [i32],
    known: Vec<Option<i64>>,
}

impl Numbers<'_> {
    fn get(&self, value: Value) -> Option<i64> {
        self.known[value.0 as usize]
    }

    fn block(&mut self, block: &Block) -> Option<u64> {
        let mut count = 0_u64;
        for inst in &block.insts {
            count = count.checked_add(self.inst(inst)?)?;
        }
        Some(count)
    }

    fn inst(&mut self, inst: &Inst) -> Option<u64> {
        let (out, number) = match inst {
            Inst::Int { out, value } => (out, Some(*value)),
            Inst::Dim { out, index } => (out, self.dims.get(*index).map(|dim| i64::from(*dim))),
            Inst::Invocation { out } | Inst::Subgroup { out } => (out, Some(0)),
            // One at least: loops over what subgroups share out are the longest then.
            Inst::Subgroups { out } => (out, Some(1)),
            Inst::Binary { out, op, a, b } => {
                (out, self.get(*a).zip(self.get(*b)).and_then(|(a, b)| arithmetic(*op, a, b)))
            }
            Inst::For(inner) => {
                let (low, high) = (self.get(inner.low)?, self.get(inner.high)?);
                self.known[inner.index.0 as usize] = Some(low);
                let trips =
                    u64::try_from(high.checked_sub(low)?).unwrap_or(0).div_ceil(inner.step.unsigned_abs().max(1));
                // An empty loop is looked at, too.
                return (self.block(&inner.body)? + 1).checked_mul(trips)?.checked_add(1);
            }
            Inst::If { then, otherwise, .. } => {
                // Each invocation goes one way.
                return self.block(then)?.max(self.block(otherwise)?).checked_add(1);
            }
            Inst::Float { .. }
            | Inst::Iota { .. }
            | Inst::Unary { .. }
            | Inst::Fma { .. }
            | Inst::Dot { .. }
            | Inst::DotPairs { .. }
            | Inst::Select { .. }
            | Inst::Cast { .. }
            | Inst::Bitcast { .. }
            | Inst::Splat { .. }
            | Inst::Extract { .. }
            | Inst::Reduce { .. }
            | Inst::Shuffle { .. }
            | Inst::Load { .. }
            | Inst::Store { .. }
            | Inst::Prefetch { .. }
            | Inst::Barrier
            | Inst::Across { .. }
            | Inst::Tile { .. } => return Some(1),
        };
        self.known[out.0 as usize] = number;
        Some(1)
    }
}

/// What bounds of loops are made of.
fn arithmetic(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Div => a.checked_div(b),
        BinaryOp::Rem => a.checked_rem(b),
        BinaryOp::FloorDiv => drupe_ir::floor_div(a, b),
        BinaryOp::Mod => drupe_ir::floor_div(a, b)?.checked_mul(b).and_then(|multiple| a.checked_sub(multiple)),
        BinaryOp::Min => Some(a.min(b)),
        BinaryOp::Max => Some(a.max(b)),
        BinaryOp::Pow
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Xor
        | BinaryOp::Shl
        | BinaryOp::Shr
        | BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_and_branches_are_counted() {
        let kernel = |body: &str| {
            let text = format!("kernel @k(read x: f32, write y: f32) dims 1 task %0 workgroup 4 {{\n{body}}}\n");
            drupe_kernel::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"))
        };
        let looped = kernel(
            "  %1: i64 = invocation\n  %2: i64 = dim 0\n  for %3 = %1 to %2 step 2 {\n    %4: f32 = load x[%3]\n    \
             store y[%3], %4\n  }\n",
        );
        // Two before the loop, and with 5 as its end three times two and the next number, and the loop.
        assert_eq!(instructions(&looped, &[5]), Some(4 * (2 + 3 * 3 + 1)));
        assert_eq!(instructions(&looped, &[0]), Some(4 * 3));
        let branches = kernel(
            "  %1: bool = lt %0, %0\n  if %1 {\n    %2: f32 = load x[%0]\n    store y[%0], %2\n  } else {\n    \
             %3: f32 = 0.0\n  }\n",
        );
        assert_eq!(instructions(&branches, &[0]), Some(4 * (1 + 2 + 1)));
        let by_data = kernel(
            "  %1: f32 = load x[%0]\n  %2: i64 = cast %1\n  for %3 = %0 to %2 step 1 {\n    store y[%3], %1\n  }\n",
        );
        assert_eq!(instructions(&by_data, &[0]), None);
    }
}
