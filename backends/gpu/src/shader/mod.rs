//! Kernel IR to naga's.

mod across;
mod arith;
mod bits;
mod code;
mod convert;
mod cooperative;
mod dots;
mod flow;
mod halves;
mod held;
mod integer;
mod memory;
mod packed;
mod places;
mod rounding;

use crate::analysis::{Facts, wrapped};
use crate::{GpuError, Needs, Options};
use code::{Code, Expr};
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::{Inst, Kernel};
use held::{Held, part_kind, register};
use naga::{BinaryOperator, Binding, BuiltIn, EntryPoint, Expression, FunctionArgument, Scalar, ShaderStage};
use naga::{TypeInner, VectorSize};
use places::Places;

/// What a language lets compilers do to floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    /// Nothing that changes results, if it is told so.
    Exact,
    /// They may rearrange sums, and believe that there is no NaN.
    Rearranged,
}

/// The module of a verified kernel, and what it needs of a device.
pub(crate) fn module(kernel: &Kernel, options: &Options, floats: Floats) -> Result<(naga::Module, Needs), GpuError> {
    let words = if options.unpack_halves { halves::as_words(kernel) } else { None };
    let (halves, kernel) = (words.is_some(), words.as_ref().unwrap_or(kernel));
    let values = vec![None; kernel.types.len()];
    let facts = Facts::of(kernel);
    let code = Code::default();
    let (places, scratch, tiles) = (Places::default(), across::Scratch::default(), cooperative::Tiles::default());
    let mut translator = Translator {
        code,
        kernel,
        halves,
        options,
        floats,
        facts,
        values,
        places,
        scratch,
        tiles,
        invocation: None,
        infinity: None,
    };
    translator.code.open();
    translator.declare()?;
    translator.entry();
    translator.block(&kernel.body)?;
    let body = translator.code.close();
    let Code { mut module, mut function, needs, .. } = translator.code;
    function.body = body;
    module.entry_points.push(EntryPoint {
        name: "main".into(),
        stage: ShaderStage::Compute,
        early_depth_test: None,
        workgroup_size: [kernel.workgroup, 1, 1],
        workgroup_size_overrides: None,
        function,
        mesh_info: None,
        task_payload: None,
        incoming_ray_payload: None,
    });
    Ok((module, needs))
}

/// Translates one kernel.
struct Translator<'a> {
    code: Code,
    kernel: &'a Kernel,
    /// Whether what the kernel calls `bf16` are halves in memory.
    halves: bool,
    options: &'a Options,
    floats: Floats,
    facts: Facts,
    /// What each kernel value is; defined before it is used, as the verifier saw.
    values: Vec<Option<Held>>,
    /// Buffers and arrays.
    places: Places,
    /// Where invocations leave values for one another.
    scratch: across::Scratch,
    /// Matrices that subgroups hold.
    tiles: cooperative::Tiles,
    /// The number of the invocation, a `u32`, once something asked for it.
    invocation: Option<Expr>,
    /// A variable that holds the bits of infinity.
    infinity: Option<Expr>,
}

