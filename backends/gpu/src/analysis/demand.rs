//! Which integers do nothing but choose addresses: those fit 31 bits, wherever they come from, for every offset does.

use drupe_ir::DType;
use drupe_kernel::{Block, Inst, Kernel, Value};

/// By value: whether it is an `i64` or `bool` from which only offsets and bounds of loops are computed. An index that
/// is loaded, made positive and multiplied by a stride is one; what is stored or converted is none.
pub(super) fn addresses_only(kernel: &Kernel) -> Vec<bool> {
    let kind = |ty: &drupe_kernel::Type| matches!(ty.dtype, DType::I64 | DType::Bool);
    let mut demand = Demand { only: kernel.types.iter().map(kind).collect(), changed: true };
    while demand.changed {
        demand.changed = false;
        kernel.body.visit(&mut |inst| demand.inst(inst));
    }
    demand.only
}

struct Demand {
    only: Vec<bool>,
    changed: bool,
}

/// Whether `block` does more than give values.
fn has_effects(block: &Block) -> bool {
    let mut found = false;
    block.visit(&mut |inst| {
        found |= matches!(inst, Inst::Store { .. } | Inst::Barrier | Inst::Across { .. } | Inst::Tile { .. })
    });
    found
}

impl Demand {
    /// `value` is used for more than addresses.
    fn data(&mut self, value: Value) {
        let only = &mut self.only[value.0 as usize];
        self.changed |= *only;
        *only = false;
    }

    /// `out` is computed from `operands`.
    fn flows(&mut self, operands: &[Value], out: Value) {
        if !self.only[out.0 as usize] {
            operands.iter().for_each(|operand| self.data(*operand));
        }
    }

    fn all_flow(&mut self, operands: &[Value], outs: &[Value]) {
        operands.iter().zip(outs).for_each(|(operand, out)| self.flows(&[*operand], *out));
    }

    fn inst(&mut self, inst: &Inst) {
        match inst {
            Inst::Unary { out, a, .. }
            | Inst::Splat { out, a }
            | Inst::Extract { out, a, .. }
            | Inst::Reduce { out, a, .. }
            | Inst::Across { out, a, .. } => self.flows(&[*a], *out),
            Inst::Binary { out, a, b, .. } | Inst::Shuffle { out, a, b, .. } => self.flows(&[*a, *b], *out),
            Inst::Fma { out, a, b, c } => self.flows(&[*a, *b, *c], *out),
            Inst::Select { out, condition, a, b } => self.flows(&[*condition, *a, *b], *out),
            Inst::Cast { a, .. } | Inst::Bitcast { a, .. } => self.data(*a),
            Inst::Store { value, .. } => self.data(*value),
            Inst::For(inner) => {
                self.all_flow(&inner.carried, &inner.results);
                self.all_flow(&inner.init, &inner.carried);
                self.all_flow(&inner.body.yields, &inner.carried);
            }
            Inst::If { results, condition, then, otherwise } => {
                if has_effects(then) || has_effects(otherwise) {
                    self.data(*condition);
                }
                results.iter().for_each(|out| self.flows(&[*condition], *out));
                self.all_flow(&then.yields, results);
                self.all_flow(&otherwise.yields, results);
            }
            Inst::Float { .. }
            | Inst::Dot { .. }
            | Inst::DotPairs { .. }
            | Inst::Int { .. }
            | Inst::Iota { .. }
            | Inst::Dim { .. }
            | Inst::Invocation { .. }
            | Inst::Subgroup { .. }
            | Inst::Subgroups { .. }
            | Inst::Tile { .. }
            | Inst::Load { .. }
            | Inst::Prefetch { .. }
            | Inst::Barrier => {}
        }
    }
}
