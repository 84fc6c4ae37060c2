//! Where every byte is, once symbols have values: expression values, buffer locations, the arena.
//!
//! Invariant: a [`Layout`] that exists has been checked. Every argument of every step lies inside
//! its buffer, every buffer inside its base, and no two live arena buffers overlap.

use crate::arena::{Lifetime, plan_arena_quickly};
use crate::error::{At, PlanError};
use crate::expr::evaluate;
use crate::plan::{
    ArchivedArg, ArchivedBufferId, ArchivedExprId, ArchivedPlace, ArchivedPlan, ArchivedPort, ArchivedStepOp,
};
use crate::verify::aligned;
use crate::{ARENA_ALIGNMENT, DEVICE_ALIGNMENT, DType};

/// The memory a location counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The arena.
    Arena,
    /// The constants section.
    Constants,
    /// The caller's tensor for the input with this index.
    Input(usize),
    /// The memory for the output buffer with this index; see [`Layout::output_sizes`].
    Output(usize),
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The memory it is in.
    pub base: Base,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
}

/// The sizes and places of everything for one set of symbol values.
#[derive(Clone, Debug)]
pub struct Layout {
    values: Vec<i64>,
    locations: Vec<Location>,
    output_sizes: Vec<u64>,
    scratch: u64,
    arena_bytes: u64,
    arena_lower_bound: u64,
    /// The size and offset of every buffer of the arena that was planned here, in the plan's order.
    planned: Vec<(u64, u64)>,
}

impl Layout {
    /// Lays out a verified plan for the given value of each symbol (its `max` for those that steps
    /// set). Plans the arena unless it is baked.
    ///
    /// # Errors
    /// When a size overflows or is negative, or a range does not fit what holds it.
    pub fn new(plan: &ArchivedPlan, symbols: &[i64]) -> Result<Layout, PlanError> {
        let mut layout = Layout {
            values: Vec::new(),
            locations: Vec::new(),
            output_sizes: Vec::new(),
            scratch: 0,
            arena_bytes: 0,
            arena_lower_bound: 0,
            planned: Vec::new(),
        };
        layout.lay_out(plan, symbols)?;
        Ok(layout)
    }

    /// [`Layout::new`] in the memory of a layout of the same plan for other values. Where all buffers of the arena have
    /// the sizes that they had there, they keep their places.
    ///
    /// # Errors
    /// As for [`Layout::new`].
    pub fn laid_out_again(mut self, plan: &ArchivedPlan, symbols: &[i64]) -> Result<Layout, PlanError> {
        self.locations.clear();
        self.output_sizes.clear();
        self.lay_out(plan, symbols)?;
        Ok(self)
    }

    fn lay_out(&mut self, plan: &ArchivedPlan, symbols: &[i64]) -> Result<(), PlanError> {
        self.evaluate(plan, symbols)?;
        self.locate_buffers(plan)?;
        self.place_arena(plan)?;
        self.locate_views(plan)?;
        self.check(plan)
    }

    /// Takes over symbol values that a step has computed. Buffers keep their place and size;
    /// views, arguments and shapes get new values, checked as before.
    pub fn revalue(&mut self, plan: &ArchivedPlan, symbols: &[i64]) -> Result<(), PlanError> {
        self.evaluate(plan, symbols)?;
        self.locate_views(plan)?;
        self.check(plan)
    }

    /// The value of an expression.
    pub fn value(&self, expr: &ArchivedExprId) -> i64 {
        self.values[expr.index()]
    }

    /// Where a buffer is.
    pub fn location(&self, buffer: &ArchivedBufferId) -> Location {
        self.locations[buffer.index()]
    }

    /// Where an argument's bytes are.
    pub fn argument(&self, arg: &ArchivedArg) -> Location {
        let buffer = self.location(&arg.buffer);
        Location {
            base: buffer.base,
            // Both are checked to be inside the buffer, hence not negative.
            offset: buffer.offset + self.value(&arg.offset) as u64,
            size: self.value(&arg.len) as u64,
        }
    }

    /// The dimensions of a checked shape.
    pub fn shape(&self, shape: &[ArchivedExprId]) -> Vec<usize> {
        shape.iter().map(|dim| self.value(dim) as usize).collect()
    }

