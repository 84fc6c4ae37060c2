//! Channels last, and transposes that vanish.
//!
//! Convolutions and pools are computed with the channels innermost, where one pixel's channels are one vector
//! load. In every place where the layout changes that would leave transposes. This pass carries them forward
//! instead: a value of the module stands for some tensor whose axes are permuted (its [`Form`]), and most
//! operators can be computed on permuted tensors by changing their attributes. A transpose of the module is then
//! just another form. Only where an operator needs a certain order of axes is a transpose made; where it moves
//! only axes of extent 1, a reshape, which is free. One pass from inputs to outputs, linear in the size of the
//! module, and idempotent.
//!
//! Weights stay `[out, in / groups, kernel...]` in every layout.

mod permute;
mod reshape;

use crate::cost::CostModel;
use crate::node::is_elementwise;
use crate::{Options, Report};
use drupe_ir::{DType, Diagnostic, Dim, Module, Node, Op, Origin, Type, ValueId, ops};
use drupe_target::Target;
use indexmap::IndexMap;

/// A tensor of the new module that stands for a value of the old one: its axis `i` is axis `perm[i]` of the value.
#[derive(Clone, Debug)]
struct Form {
    value: ValueId,
    perm: Vec<usize>,
}

/// Computes what has channels with the channels last, and carries transposes to where they vanish.
pub fn choose_layouts(module: Module, target: &Target, _: &Options, _: &mut Report) -> Result<Module, Diagnostic> {
    let empty = Module { graph: Default::default(), ..module.clone() };
    let model = CostModel::new(target, &module);
    let mut layouts = Layouts { old: &module, new: empty, forms: Vec::new(), made: IndexMap::new(), model };
    for value in module.graph.values() {
        let form = layouts.compute(value)?;
        layouts.forms.push(form);
    }
    for (name, value) in &module.graph.outputs {
        let value = layouts.get(*value, &identity(module.graph.ty(*value).rank()))?;
        layouts.new.output(name, value);
    }
    let mut new = layouts.new;
    new.remove_dead();
    Ok(new)
}

/// The number of transposes of values that are computed at run time.
pub fn transposes(module: &Module) -> usize {
    let mut constant = Vec::with_capacity(module.graph.nodes.len());
    for node in &module.graph.nodes {
        let known = node.operands.iter().all(|operand| constant[operand.index()]);
        constant.push(known && !matches!(node.op, Op::Input(_)));
    }
    let is_transpose = |node: &drupe_ir::Node| matches!(node.op, Op::Transpose(_));
    module.graph.nodes.iter().zip(constant).filter(|(node, constant)| is_transpose(node) && !constant).count()
}

fn identity(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

fn position(perm: &[usize], axis: usize) -> usize {
    perm.iter().position(|other| *other == axis).expect("a permutation holds every axis")
}

/// The permutation that brings `[batch, channels, spatial...]` to `[batch, spatial..., channels]`.
fn channels_last(rank: usize) -> Vec<usize> {
    [vec![0], (2..rank).collect(), vec![1]].concat()
}

struct Layouts<'a> {
    old: &'a Module,
    new: Module,
    /// By value of the old module.
    forms: Vec<Form>,
    /// Other forms that have been made of values.
    made: IndexMap<(ValueId, Vec<usize>), ValueId>,
    model: CostModel,
}

