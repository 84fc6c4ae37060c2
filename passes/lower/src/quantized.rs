//! Products of quantized matrices as products of integers: which folds are such, and their constants packed.
//!
//! The fold of a `quantized_linear` sums `x_scale * x * (weight_scale * weight + offset)`. Over a *run*, the elements
//! for which no scale changes, that is a dot product of integers, scaled once:
//!
//! ```text
//! x_scale * (weight_scale * dot(x, weight) + offset * sum(x))
//! ```
//!
//! Weights are packed once for all levels and all numbers of rows, in panels of 16 columns: `[column / 16][block][16][4
//! octets]`, where a block is four elements of 8 bits, or eight of 4 bits: the low nibbles are the first four of them.
//! What is packed differs from the weights by a *bias*, so that octets have the sign that the target's instruction
//! takes, and nibbles are never negative; accumulators start at `-bias * sum(x)`. Scales and offsets are packed as
//! `[column / 16][run][16]`. What is beyond the last column, and beyond the last element of a row, is 0.

use crate::nest::PANEL;
use drupe_ir::{BinaryOp, Body, DType, FoldOp, Scalar, ScalarId, TensorData};
use drupe_target::{Int8Dot, Target};

/// Octets of a block of a column: a dot product's share.
pub const BLOCK_OCTETS: i64 = 4;

/// The most elements of a run: their products and those of the bias fit 32 bits.
const MOST_ELEMENTS: i64 = 1 << 16;

/// The loads of a quantized product's fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loads {
    /// The integers that move along the rows.
    pub x: ScalarId,
    /// Their scale.
    pub x_scale: ScalarId,
    /// The integers that move along the columns.
    pub weight: ScalarId,
    /// Their scale.
    pub weight_scale: ScalarId,
    /// What is added to the scaled weight.
    pub offset: Option<ScalarId>,
}

/// A fold as products of integers, whose constants are packed. The addresses of its loads in a nest are those before
/// packing; the operands are the packed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// What it reads.
    pub loads: Loads,
    /// The sums of x over runs, times [`Quantized::sum_factor`], where they are needed.
    pub sums: Option<ScalarId>,
    /// The loop variable that is the column.
    pub column: usize,
    /// Elements of a row.
    pub depth: i64,
    /// Elements for which no scale changes.
    pub run: i64,
    /// Elements that share a scale of x.
    pub x_run: i64,
    /// Elements that share a scale of the weights.
    pub weight_run: i64,
    /// Bits of a weight.
    pub bits: u32,
    /// What packed weights are as factors.
    pub factor: DType,
    /// What packed weights are more than the weights.
    pub bias: i64,
}

impl Loads {
    /// The loads of `body`, if its one fold is that of a quantized product.
    pub fn of(body: &Body) -> Option<Loads> {
        let [fold] = body.folds.as_slice() else { return None };
        let product = |id: ScalarId| match body.node(id) {
            Scalar::Binary(BinaryOp::Mul, a, b) => Some((*a, *b)),
            _ => None,
        };
        let load = |id: ScalarId| {
            let id = match body.node(id) {
                Scalar::Cast(DType::F32, a) => *a,
                _ => id,
            };
            matches!(body.node(id), Scalar::Load { .. }).then_some(id)
        };
        let (scaled_x, scaled_weight) = product(fold.element)?;
        let (scaled_weight, offset) = match body.node(scaled_weight) {
            Scalar::Binary(BinaryOp::Add, a, b) => (*a, Some(load(*b)?)),
            _ => (scaled_weight, None),
        };
        let ((x_scale, x), (weight_scale, weight)) = (product(scaled_x)?, product(scaled_weight)?);
        let loads = Loads {
            x: load(x)?,
            x_scale: load(x_scale)?,
            weight: load(weight)?,
            weight_scale: load(weight_scale)?,
            offset,
        };
        let octets = body.dtype(loads.x) == DType::I8 && body.dtype(loads.weight).bits() <= 8;
        (octets && fold.op == FoldOp::Sum).then_some(loads)
    }
}

