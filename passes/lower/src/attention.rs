//! Attention: scores, softmax and weighted sum as one kernel that keeps the scores out of memory.
//!
//! Three regions, each the only reader of the one before: a contraction that gives the scores (its epilogue scales and
//! masks them), a softmax along the keys, and a contraction of the weights over the keys. They become one step: of a
//! GPU with shared memory ([`crate::emit::emit_attention`]), of a CPU with private arrays
//! ([`crate::emit::emit_attention_tasks`]). Where every value is kept, and where sizes do not fit, the three stay.

mod side;
mod visible;

pub use side::lane_step;
pub use visible::{Bound, Visible};

use side::granule;

use crate::affine::{Var, greatest_common_divisor};
use crate::fuse::{Region, Role, is_contraction};
use crate::nest::{Nest, QUAD};
use crate::place::Home;
use drupe_ir::{DType, Module, Op, Scalar, ScalarId, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// What a region is to an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It computes the scores of the attention whose result is given.
    Scores(ValueId),
    /// It computes their softmax.
    Weights(ValueId),
    /// It computes the result.
    Sum {
        /// The scores.
        scores: ValueId,
        /// The softmax.
        weights: ValueId,
    },
}

/// The parts that `regions` play: by result.
pub fn find(module: &Module, roles: &[Role], regions: &[Region]) -> BTreeMap<ValueId, Part> {
    let graph = &module.graph;
    let users = graph.users();
    let by_result: BTreeMap<ValueId, &Region> = regions.iter().map(|region| (region.result, region)).collect();
    let is_output = |value: ValueId| graph.outputs.values().any(|output| *output == value);
    let readers = |value: ValueId| regions.iter().filter(|region| region.operands.contains(&value)).count();
    // Computed by a region, and read by one other.
    let only_once = |value: ValueId| {
        let viewed = users[value.index()]
            .iter()
            .any(|user| roles[user.index()] != Role::Kernel && roles[user.index()] != Role::Inlined);
        roles[value.index()] == Role::Kernel && readers(value) == 1 && !is_output(value) && !viewed
    };
    let mut parts = BTreeMap::new();
    for region in regions {
        let candidates = region.operands.iter().copied().filter(|operand| only_once(*operand));
        for weights in candidates {
            let Op::Softmax(softmax) = &graph.node(weights).op else { continue };
            let softmax_region = by_result[&weights];
            let [scores] = softmax_region.operands.as_slice() else { continue };
            let last = softmax.axis as usize + 1 == graph.ty(weights).rank();
            let plain = graph.node(weights).operands.first() == Some(scores);
            let summed = by_result.get(scores).is_some_and(|region| is_sum_of_products(region));
            if last && plain && summed && only_once(*scores) && is_sum_of_products(region) {
                parts.insert(*scores, Part::Scores(region.result));
                parts.insert(weights, Part::Weights(region.result));
                parts.insert(region.result, Part::Sum { scores: *scores, weights });
            }
        }
    }
    parts
}

/// Whether the region sums products along one variable.
fn is_sum_of_products(region: &Region) -> bool {
    is_contraction(&region.body) && region.body.folds[0].space.len() == 1
}

/// An attention and what it reads.
#[derive(Clone)]
pub struct Joined {
    /// The attention. Its operands are those of the scores, then those of the sum.
    pub attention: Attention,
    /// How the operands lie.
    pub homes: Vec<Home>,
    /// The operands' element types.
    pub dtypes: Vec<DType>,
}

/// Joins the scores and the sum, each an unmerged nest and how its operands lie; `weights` is the operand of the sum that
/// is none any more. `None` where they do not fit.
pub fn join(scores: (Nest, Vec<Home>), sum: (Nest, Vec<Home>), weights: usize) -> Option<Joined> {
    let ((scores, mut homes), (mut sum, sum_homes)) = (scores, sum);
    let dtypes = [scores.operands.as_slice(), sum.operands.as_slice()].concat();
    sum.reads.retain(|_, (operand, _)| *operand != weights);
    for (operand, _) in sum.reads.values_mut() {
        *operand += homes.len();
    }
    homes.extend(sum_homes);
    let mut joined = Joined { attention: Attention::new(scores, sum, weights)?, homes, dtypes };
    joined.drop_unread();
    Some(joined)
}

impl Joined {
    /// What is left to do once the weighted sums are there: the epilogue of the sum, and what that reads.
    pub fn epilogue(&self) -> Joined {
        let Joined { mut attention, homes, dtypes } = self.clone();
        let sum = &mut attention.sum;
        let read: BTreeSet<ScalarId> = sum.body.reachable(sum.body.value).into_iter().collect();
        sum.reads.retain(|load, _| read.contains(load));
        attention.scores.reads.clear();
        let mut epilogue = Joined { attention, homes, dtypes };
        epilogue.drop_unread();
        epilogue
    }

    /// Drops the operands that nothing reads.
    fn drop_unread(&mut self) {
        let nests = [&mut self.attention.scores, &mut self.attention.sum];
        let mut reads: Vec<&mut usize> =
            nests.into_iter().flat_map(|nest| nest.reads.values_mut().map(|(operand, _)| operand)).collect();
        let read: BTreeSet<usize> = reads.iter().map(|operand| **operand).collect();
        for operand in &mut reads {
            **operand = read.range(..**operand).count();
        }
        self.homes = read.iter().map(|operand| self.homes[*operand].clone()).collect();
        self.dtypes = read.iter().map(|operand| self.dtypes[*operand]).collect();
    }
}

