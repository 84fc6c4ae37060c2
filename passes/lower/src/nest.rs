//! Loop nests: a region's body with every read as an address.
//!
//! Between a region and a kernel: index lists have become element offsets (strides times loop variables), adjacent
//! loops that walk memory alike have become one, reads of padding that a halo covers have lost their tests.

use crate::affine::{Affine, Var};
use crate::place::Home;
use crate::quantized::Quantized;
use drupe_ir::{BinaryOp, Body, DType, Dim, Scalar, ScalarId};
use std::collections::{BTreeMap, BTreeSet};

/// The columns that a packed operand keeps together.
pub const PANEL: i64 = 16;

/// Elements of a GPU's vector.
pub const QUAD: i64 = 4;

/// Where a read or the result is, in elements from the start of its argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A sum of loop variables times strides, and of index values that are not affine times strides.
    Strided {
        /// The affine part.
        affine: Affine,
        /// The others: i64 expressions and their strides.
        computed: Vec<(ScalarId, Dim)>,
    },
    /// A packed matrix `[batch][column / 16][depth][column % 16]`.
    Panels {
        /// Which batch, times the size of one, in elements.
        batch: Affine,
        /// The row of the matrix: a sum of reduction variables.
        depth: Affine,
        /// The number of rows.
        depth_extent: Dim,
        /// The loop variable that is the column.
        column: Var,
    },
}

impl Address {
    /// The affine address `affine`.
    pub fn affine(affine: Affine) -> Address {
        Address::Strided { affine, computed: Vec::new() }
    }

    /// Moves everything by `distance` elements.
    pub fn shift(&mut self, distance: &Dim) {
        let constant = Affine::constant(distance.clone());
        match self {
            Address::Strided { affine, .. } => *affine = affine.plus(&constant),
            Address::Panels { batch, .. } => *batch = batch.plus(&constant),
        }
    }

    /// How far the address moves when `var` grows by one (between panels: on average).
    pub fn coefficient(&self, var: Var) -> Dim {
        match self {
            Address::Strided { affine, .. } => affine.coefficient(var),
            Address::Panels { column, .. } if *column == var => Dim::from(1),
            Address::Panels { batch, depth, .. } => {
                let depth = depth.times(&Dim::from(PANEL));
                batch.plus(&depth).coefficient(var)
            }
        }
    }
}

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Nest {
    /// The scalar expressions; loads are looked up in `reads`.
    pub body: Body,
    /// The extents of the result's loop variables (1 for those merged into a neighbour).
    pub extents: Vec<Dim>,
    /// The element types of the operands.
    pub operands: Vec<DType>,
    /// For every load of `body` its operand and address.
    pub reads: BTreeMap<ScalarId, (usize, Address)>,
    /// Where the result goes.
    pub result: Affine,
    /// The fold as products of integers, whose constants are packed.
    pub quantized: Option<Quantized>,
}

impl Nest {
    /// The nest of `body` over operands that lie as `operands` says, its result as `result` says. Starts are not
    /// part of the addresses: they belong to the arguments.
    pub fn new(body: &Body, operands: &[Home], result: &Home) -> Nest {
        let mut nest = Nest::unmerged(body, operands, result);
        nest.drop_unit_variables();
        nest.merge_variables();
        nest
    }

    /// [`Nest::new`] with a loop for every variable of the body.
    pub fn unmerged(body: &Body, operands: &[Home], result: &Home) -> Nest {
        let mut reads = BTreeMap::new();
        for (id, node) in body.nodes() {
            let Scalar::Load { operand, index } = node else { continue };
            let (mut affine, mut computed) = (Affine::default(), Vec::new());
            for (at, stride) in index.iter().zip(&operands[*operand].strides) {
                match Affine::of(body, *at) {
                    Some(term) => affine = affine.plus(&term.times(stride)),
                    None => computed.push((*at, stride.clone())),
                }
            }
            reads.insert(id, (*operand, Address::Strided { affine, computed }));
        }
        let mut to = Affine::default();
        for (variable, stride) in result.strides.iter().enumerate() {
            if !body.space[variable].is(1) {
                to = to
                    .plus(&Affine { terms: BTreeMap::from([(Var::Index(variable), stride.clone())]), constant: None });
            }
        }
        let operands = body.operand_dtypes().to_vec();
        Nest { body: body.clone(), extents: body.space.clone(), operands, reads, result: to, quantized: None }
    }

    /// A loop of one iteration is at 0.
    fn drop_unit_variables(&mut self) {
        let unit: Vec<Var> = (0..self.extents.len()).filter(|i| self.extents[*i].is(1)).map(Var::Index).collect();
        for (_, address) in self.reads.values_mut() {
            if let Address::Strided { affine, .. } = address {
                affine.terms.retain(|var, _| !unit.contains(var));
            }
        }
    }