impl<'a> Layouts<'a> {
    fn ty(&self, value: ValueId) -> &'a Type {
        self.old.graph.ty(value)
    }

    /// `value` with its axes in the order `perm`.
    fn get(&mut self, value: ValueId, perm: &[usize]) -> Result<ValueId, Diagnostic> {
        let form = self.forms[value.index()].clone();
        if form.perm == perm {
            return Ok(form.value);
        }
        if let Some(made) = self.made.get(&(value, perm.to_vec())) {
            return Ok(*made);
        }
        let (ty, node) = (self.ty(value), self.old.graph.node(value));
        let shape: Vec<Dim> = perm.iter().map(|axis| ty.shape[*axis].clone()).collect();
        let solid = |order: &[usize]| order.iter().copied().filter(|axis| !ty.shape[*axis].is(1)).collect::<Vec<_>>();
        let made = if let Op::Splat(splat) = &node.op {
            self.emit(ops::Splat { shape, ..splat.clone() }, &[], &node.origin)?
        } else if self.is_widened_half(node) {
            let narrow = self.get(node.operands[0], perm)?;
            self.new.add(node.op.clone(), &[narrow], &node.origin)?
        } else if solid(&form.perm) == solid(perm) {
            self.emit(ops::Reshape { shape }, &[form.value], &node.origin)?
        } else {
            let perm = perm.iter().map(|axis| position(&form.perm, *axis) as i64).collect();
            self.emit(ops::Transpose { perm }, &[form.value], &node.origin)?
        };
        self.made.insert((value, perm.to_vec()), made);
        Ok(made)
    }

    /// Whether `node` is floats of 16 bits as f32: these move before they are widened, since whoever multiplies them widens
    /// them as it reads.
    fn is_widened_half(&self, node: &Node) -> bool {
        matches!(node.op, Op::Cast(ops::Cast { dtype: DType::F32 }))
            && matches!(self.ty(node.operands[0]).dtype, DType::F16 | DType::Bf16)
    }

    /// Adds a node that this pass has made.
    fn emit(&mut self, op: impl Into<Op>, operands: &[ValueId], origin: &Origin) -> Result<ValueId, Diagnostic> {
        self.new.add(op.into(), operands, &origin.via("choose-layouts"))
    }

    /// The order of axes that most of the elements among `operands` are in already: of those of rank `rank`. Constants
    /// can be folded into any order, so they have no say.
    fn preferred(&self, operands: &[ValueId], rank: usize) -> Vec<usize> {
        let mut votes: IndexMap<&[usize], f64> = IndexMap::new();
        for operand in operands {
            let (ty, form) = (self.ty(*operand), &self.forms[operand.index()]);
            let constant = matches!(self.old.graph.node(*operand).op, Op::Const(_) | Op::Splat(_));
            if ty.rank() == rank && !constant {
                *votes.entry(&form.perm).or_default() +=
                    ty.shape.iter().map(|dim| self.model.extent(dim)).product::<f64>();
            }
        }
        // Among equals the one that is not plain: it comes from a convolution, and often goes to one.
        let plain = identity(rank);
        let best = votes
            .into_iter()
            .reduce(|best, other| if other.1 > best.1 || other.1 == best.1 && best.0 == plain { other } else { best });
        best.map_or(plain, |(perm, _)| perm.to_vec())
    }

    /// `value` so that it broadcasts to a tensor of rank `perm.len()` whose axes are in the order `perm`.
    fn get_broadcast(&mut self, value: ValueId, perm: &[usize]) -> Result<ValueId, Diagnostic> {
        let ty = self.ty(value);
        let skip = perm.len() - ty.rank();
        let own: Vec<usize> = perm.iter().filter(|axis| **axis >= skip).map(|axis| axis - skip).collect();
        let form = self.get(value, &own)?;
        if ty.rank() == 0 || skip == 0 || perm.is_sorted() {
            return Ok(form);
        }
        let extent = |axis: &usize| if *axis < skip { Dim::from(1) } else { ty.shape[*axis - skip].clone() };
        let origin = self.old.graph.node(value).origin.clone();
        self.emit(ops::Reshape { shape: perm.iter().map(extent).collect() }, &[form], &origin)
    }

    /// The form of `value`, all earlier ones having theirs.
    fn compute(&mut self, value: ValueId) -> Result<Form, Diagnostic> {
        let node = self.old.graph.node(value);
        let (operands, rank) = (&node.operands, node.ty.rank());
        match &node.op {
            Op::Transpose(transpose) => {
                let form = &self.forms[operands[0].index()];
                let perm = form.perm.iter().map(|axis| {
                    let of = |to: &i64| *to as usize == *axis;
                    transpose.perm.iter().position(of).expect("a permutation holds every axis")
                });
                return Ok(Form { value: form.value, perm: perm.collect() });
            }
            Op::Reshape(reshape) => return self.reshape(value, reshape),
            Op::MatMul(_) => return self.matmul(value),
            _ => {}
        }
        if let Some(op) = permute::with_channels_last(&node.op) {
            let mut moved = vec![self.get(operands[0], &channels_last(rank))?];
            for operand in &operands[1..] {
                moved.push(self.get(*operand, &identity(self.ty(*operand).rank()))?);
            }
            return self.place(value, op, &moved, channels_last(rank));
        }
        let types: Vec<&Type> = operands.iter().map(|operand| self.ty(*operand)).collect();
        if is_elementwise(&node.op, &types, &node.ty) {
            let perm = self.preferred(operands, rank);
            let moved: Vec<ValueId> =
                operands.iter().map(|operand| self.get_broadcast(*operand, &perm)).collect::<Result<_, _>>()?;
            return self.place(value, node.op.clone(), &moved, perm);
        }
        if let Some(first) = operands.first() {
            let perm = self.preferred(operands, self.ty(*first).rank());
            if let Some((op, result)) = permute::permuted(&node.op, &types, &perm) {
                let others = permute::follows(&node.op);
                let mut moved = Vec::new();
                for (index, operand) in operands.iter().enumerate() {
                    let plain = identity(self.ty(*operand).rank());
                    moved.push(self.get(*operand, if index == 0 || others { &perm } else { &plain })?);
                }
                return self.place(value, op, &moved, result);
            }
        }
        let plain: Vec<ValueId> = (operands.iter())
            .map(|operand| self.get(*operand, &identity(self.ty(*operand).rank())))
            .collect::<Result<_, _>>()?;
        self.place(value, node.op.clone(), &plain, identity(rank))
    }

    /// Adds the node that stands for `value`.
    fn place(&mut self, value: ValueId, op: Op, operands: &[ValueId], perm: Vec<usize>) -> Result<Form, Diagnostic> {
        let node = self.old.graph.node(value);
        let origin = if op == node.op { node.origin.clone() } else { node.origin.via("choose-layouts") };
        Ok(Form { value: self.new.add(op, operands, &origin)?, perm })
    }

    fn reshape(&mut self, value: ValueId, reshape: &ops::Reshape) -> Result<Form, Diagnostic> {
        let x = self.old.graph.node(value).operands[0];
        let form = self.forms[x.index()].perm.clone();
        let plan = reshape::plan(&self.ty(x).shape, &reshape.shape, &form);
        let x = self.get(x, &plan.operand)?;
        let shape = plan.result.iter().map(|axis| reshape.shape[*axis].clone()).collect();
        self.place(value, ops::Reshape { shape }.into(), &[x], plan.result)
    }

    /// `a b`, or `(b^T a^T)^T` where that saves transposes of large operands.
    fn matmul(&mut self, value: ValueId) -> Result<Form, Diagnostic> {
        let node = self.old.graph.node(value);
        let (a, b) = (node.operands[0], node.operands[1]);
        let swapped = |rank: usize| {
            let mut perm = identity(rank);
            perm.swap(rank - 2, rank - 1);
            perm
        };
        let price = |layouts: &Layouts, operand: ValueId, perm: &[usize]| {
            let (ty, form) = (layouts.ty(operand), &layouts.forms[operand.index()]);
            let constant = matches!(layouts.old.graph.node(operand).op, Op::Const(_) | Op::Splat(_));
            match constant || form.perm == perm {
                true => 0.0,
                false => ty.shape.iter().map(|dim| layouts.model.extent(dim)).product(),
            }
        };
        let (rank_a, rank_b) = (self.ty(a).rank(), self.ty(b).rank());
        let plain = price(self, a, &identity(rank_a)) + price(self, b, &identity(rank_b));
        let turned = price(self, a, &swapped(rank_a)) + price(self, b, &swapped(rank_b));
        if turned < plain {
            let operands = [self.get(b, &swapped(rank_b))?, self.get(a, &swapped(rank_a))?];
            return self.place(value, node.op.clone(), &operands, swapped(node.ty.rank()));
        }
        let operands = [self.get(a, &identity(rank_a))?, self.get(b, &identity(rank_b))?];
        self.place(value, node.op.clone(), &operands, identity(node.ty.rank()))
    }
}