    /// Bytes of every output buffer, in the order of [`Base::Output`].
    pub fn output_sizes(&self) -> &[u64] {
        &self.output_sizes
    }

    /// Bytes of scratch a thread needs.
    pub fn scratch_bytes(&self) -> u64 {
        self.scratch
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes
    }

    /// The largest sum of live bytes: no arena could be smaller.
    pub fn arena_lower_bound(&self) -> u64 {
        self.arena_lower_bound
    }

    fn evaluate(&mut self, plan: &ArchivedPlan, symbols: &[i64]) -> Result<(), PlanError> {
        evaluate(&plan.exprs, symbols, &mut self.values)
            .map_err(|(index, fault)| PlanError::Expr { at: At::Expr(index), fault })?;
        self.scratch = self.unsigned(&plan.scratch, At::Plan, "scratch size")?;
        Ok(())
    }

    /// Sizes of all buffers, bases of all but views, offsets in the constants.
    fn locate_buffers(&mut self, plan: &ArchivedPlan) -> Result<(), PlanError> {
        let mut port_of = vec![0; plan.buffers.len()];
        for (index, port) in plan.inputs.iter().enumerate() {
            port_of[port.buffer.index()] = index;
        }
        for (index, buffer) in plan.buffers.iter().enumerate() {
            let at = At::Buffer(index);
            let size = self.unsigned(&buffer.size, at, "size")?;
            let (base, offset) = match &buffer.place {
                ArchivedPlace::Arena { .. } | ArchivedPlace::View { .. } => (Base::Arena, 0),
                ArchivedPlace::Constant { offset, len } => {
                    inside(at, 0, size, "constant's range", len.to_native())?;
                    (Base::Constants, offset.to_native())
                }
                ArchivedPlace::Input => (Base::Input(port_of[index]), 0),
                ArchivedPlace::Output => {
                    self.output_sizes.push(size);
                    (Base::Output(self.output_sizes.len() - 1), 0)
                }
            };
            self.locations.push(Location { base, offset, size });
        }
        Ok(())
    }

    fn place_arena(&mut self, plan: &ArchivedPlan) -> Result<(), PlanError> {
        if let Some(baked) = plan.static_arena.as_ref() {
            // `verify_plan` has checked the baked offsets.
            for (buffer, location) in plan.buffers.iter().zip(&mut self.locations) {
                if let ArchivedPlace::Arena { offset } = &buffer.place {
                    location.offset = offset.as_ref().map_or(location.offset, |offset| offset.to_native());
                }
            }
            self.arena_bytes = baked.bytes.to_native();
            self.arena_lower_bound = baked.lower_bound.to_native();
            return Ok(());
        }
        // Offsets are sums and differences of sizes.
        let alignment = if plan.device.is_some() { DEVICE_ALIGNMENT } else { ARENA_ALIGNMENT };
        let in_arena = |index: &usize| matches!(plan.buffers[*index].place, ArchivedPlace::Arena { .. });
        let members = || (0..plan.buffers.len()).filter(in_arena);
        let size = |locations: &[Location], index: usize| {
            locations[index].size.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
        };
        let sizes = members().map(|index| size(&self.locations, index));
        if !self.planned.iter().map(|(size, _)| *size).eq(sizes) {
            let lifetime = |index: usize| {
                let (first, last) = (plan.buffers[index].first_step, plan.buffers[index].last_step);
                Lifetime { size: size(&self.locations, index), first: first.to_native(), last: last.to_native() }
            };
            let lifetimes: Vec<Lifetime> = members().map(lifetime).collect();
            self.planned.clear();
            let arena = plan_arena_quickly(&lifetimes)?;
            self.arena_bytes = arena.bytes.next_multiple_of(ARENA_ALIGNMENT);
            self.arena_lower_bound = arena.lower_bound;
            let sizes = lifetimes.iter().map(|lifetime| lifetime.size);
            self.planned.extend(sizes.zip(arena.offsets));
        }
        for (index, &(_, offset)) in members().zip(&self.planned) {
            self.locations[index].offset = offset;
        }
        Ok(())
    }

