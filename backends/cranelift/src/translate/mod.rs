//! Kernel IR to Cranelift's.

mod arith;
mod convert;
mod flow;
mod half;
mod lanes;
mod memory;

use crate::{CraneliftError, Machine};
use cranelift_codegen::ir::{Function, InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::{Inst, Kernel};
use lanes::{Held, Shape};

/// Writes the body of `function`, whose signature is set.
pub(crate) fn kernel(
    kernel: &Kernel,
    machine: &Machine,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    config: TargetFrontendConfig,
) -> Result<(), CraneliftError> {
    let mut builder = FunctionBuilder::new(function, context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let values = vec![None; kernel.types.len()];
    let known = vec![None; kernel.types.len()];
    let (buffers, dims, locals) = (Vec::new(), Vec::new(), Vec::new());
    let mut translator = Translator { b: builder, kernel, machine, values, known, buffers, dims, locals };
    translator.function(entry)?;
    translator.b.seal_all_blocks();
    translator.b.finalize(config);
    Ok(())
}

/// Translates one kernel.
struct Translator<'a> {
    b: FunctionBuilder<'a>,
    kernel: &'a Kernel,
    machine: &'a Machine,
    /// What each kernel value is; defined before it is used, as the verifier saw.
    values: Vec<Option<Held>>,
    /// The number that an integer value is known to be in every lane.
    known: Vec<Option<i64>>,
    buffers: Vec<Value>,
    dims: Vec<Value>,
    locals: Vec<StackSlot>,
}

impl Translator<'_> {
    fn function(&mut self, entry: cranelift_codegen::ir::Block) -> Result<(), CraneliftError> {
        let kernel = self.kernel;
        let parameters = self.b.block_params(entry).to_vec();
        let &[buffers, dims, _scratch, begin, end] = parameters.as_slice() else {
            return Err(CraneliftError::Compile { kernel: kernel.name.clone(), reason: "signature".into() });
        };
        self.buffers = (0..kernel.buffers.len()).map(|number| self.word(buffers, number)).collect();
        self.dims = (0..kernel.dims).map(|number| self.word(dims, number)).collect();
        for local in &kernel.locals {
            let size = local.dtype.bytes_of(local.length as usize) as u32;
            // Loads and stores take any alignment; 16 octets are what the stack has.
            let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4);
            self.locals.push(self.b.create_sized_stack_slot(slot));
        }
        self.tasks(begin, end)?;
        self.b.ins().return_(&[]);
        Ok(())
    }

    fn held(&self, value: ir::Value) -> &Held {
        self.values[value.0 as usize].as_ref().expect("the verifier saw the definition")
    }

    fn scalar(&self, value: ir::Value) -> Value {
        self.held(value).parts[0]
    }

    fn define(&mut self, value: ir::Value, held: Held) {
        self.values[value.0 as usize] = Some(held);
    }

    fn dtype(&self, value: ir::Value) -> DType {
        self.kernel.ty(value).dtype
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), CraneliftError> {
        let (out, held) = match inst {
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                return self.branch(results, *condition, then, otherwise);
            }
            Inst::Store { place, offset, value } => {
                self.store(*place, *offset, *value);
                return Ok(());
            }
            // Cranelift has no such instruction; one invocation waits for no other.
            Inst::Prefetch { .. } | Inst::Barrier => return Ok(()),
            Inst::Invocation { out } | Inst::Subgroup { out } => (out, self.int_constant(self.kernel.ty(*out), 0)),
            Inst::Subgroups { out } => (out, self.int_constant(self.kernel.ty(*out), 1)),
            Inst::Tile { .. } => unreachable!("verify_for_cpu allows no tiles"),
            Inst::Across { out, a, .. } => (out, self.held(*a).clone()),
            Inst::Float { out, value } => (out, self.float_constant(self.kernel.ty(*out), *value)),
            Inst::Int { out, value } => {
                self.known[out.0 as usize] = Some(*value);
                (out, self.int_constant(self.kernel.ty(*out), *value))
            }
            Inst::Iota { out } => (out, self.iota(self.kernel.ty(*out))),
            Inst::Dim { out, index } => (out, Held::scalar(types::I64, self.dims[*index])),
            Inst::Unary { out, op, a } => (out, self.unary(*op, self.dtype(*a), &self.held(*a).clone())?),
            Inst::Binary { out, op, a, b } => {
                let (first, second) = (self.held(*a).clone(), self.held(*b).clone());
                (out, self.binary(*op, self.dtype(*a), &first, &second, self.known[b.0 as usize])?)
            }
            Inst::Fma { out, a, b, c } => {
                let [first, second, third] = [a, b, c].map(|value| self.held(*value).clone());
                (out, self.fma(self.dtype(*out), &first, &second, &third))
            }
            Inst::Dot { out, a, b, c } => {
                let [first, second, third] = [a, b, c].map(|value| self.held(*value).clone());
                (out, self.dot(self.dtype(*a), &first, &second, &third))
            }
            Inst::DotPairs { out, a, b, c } => {
                let [first, second, third] = [a, b, c].map(|value| self.held(*value).clone());
                (out, self.dot_pairs(&first, &second, &third))
            }
            Inst::Select { out, condition, a, b } => {
                let [condition, first, second] = [condition, a, b].map(|value| self.held(*value).clone());
                (out, self.select(&condition, &first, &second))
            }
            Inst::Cast { out, a } => (out, self.cast(&self.held(*a).clone(), self.dtype(*a), self.dtype(*out))),
            Inst::Bitcast { out, a } => {
                let shape = Shape::of(self.kernel.ty(*out));
                (out, self.bitcast(&self.held(*a).clone(), shape))
            }
            Inst::Splat { out, a } => {
                self.known[out.0 as usize] = self.known[a.0 as usize];
                let shape = Shape::of(self.kernel.ty(*out));
                (out, self.splat(&self.held(*a).clone(), shape, self.dtype(*a)))
            }
            Inst::Extract { out, a, lane } => {
                (out, self.extract(&self.held(*a).clone(), self.dtype(*a), usize::from(*lane)))
            }
            Inst::Reduce { out, op, a } => (out, self.reduce(*op, self.dtype(*a), &self.held(*a).clone())?),
            Inst::Shuffle { out, a, b, lanes } => {
                let (first, second) = (self.held(*a).clone(), self.held(*b).clone());
                (out, self.shuffle(self.dtype(*a), &first, &second, lanes))
            }
            Inst::Load { out, place, offset } => (out, self.load(*place, *offset, self.kernel.ty(*out))),
        };
        self.define(*out, held);
        Ok(())
    }
}
