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

use crate::affine::greatest_common_divisor;
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
    /// The integers that move along the rows, or floats.
    pub x: ScalarId,
    /// The scale of integers, a load or one number for all; none for floats.
    pub x_scale: Option<ScalarId>,
    /// The integers that move along the columns.
    pub weight: ScalarId,
    /// Their scale.
    pub weight_scale: ScalarId,
    /// What is added to the scaled weight.
    pub offset: Option<ScalarId>,
    /// Whether weights are floats of 4 bits.
    pub small_floats: bool,
}

/// How a matrix of integers is packed for all levels of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Elements of a row.
    pub depth: i64,
    /// Bits of a weight.
    pub bits: u32,
    /// Whether weights have a sign.
    pub signed: bool,
    /// What packed weights are as factors of integers.
    pub factor: DType,
    /// What packed weights are more than the weights.
    pub bias: i64,
}

/// A fold as products whose constants are packed: of integers, or of floats with integers. The addresses of its loads in a nest are those before
/// packing; the operands are the packed ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantized {
    /// What it reads.
    pub loads: Loads,
    /// The sums of x over runs, times [`Quantized::sum_factor`], where they are needed.
    pub sums: Option<ScalarId>,
    /// The loop variable that is the column.
    pub column: usize,
    /// Elements for which no scale changes.
    pub run: i64,
    /// Elements that share a scale of x.
    pub x_run: i64,
    /// Elements that share a scale of the weights.
    pub weight_run: i64,
    /// How the weights lie.
    pub packing: Packing,
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
        let number = |id: ScalarId| matches!(body.node(id), Scalar::Float(..)).then_some(id);
        let (scaled_x, scaled_weight) = product(fold.element)?;
        let (scaled_weight, offset) = match body.node(scaled_weight) {
            Scalar::Binary(BinaryOp::Add, a, b) => (*a, Some(load(*b)?)),
            _ => (scaled_weight, None),
        };
        let (weight_scale, weight) = product(scaled_weight)?;
        let (x_scale, x) = match product(scaled_x) {
            Some((x_scale, x)) => (Some(number(x_scale).or_else(|| load(x_scale))?), x),
            None => (None, scaled_x),
        };
        // What else is made of one code is a float of 4 bits.
        let coded = || {
            let is_load = |id: &ScalarId| matches!(body.node(*id), Scalar::Load { .. });
            let mut loads = body.reachable(weight).into_iter().filter(is_load);
            loads.next().filter(|code| loads.next().is_none() && body.dtype(*code) == DType::U4)
        };
        let integer = load(weight);
        let loads = Loads {
            x: load(x)?,
            x_scale,
            small_floats: integer.is_none(),
            weight: integer.or_else(coded)?,
            weight_scale: load(weight_scale)?,
            offset,
        };
        let (x, weight) = (body.dtype(loads.x), body.dtype(loads.weight));
        let fits = if loads.x_scale.is_some() { x == DType::I8 } else { matches!(x, DType::F32 | DType::F16) };
        let octets = fits && weight.is_int() && weight.bits() <= 8;
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
        let weight_run = last(loads.weight_scale)?;
        // One number for all is as good as one of each row.
        let x_run = loads.x_scale.filter(|scale| index(*scale).is_some()).map_or(Some(depth), last)?;
        let run = greatest_common_divisor(x_run, weight_run);
        let packing = Packing::new(body.dtype(loads.weight), depth, target);
        let quantized = Quantized { loads, sums: None, column: *column, run, x_run, weight_run, packing };
        let whole = run == depth || run % quantized.packing.block() == 0;
        (plain && whole && depth > 0 && run <= MOST_ELEMENTS).then_some(quantized)
    }

    /// Whether x stays float.
    pub fn of_floats(&self) -> bool {
        self.loads.x_scale.is_none()
    }

    /// Runs of a row.
    pub fn runs(&self) -> i64 {
        self.packing.depth / self.run
    }

    /// Whether sums of x are read: offsets are multiplied by them, and what integers are biased by is.
    pub fn needs_sums(&self) -> bool {
        self.loads.offset.is_some() || self.starts_at_bias()
    }

    /// Whether accumulators start at what the bias of packed weights adds.
    pub fn starts_at_bias(&self) -> bool {
        self.packing.bias != 0 && !self.of_floats()
    }

    /// What sums of x are multiplied by: accumulators start there.
    pub fn sum_factor(&self) -> i64 {
        if self.starts_at_bias() { -self.packing.bias } else { 1 }
    }
}

impl Packing {
    /// The packing of rows of `depth` integers of type `dtype`.
    pub fn new(dtype: DType, depth: i64, target: &Target) -> Packing {
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
        Packing { depth, bits, signed, factor, bias }
    }

    /// Elements of a block.
    pub fn block(&self) -> i64 {
        BLOCK_OCTETS * 8 / i64::from(self.bits)
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> i64 {
        (self.depth + self.block() - 1) / self.block()
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

    /// Where element `inner` of row `row` of the packed weights is: the octet, and whether it is in the high nibble.
    fn position(&self, body: &mut Body, row: ScalarId, inner: ScalarId) -> (ScalarId, Option<ScalarId>) {
        let block = body.int(self.block());
        let at_block = body.binary(BinaryOp::FloorDiv, inner, block);
        let line = in_panel(body, row, self.blocks(), at_block);
        let octets = body.int(BLOCK_OCTETS);
        let first = body.binary(BinaryOp::Mul, line, octets);
        let octet = body.binary(BinaryOp::Mod, inner, octets);
        let at = body.binary(BinaryOp::Add, first, octet);
        let high = (self.bits == 4).then(|| {
            let in_block = body.binary(BinaryOp::Mod, inner, block);
            body.binary(BinaryOp::Ge, in_block, octets)
        });
        (at, high)
    }

    /// Element `inner` of row `row`, an i32, of the packed weights, which are the octets of `operand`.
    pub fn element(&self, body: &mut Body, operand: usize, row: ScalarId, inner: ScalarId) -> ScalarId {
        let (at, high) = self.position(body, row, inner);
        let octet = body.load(operand, vec![at]);
        let mut number = body.cast(DType::I32, octet);
        if let Some(high) = high {
            let (four, mask) = (body.number(DType::I32, 4.0), body.number(DType::I32, 15.0));
            let shifted = body.binary(BinaryOp::Shr, number, four);
            number = body.select(high, shifted, number);
            number = body.binary(BinaryOp::And, number, mask);
        }
        let bias = body.number(DType::I32, self.bias as f64);
        body.binary(BinaryOp::Sub, number, bias)
    }

    /// The scale or offset of group `group`, of `groups`, of row `row`: an element of `operand`, which has them packed.
    pub fn scale(body: &mut Body, operand: usize, row: ScalarId, groups: i64, group: ScalarId) -> ScalarId {
        let at = in_panel(body, row, groups, group);
        body.load(operand, vec![at])
    }
}

/// The position of line `line`, of `lines`, of column `row` in panels.
fn in_panel(body: &mut Body, row: ScalarId, lines: i64, line: ScalarId) -> ScalarId {
    let (width, lines) = (body.int(PANEL), body.int(lines));
    let (panel, lane) = (body.binary(BinaryOp::FloorDiv, row, width), body.binary(BinaryOp::Mod, row, width));
    let before = body.binary(BinaryOp::Mul, panel, lines);
    let line = body.binary(BinaryOp::Add, before, line);
    let line = body.binary(BinaryOp::Mul, line, width);
    body.binary(BinaryOp::Add, line, lane)
}