    fn locate_views(&mut self, plan: &ArchivedPlan) -> Result<(), PlanError> {
        for (index, buffer) in plan.buffers.iter().enumerate() {
            if let ArchivedPlace::View { of, offset } = &buffer.place {
                let at = At::Buffer(index);
                let whole = self.location(of);
                let offset = self.unsigned(offset, at, "offset")?;
                let size = self.unsigned(&buffer.size, at, "size")?;
                inside(at, offset, size, "viewed buffer", whole.size)?;
                self.locations[index] = Location { base: whole.base, offset: whole.offset + offset, size };
            }
        }
        Ok(())
    }

    fn check(&self, plan: &ArchivedPlan) -> Result<(), PlanError> {
        for (index, step) in plan.steps.iter().enumerate() {
            self.unsigned(&step.grid, At::Step(index), "grid")?;
            for (arg_index, arg) in step.args.iter().enumerate() {
                let at = At::Arg { step: index, arg: arg_index };
                let offset = self.unsigned(&arg.offset, at, "offset")?;
                let len = self.unsigned(&arg.len, at, "length")?;
                inside(at, offset, len, "buffer", self.location(&arg.buffer).size)?;
                if is_device_step(&step.op) {
                    aligned(at, self.argument(arg).offset, DEVICE_ALIGNMENT)?;
                }
                if let (ArchivedStepOp::Shader(_), Some(needs)) = (&step.op, plan.device.as_ref()) {
                    let max = needs.binding_bytes.to_native();
                    if len > max && plan.symbols.is_empty() {
                        return Err(PlanError::Needs { at, what: "bytes", need: len, max });
                    }
                }
            }
            if let Some(result) = step.result.as_ref() {
                let at = At::Step(index);
                let tensor = self.tensor_bytes(at, result.dtype, &result.shape)?;
                let buffer = self.location(&result.buffer).size;
                if tensor > buffer {
                    return Err(PlanError::TensorSize { at, tensor, buffer });
                }
            }
        }
        for (index, port) in plan.inputs.iter().enumerate() {
            let (tensor, buffer) = self.port_bytes(At::Input(index), port)?;
            if tensor != buffer {
                return Err(PlanError::TensorSize { at: At::Input(index), tensor, buffer });
            }
        }
        for (index, port) in plan.outputs.iter().enumerate() {
            let (tensor, buffer) = self.port_bytes(At::Output(index), port)?;
            if tensor > buffer {
                return Err(PlanError::TensorSize { at: At::Output(index), tensor, buffer });
            }
        }
        for (index, state) in plan.states.iter().enumerate() {
            let before = &plan.inputs[state.input.to_native() as usize];
            let after = &plan.outputs[state.output.to_native() as usize];
            if self.location(&before.buffer).size > self.location(&after.buffer).size {
                let (input, output) = (before.name.as_str().into(), after.name.as_str().into());
                return Err(PlanError::State { at: At::State(index), input, output });
            }
        }
        Ok(())
    }

    fn port_bytes(&self, at: At, port: &ArchivedPort) -> Result<(u64, u64), PlanError> {
        let tensor = self.tensor_bytes(at, port.dtype, &port.shape)?;
        Ok((tensor, self.location(&port.buffer).size))
    }

    fn tensor_bytes(&self, at: At, dtype: DType, shape: &[ArchivedExprId]) -> Result<u64, PlanError> {
        let mut bytes = dtype.size() as u64;
        for dim in shape {
            let dim = self.unsigned(dim, at, "dimension")?;
            bytes = bytes
                .checked_mul(dim)
                .filter(|&bytes| bytes <= isize::MAX as u64)
                .ok_or(PlanError::TensorTooLarge { at })?;
        }
        Ok(bytes)
    }

    fn unsigned(&self, expr: &ArchivedExprId, at: At, what: &'static str) -> Result<u64, PlanError> {
        let value = self.value(expr);
        u64::try_from(value).map_err(|_| PlanError::Negative { at, what, value })
    }
}

/// Whether the step's arguments are used on the device.
fn is_device_step(op: &ArchivedStepOp) -> bool {
    match op {
        ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. } => false,
        ArchivedStepOp::Shader(_) | ArchivedStepOp::Upload | ArchivedStepOp::Download => true,
    }
}

/// Checks that `offset..offset + len` lies inside `size` bytes.
pub(crate) fn inside(at: At, offset: u64, len: u64, holder: &'static str, size: u64) -> Result<(), PlanError> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        Some(_) | None => Err(PlanError::OutOfBounds { at, offset, len, holder, size }),
    }
}