    /// The variables used other than in affine addresses.
    fn used_as_values(&self) -> BTreeSet<Var> {
        let mut used = BTreeSet::new();
        let mut roots: Vec<ScalarId> = self.body.folds.iter().map(|fold| fold.element).collect();
        roots.push(self.body.value);
        let mut seen = BTreeSet::new();
        while let Some(id) = roots.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.body.node(id) {
                Scalar::Index(variable) => {
                    used.insert(Var::Index(*variable));
                }
                Scalar::Reduce(variable) => {
                    used.insert(Var::Reduce(*variable));
                }
                Scalar::Load { .. } => match &self.reads[&id].1 {
                    Address::Strided { computed, .. } => roots.extend(computed.iter().map(|(id, _)| *id)),
                    Address::Panels { .. } => {}
                },
                node => roots.extend(Body::children(node)),
            }
        }
        used
    }

    /// Makes one loop of two neighbours wherever every address walks through both as through one.
    fn merge_variables(&mut self) {
        let used = self.used_as_values();
        for inner in (1..self.extents.len()).rev() {
            if self.extents[inner].is(1) {
                continue;
            }
            let Some(outer) = (0..inner).rev().find(|outer| !self.extents[*outer].is(1)) else { return };
            let (outer_var, inner_var) = (Var::Index(outer), Var::Index(inner));
            if used.contains(&outer_var) || used.contains(&inner_var) {
                continue;
            }
            let extent = self.extents[inner].clone();
            let alike = |affine: &Affine| affine.coefficient(outer_var) == &affine.coefficient(inner_var) * &extent;
            let reads_alike = self.reads.values().all(|(_, address)| match address {
                Address::Strided { affine, .. } => alike(affine),
                Address::Panels { .. } => false,
            });
            if !reads_alike || !alike(&self.result) {
                continue;
            }
            // The merged loop takes the outer place, so that it can merge further out.
            let merge = |affine: &mut Affine| {
                affine.terms.remove(&outer_var);
                if let Some(stride) = affine.terms.remove(&inner_var) {
                    affine.terms.insert(outer_var, stride);
                }
            };
            merge(&mut self.result);
            for (_, address) in self.reads.values_mut() {
                if let Address::Strided { affine, .. } = address {
                    merge(affine);
                }
            }
            self.extents[outer] = &self.extents[outer] * &extent;
            self.extents[inner] = Dim::from(1);
        }
    }

    /// The variables (of the result, and of the enclosing fold) that the value of `id` depends on, through
    /// addresses and folds.
    pub fn dependencies(&self, id: ScalarId) -> BTreeSet<Var> {
        let mut found = BTreeSet::new();
        match self.body.node(id) {
            Scalar::Index(variable) => {
                found.insert(Var::Index(*variable));
            }
            Scalar::Reduce(variable) => {
                found.insert(Var::Reduce(*variable));
            }
            Scalar::Fold(fold) => {
                let inside = self.dependencies(self.body.folds[*fold].element);
                found.extend(inside.into_iter().filter(|var| matches!(var, Var::Index(_))));
            }
            // The element of a load that is needed no more has no address.
            Scalar::Load { .. } => match self.reads.get(&id).map(|(_, address)| address) {
                None => {}
                Some(Address::Strided { affine, computed }) => {
                    found.extend(affine.terms.keys().copied());
                    found.extend(computed.iter().flat_map(|(id, _)| self.dependencies(*id)));
                }
                Some(Address::Panels { batch, depth, column, .. }) => {
                    found.extend(batch.terms.keys().chain(depth.terms.keys()).copied());
                    found.insert(*column);
                }
            },
            node => found.extend(Body::children(node).into_iter().flat_map(|child| self.dependencies(child))),
        }
        found
    }

    /// Whether `id` can be computed for consecutive values of `var` in the lanes of a vector: what is read lies
    /// side by side (or is the same; or anywhere, if it may be gathered), and no test that guards a read depends
    /// on `var`.
    pub fn is_vectorisable(&self, id: ScalarId, var: Var, gathered: bool) -> bool {
        match self.body.node(id) {
            Scalar::Load { .. } => match &self.reads[&id].1 {
                Address::Strided { affine, computed } => {
                    let stride = affine.coefficient(var);
                    (gathered || stride.is(0) || stride.is(1))
                        && computed.iter().all(|(id, _)| !self.dependencies(*id).contains(&var))
                }
                Address::Panels { .. } => true,
            },
            Scalar::Select(condition, a, b) => {
                let guards = [a, b].iter().any(|id| self.has_load(**id));
                (!guards || !self.dependencies(*condition).contains(&var))
                    && [condition, a, b].iter().all(|id| self.is_vectorisable(**id, var, gathered))
            }
            node => Body::children(node).into_iter().all(|child| self.is_vectorisable(child, var, gathered)),
        }
    }

    /// Whether `id` reads memory.
    pub fn has_load(&self, id: ScalarId) -> bool {
        self.body.reachable(id).into_iter().any(|id| matches!(self.body.node(id), Scalar::Load { .. }))
    }

    /// The innermost loop variable along which the result's elements lie side by side.
    pub fn column(&self) -> Option<usize> {
        (0..self.extents.len()).rev().find(|i| self.result.coefficient(Var::Index(*i)).is(1))
    }

    /// The factors of fold `fold`, the one that moves along `variable` first.
    pub fn sides(&self, fold: usize, variable: usize) -> Option<(ScalarId, ScalarId)> {
        let (a, b) = self.factors(fold)?;
        Some(if self.dependencies(a).contains(&Var::Index(variable)) { (a, b) } else { (b, a) })
    }

    /// The factors of a sum of products, as they are before they are widened to the type of the sum.
    pub fn factors(&self, fold: usize) -> Option<(ScalarId, ScalarId)> {
        let fold = &self.body.folds[fold];
        let narrow = |side: ScalarId| match self.body.node(side) {
            Scalar::Cast(DType::F32, a) if matches!(self.body.dtype(*a), DType::F16 | DType::Bf16) => *a,
            _ => side,
        };
        match self.body.node(fold.element) {
            Scalar::Binary(BinaryOp::Mul, a, b) if fold.op == drupe_ir::FoldOp::Sum => Some((narrow(*a), narrow(*b))),
            _ => None,
        }
    }
}
