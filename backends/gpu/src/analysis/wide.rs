//! Which `i64`s need 64 bits: those that come from data. What is computed from tasks, dimensions and the like fits 31.

use drupe_ir::DType;
use drupe_kernel::{Inst, Kernel, Value};

/// By value: whether it is an `i64` held in 64 bits.
pub(super) fn wide(kernel: &Kernel, addresses_only: &[bool]) -> Vec<bool> {
    let mut wide = Wide { kernel, addresses_only, wide: vec![false; kernel.types.len()], changed: true };
    while wide.changed {
        wide.changed = false;
        kernel.body.visit(&mut |inst| wide.inst(inst));
    }
    wide.wide
}

struct Wide<'a> {
    kernel: &'a Kernel,
    addresses_only: &'a [bool],
    wide: Vec<bool>,
    changed: bool,
}

impl Wide<'_> {
    fn set(&mut self, value: Value, wide: bool) {
        let index = value.0 as usize;
        if wide && !self.wide[index] && self.kernel.ty(value).dtype == DType::I64 {
            self.wide[index] = true;
            self.changed = true;
        }
    }

    /// `out` is as wide as the widest of `operands`.
    fn flows(&mut self, operands: &[Value], out: Value) {
        let wide = operands.iter().any(|operand| self.wide[operand.0 as usize]);
        self.set(out, wide);
    }

    fn all_flow(&mut self, operands: &[Value], outs: &[Value]) {
        operands.iter().zip(outs).for_each(|(operand, out)| self.flows(&[*operand], *out));
    }

    fn inst(&mut self, inst: &Inst) {
        match inst {
            // Among addresses, a number that does not fit is a bound that none reaches: the largest does as well.
            Inst::Int { out, value } => {
                self.set(*out, i32::try_from(*value).is_err() && !self.addresses_only[out.0 as usize]);
            }
            Inst::Cast { out, .. } | Inst::Load { out, .. } => self.set(*out, !self.addresses_only[out.0 as usize]),
            Inst::Bitcast { out, .. } => self.set(*out, true),
            Inst::Unary { out, a, .. }
            | Inst::Splat { out, a }
            | Inst::Extract { out, a, .. }
            | Inst::Reduce { out, a, .. }
            | Inst::Across { out, a, .. } => self.flows(&[*a], *out),
            Inst::Binary { out, a, b, .. } | Inst::Shuffle { out, a, b, .. } | Inst::Select { out, a, b, .. } => {
                self.flows(&[*a, *b], *out);
            }
            Inst::Fma { out, a, b, c } => self.flows(&[*a, *b, *c], *out),
            Inst::For(inner) => {
                self.all_flow(&inner.init, &inner.carried);
                self.all_flow(&inner.body.yields, &inner.carried);
                self.all_flow(&inner.carried, &inner.results);
            }
            Inst::If { results, then, otherwise, .. } => {
                self.all_flow(&then.yields, results);
                self.all_flow(&otherwise.yields, results);
            }
            Inst::Float { .. }
            | Inst::Dot { .. }
            | Inst::DotPairs { .. }
            | Inst::Iota { .. }
            | Inst::Dim { .. }
            | Inst::Invocation { .. }
            | Inst::Subgroup { .. }
            | Inst::Subgroups { .. }
            | Inst::Tile { .. }
            | Inst::Store { .. }
            | Inst::Prefetch { .. }
            | Inst::Barrier => {}
        }
    }
}