/// An attention as nests whose loops are those of the values: none are merged.
#[derive(Clone, Debug)]
pub struct Attention {
    /// The scores. Its last variable is the key, the one before it the query.
    pub scores: Nest,
    /// The weighted sum; its reduction variable is the key. Its operands are behind those of the scores.
    pub sum: Nest,
    /// The factor of the scores that moves along the queries.
    pub query_side: ScalarId,
    /// The factor that moves along the keys.
    pub key_side: ScalarId,
    /// The factor of the sum that is not the weights.
    pub value_side: ScalarId,
    /// For every variable of the scores but the key the variable of the sum; none for an axis of extent 1.
    pub variables: Vec<Option<usize>>,
    /// The variable of the sum that is the query.
    pub query: usize,
    /// The variable of the sum whose values lie side by side.
    pub column: usize,
    /// Vectors along the depth and the columns have a number of lanes that divides this: groups of quantised keys and
    /// values begin at whole vectors.
    pub granule: i64,
    /// The keys that a query sees, where the scores' epilogue says so.
    pub visible: Option<Visible>,
}

/// The most columns of the result.
const MOST_COLUMNS: i64 = 256;

impl Attention {
    /// The variable of the sum, other than the query, along which neither keys nor values move: queries that differ
    /// in nothing else share them.
    pub fn sharing(&self) -> Option<usize> {
        let keys = self.scores.dependencies(self.key_side);
        let values = self.sum.dependencies(self.value_side);
        let shares = |(axis, variable): &(usize, usize)| {
            let apart =
                *variable != self.query && self.sum.extents[*variable].as_const().is_some_and(|extent| extent > 1);
            apart && !keys.contains(&Var::Index(*axis)) && !values.contains(&Var::Index(*variable))
        };
        let mut counted = self.variables.iter().enumerate().filter_map(|(axis, variable)| Some((axis, (*variable)?)));
        counted.rfind(shares).map(|(_, variable)| variable)
    }

    /// Whether queries, keys and values are loads: none is computed from integers and scales.
    pub fn is_plain(&self) -> bool {
        let in_scores = [self.query_side, self.key_side].iter().all(|side| self.scores.reads.contains_key(side));
        in_scores && self.sum.reads.contains_key(&self.value_side)
    }

    /// The depth of the scores' sums, and the columns of the result.
    pub fn sizes(&self) -> (i64, i64) {
        let depth = self.scores.body.folds[0].space[0].as_const().expect("checked by Attention::new");
        (depth, self.sum.extents[self.column].as_const().expect("checked by Attention::new"))
    }

    /// The attention of two nests, where `weights` is the load of the weights in `sum`; `None` where they do not fit.
    pub fn new(scores: Nest, sum: Nest, weights: usize) -> Option<Attention> {
        let (a, b) = sum.factors(0)?;
        let is_weights =
            |side: ScalarId| matches!(sum.body.node(side), Scalar::Load { operand, .. } if *operand == weights);
        let (weights_side, value_side) = if is_weights(a) { (a, b) } else { (b, a) };
        let Scalar::Load { index, .. } = sum.body.node(weights_side) else { return None };
        let (key, leading) = index.split_last()?;
        if !is_weights(weights_side) || is_weights(value_side) || *sum.body.node(*key) != Scalar::Reduce(0) {
            return None;
        }
        let variable = |(axis, id): (usize, &ScalarId)| match sum.body.node(*id) {
            Scalar::Index(variable) => Some(Some(*variable)),
            Scalar::Int(_, 0) if scores.extents[axis].is(1) => Some(None),
            _ => None,
        };
        let variables: Vec<Option<usize>> = leading.iter().enumerate().map(variable).collect::<Option<_>>()?;
        let counted: Vec<usize> = variables.iter().flatten().copied().collect();
        let distinct = (1..counted.len()).all(|at| !counted[..at].contains(&counted[at]));
        let query = (*variables.last()?)?;
        let rank = scores.extents.len();
        let (query_var, key_var) = (Var::Index(rank.checked_sub(2)?), Var::Index(rank - 1));
        let moves = |side: ScalarId, var: Var| scores.dependencies(side).contains(&var);
        // By the key: an only query has no address to move.
        let (key_side, query_side) = scores.sides(0, rank - 1)?;
        let depth = scores.body.folds[0].space[0].as_const()?;
        let apart = !moves(query_side, key_var) && moves(key_side, key_var) && !moves(key_side, query_var);
        let column = sum.column()?;
        let columns = sum.extents[column].as_const()?;
        let column_var = Var::Index(column);
        let granules = [
            granule(&scores, query_side, Var::Reduce(0))?,
            granule(&scores, key_side, Var::Reduce(0))?,
            granule(&sum, value_side, column_var)?,
        ];
        let granule = granules.into_iter().fold(depth, greatest_common_divisor);
        let granule = greatest_common_divisor(granule, columns);
        let values = sum.dependencies(value_side);
        let fits = sum.is_vectorisable(sum.body.value, column_var, true)
            && values.contains(&column_var)
            && !values.contains(&Var::Index(query));
        let float = scores.body.dtype(scores.body.value).is_float();
        let covers = (0..sum.extents.len()).all(|i| sum.extents[i].is(1) || (i == column) != counted.contains(&i));
        let sizes = granule % QUAD == 0 && columns <= MOST_COLUMNS && depth <= MOST_COLUMNS;
        (distinct && apart && fits && float && covers && sizes).then(|| Attention {
            visible: Visible::of(&scores),
            query_side,
            key_side,
            value_side,
            variables,
            query,
            column,
            granule,
            scores,
            sum,
        })
    }
}