impl Translator<'_> {
    /// A number that an invocation is given.
    fn built_in(&mut self, name: &str, built_in: BuiltIn) -> Expr {
        let ty = match built_in {
            BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups => {
                let inner = TypeInner::Vector { size: VectorSize::Tri, scalar: Scalar::U32 };
                self.code.named_type(None, inner)
            }
            _ => self.code.ty(part_kind(Scalar::U32, 1)),
        };
        let binding = Some(Binding::BuiltIn(built_in));
        self.code.function.arguments.push(FunctionArgument { name: Some(name.into()), ty, binding });
        let index = self.code.function.arguments.len() as u32 - 1;
        self.code.given(Expression::FunctionArgument(index))
    }

    /// The number of the task.
    fn entry(&mut self) {
        let id = self.built_in("workgroup", BuiltIn::WorkGroupId);
        let count = self.built_in("workgroups", BuiltIn::NumWorkGroups);
        let [x, y, width] = [(id, 0), (id, 1), (count, 0)].map(|(vector, index)| self.code.component(vector, index));
        let before = self.code.binary(BinaryOperator::Multiply, y, width);
        let task = self.code.binary(BinaryOperator::Add, x, before);
        let task = self.code.convert(task, Scalar::I32);
        self.define(self.kernel.task, Held::scalar(Scalar::I32, task));
    }

    /// The number of the invocation, a `u32`.
    fn invocation(&mut self) -> Expr {
        if let Some(known) = self.invocation {
            return known;
        }
        let new = self.built_in("invocation", BuiltIn::LocalInvocationIndex);
        self.invocation = Some(new);
        new
    }

    fn held(&self, value: ir::Value) -> Held {
        self.values[value.0 as usize].clone().expect("the verifier saw the definition")
    }

    fn define(&mut self, value: ir::Value, held: Held) {
        self.values[value.0 as usize] = Some(held);
    }

    fn dtype(&self, value: ir::Value) -> DType {
        self.kernel.ty(value).dtype
    }

    fn block(&mut self, block: &ir::Block) -> Result<(), GpuError> {
        self.forget_factors();
        let done = block.insts.iter().try_for_each(|inst| self.inst(inst));
        self.forget_factors();
        done
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), GpuError> {
        let (out, held) = match inst {
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                return self.branch(results, *condition, then, otherwise);
            }
            Inst::Store { place, offset, value } => {
                self.forget_factors();
                self.store(*place, *offset, *value);
                return Ok(());
            }
            Inst::Barrier => {
                self.forget_factors();
                self.code.barrier();
                return Ok(());
            }
            Inst::Tile { tile, op } => {
                self.tile(*tile, *op);
                return Ok(());
            }
            Inst::Prefetch { .. } => return Ok(()),
            Inst::Float { out, value } => (out, self.float_constant(self.kernel.ty(*out), *value)),
            Inst::Int { out, value } => {
                let (ty, scalar) = (self.kernel.ty(*out), self.register_of(*out));
                let value = match (ty.dtype, self.facts.wide(*out)) {
                    (DType::I64, false) => (*value).clamp(i32::MIN.into(), i32::MAX.into()),
                    (dtype, _) => wrapped(dtype, *value),
                };
                let one = self.code.int(part_kind(scalar, 1), value);
                (out, self.splat(scalar, one, ty.lanes.into()))
            }
            Inst::Iota { out } => {
                let ty = self.kernel.ty(*out);
                let iota = self.iota(self.register_of(*out), ty.lanes.into());
                (out, self.wrap(ty.dtype, &iota))
            }
            Inst::Dim { out, index } => (out, Held::scalar(Scalar::I32, self.dim(*index))),
            Inst::Invocation { out } => {
                let number = self.invocation();
                (out, Held::scalar(Scalar::I32, self.code.convert(number, Scalar::I32)))
            }
            Inst::Subgroup { out } => (out, self.count_held(|subgroup| subgroup.number)),
            Inst::Subgroups { out } => (out, self.count_held(|subgroup| subgroup.count)),
            Inst::Across { out, op, a } => (out, self.across(*op, self.dtype(*a), &self.held(*a))?),
            Inst::Unary { out, op, a } => (out, self.unary(*op, self.dtype(*a), &self.held(*a))?),
            Inst::Binary { out, op, a, b } => {
                let known = [self.facts.index(*a), self.facts.index(*b)];
                (out, self.binary(*op, self.dtype(*a), &self.held(*a), &self.held(*b), known)?)
            }
            Inst::Fma { out, a, b, c } => {
                let [first, second, third] = [a, b, c].map(|value| self.held(*value));
                (out, self.fma(self.dtype(*out), &first, &second, &third)?)
            }
            Inst::Dot { out, a, b, c } => (out, self.dot(*a, *b, *c)),
            Inst::DotPairs { out, a, b, c } => (out, self.dot_pairs(*a, *b, *c)),
            Inst::Select { out, condition, a, b } => {
                let wide = self.facts.wide(*out);
                let (first, second) = (self.held(*a), self.held(*b));
                let (first, second) = (self.widened(&first, wide), self.widened(&second, wide));
                (out, self.select(&self.held(*condition), &first, &second))
            }
            Inst::Cast { out, a } => {
                let (from, to) = (self.dtype(*a), self.dtype(*out));
                (out, self.cast(&self.held(*a), from, to, self.facts.wide(*out)))
            }
            Inst::Bitcast { out, a } => {
                let (from, to) = (self.dtype(*a), self.kernel.ty(*out));
                let held = match self.facts.packed(*a) || self.facts.packed(*out) {
                    true => self.bitcast_octets(*a, *out),
                    false => self.bitcast(&self.held(*a), from, to),
                };
                (out, held)
            }
            Inst::Splat { out, a } => {
                let held = self.held(*a);
                (out, self.splat(held.scalar, held.parts[0], self.kernel.ty(*out).lanes.into()))
            }
            Inst::Extract { out, a, lane } => {
                let held = self.held(*a);
                (out, Held::scalar(held.scalar, self.lane(&held, usize::from(*lane))))
            }
            Inst::Reduce { out, op, a } => (out, self.reduce(*op, self.dtype(*a), &self.held(*a))?),
            Inst::Shuffle { out, a, b, lanes } => {
                let wide = self.facts.wide(*out);
                let (first, second) = (self.held(*a), self.held(*b));
                let (first, second) = (self.widened(&first, wide), self.widened(&second, wide));
                (out, self.shuffle(&first, &second, lanes))
            }
            Inst::Load { out, place, offset } => (out, self.load(*place, *offset, *out)),
        };
        let packed = self.facts.packed(*out);
        debug_assert!(packed || held.scalar == register(self.dtype(*out), held.scalar.width == 8), "{inst:?}");
        let held = self.widened(&held, self.facts.wide(*out));
        self.define(*out, held);
        Ok(())
    }
}