/// The elements along which a group's number, an index of a load, stays the same.
fn group_length(body: &Body, index: ScalarId) -> Option<i64> {
    match body.node(index) {
        Scalar::Reduce(0) => Some(1),
        Scalar::Binary(BinaryOp::FloorDiv, inner, length) => match (body.node(*inner), body.node(*length)) {
            (Scalar::Reduce(0), Scalar::Int(_, length)) => Some(*length),
            _ => None,
        },
        _ => None,
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Quantized {
    /// The fold of `body`, whose loads are `loads`, for the levels of `target`; `None` where its runs are not whole
    /// blocks. There are no sums yet.
    pub fn new(body: &Body, loads: Loads, target: &Target) -> Option<Quantized> {
        let index = |load: ScalarId| match body.node(load) {
            Scalar::Load { index, .. } => Some(index.as_slice()),
            _ => None,
        };
        let last = |load: ScalarId| group_length(body, *index(load)?.last()?);
        let &[column, inner] = index(loads.weight)? else { return None };
        let Scalar::Index(column) = body.node(column) else { return None };
        let plain = *body.node(inner) == Scalar::Reduce(0) && index(loads.x)?.last() == Some(&inner);
        let depth = body.folds[0].space[0].as_const()?;
        let (x_run, weight_run) = (last(loads.x_scale)?, last(loads.weight_scale)?);
        let run = greatest_common_divisor(x_run, weight_run);
        let dtype = body.dtype(loads.weight);
        let (bits, signed) = (dtype.bits(), dtype.is_signed_int());
        let unsigned_factors = target.levels.iter().any(|level| level.int8_dot == Some(Int8Dot::Vnni));
        let (factor, bias) = match (bits, signed) {
            (4, true) => (DType::U8, 8),
            (4, false) => (DType::U8, 0),
            (_, true) if unsigned_factors => (DType::U8, 128),
            (_, false) if !unsigned_factors => (DType::I8, -128),
            _ => (dtype, 0),
        };
        // Nibbles are octets of either sign.
        let factor = if bits == 4 && !unsigned_factors { DType::I8 } else { factor };
        let quantized =
            Quantized { loads, sums: None, column: *column, depth, run, x_run, weight_run, bits, factor, bias };
        let whole = run == depth || run % quantized.block() == 0;
        (plain && whole && depth > 0 && run <= MOST_ELEMENTS).then_some(quantized)
    }

    /// Elements of a block.
    pub fn block(&self) -> i64 {
        BLOCK_OCTETS * 8 / i64::from(self.bits)
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> i64 {
        (self.depth + self.block() - 1) / self.block()
    }

    /// Runs of a row.
    pub fn runs(&self) -> i64 {
        self.depth / self.run
    }

    /// Whether sums of x are read.
    pub fn needs_sums(&self) -> bool {
        self.bias != 0 || self.loads.offset.is_some()
    }

    /// What sums of x are multiplied by: accumulators start there.
    pub fn sum_factor(&self) -> i64 {
        if self.bias == 0 { 1 } else { -self.bias }
    }

    /// The weights `[columns, depth]`, packed.
    pub fn pack_weight(&self, data: &TensorData) -> Option<TensorData> {
        let (panel, depth, block) = (PANEL as usize, self.depth as usize, self.block() as usize);
        let (blocks, columns) = (self.blocks() as usize, *data.shape.first()?);
        let panels = columns.div_ceil(panel);
        let octets = data.bytes();
        let stored = |column: usize, k: usize| {
            let element = column * depth + k;
            let bits = match self.bits {
                4 => octets[element / 2] >> (4 * (element % 2)) & 15,
                _ => octets[element],
            };
            let biased = bits.wrapping_add(self.bias as u8);
            if self.bits == 4 { biased & 15 } else { biased }
        };
        let mut packed = vec![0u8; panels * blocks * panel * BLOCK_OCTETS as usize];
        for (position, octet) in packed.iter_mut().enumerate() {
            let (rest, j) = (position / BLOCK_OCTETS as usize, position % BLOCK_OCTETS as usize);
            let (rest, lane) = (rest / panel, rest % panel);
            let (at_panel, at_block) = (rest / blocks, rest % blocks);
            let column = at_panel * panel + lane;
            let element = |k: usize| if column < columns && k < depth { stored(column, k) } else { 0 };
            let first = at_block * block + j;
            *octet = element(first);
            if self.bits == 4 {
                *octet |= element(first + block / 2) << 4;
            }
        }
        TensorData::from_bytes(self.factor, vec![panels, blocks, panel, BLOCK_OCTETS as usize], packed).ok()
    }

    /// Scales or offsets `[columns, groups]`, packed.
    pub fn pack_scale(&self, data: &TensorData) -> Option<TensorData> {
        let &[columns, groups] = data.shape.as_slice() else { return None };
        let (panel, size) = (PANEL as usize, data.dtype.bytes_of(1));
        let panels = columns.div_ceil(panel);
        let mut packed = vec![0u8; panels * groups * panel * size];
        for (position, to) in packed.chunks_exact_mut(size).enumerate() {
            let (rest, lane) = (position / panel, position % panel);
            let (at_panel, group) = (rest / groups, rest % groups);
            let column = at_panel * panel + lane;
            if column < columns {
                let from = (column * groups + group) * size;
                to.copy_from_slice(&data.bytes()[from..from + size]);
            }
        }
        TensorData::from_bytes(data.dtype, vec![panels, groups, panel], packed).ok()
    }
}
