//! Quantized products: their constants are packed, and rows summed where accumulators start at a bias. Rows that are looked
//! up are read from the same packed constants.

use super::Builder;
use crate::BufferId;
use crate::fuse::Region;
use crate::nest::Nest;
use crate::place::{Halo, Home, name_of};
use crate::quantized::{Loads, Packing, Quantized};
use crate::schedule::packed_fits_gpu;
use drupe_ir::{BinaryOp, Body, DType, Dim, FoldOp, Op, Scalar, ScalarId, TensorData, Type, ValueId};

/// A quantized product, and its constants packed.
pub(super) struct Packed {
    quantized: Quantized,
    /// The loads that read packed constants, and those.
    constants: Vec<(ScalarId, DType, Home)>,
}

/// What an operand of a look-up is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The weights.
    Weights,
    /// Scales or offsets, so many a row.
    Scales(i64),
    /// Another operand.
    Other,
}

impl Builder<'_> {
    /// The quantized product of a region, if it is one of constant weights. The sums of its rows become another operand,
    /// which is a CPU's: on a GPU they cost less where they are needed.
    pub(super) fn quantized(
        &mut self,
        region: &Region,
        body: &mut Body,
        homes: &mut Vec<Home>,
        to: &Home,
    ) -> Option<Packed> {
        let mut quantized = Quantized::new(body, Loads::of(body)?, self.target)?;
        if self.options.gpu.is_some() && !packed_fits_gpu(&quantized) {
            return None;
        }
        let Scalar::Load { operand: x, index: x_index } = body.node(quantized.loads.x).clone() else { return None };
        let side_by_side = Nest::new(body, homes, to).column() == Some(quantized.column);
        if !side_by_side || !homes[x].strides.last()?.is(1) {
            return None;
        }
        let loads = quantized.loads.clone();
        let mut constants = Vec::new();
        for load in [loads.weight, loads.weight_scale].into_iter().chain(loads.offset) {
            let Scalar::Load { operand, .. } = body.node(load) else { return None };
            let value = region.operands[*operand];
            if !homes[*operand].start.is(0) {
                return None;
            }
            let (buffer, dtype) = self.packed_constant(value, &quantized.packing, load == loads.weight)?;
            constants.push((load, dtype, Home { buffer, start: Dim::from(0), strides: Vec::new() }));
        }
        if quantized.needs_sums() {
            let home = self.row_sums(region, x, &homes[x].clone(), &quantized);
            let number = body.add_operand(if quantized.of_floats() { DType::F32 } else { DType::I32 });
            homes.push(home);
            let inner = body.reduce(0);
            let run = body.int(quantized.run);
            let at = body.binary(BinaryOp::FloorDiv, inner, run);
            let rows = &x_index[..x_index.len() - 1];
            quantized.sums = Some(body.load(number, [rows, &[at]].concat()));
        }
        Some(Packed { quantized, constants })
    }

    /// The constant `value`, weights or their scales, packed; and what its elements are then.
    fn packed_constant(&mut self, value: ValueId, packing: &Packing, weights: bool) -> Option<(BufferId, DType)> {
        let (_, data) = self.constant_behind(value)?;
        let dtype = if weights { packing.factor } else { data.dtype };
        let key = (value, format!("{weights} {} {}", packing.factor, packing.bias));
        if let Some(buffer) = self.packed.get(&key) {
            return Some((*buffer, dtype));
        }
        let packed = if weights { packing.pack_weight(data)? } else { packing.pack_scale(data)? };
        let buffer = self.places.constant(&format!("{}.packed", name_of(self.module, value)), packed);
        self.packed.insert(key, buffer);
        Some((buffer, dtype))
    }

    /// Makes a region that looks up rows of constant weights read them as products have them packed: so they are there
    /// once.
    pub(super) fn look_up(&mut self, region: &Region, body: &mut Body, homes: &mut [Home]) -> Option<()> {
        let node = self.module.graph.node(region.result);
        let (Op::QuantizedGather(_), Some(at)) = (&node.op, node.op.quantized_operands()) else { return None };
        let ty = self.module.graph.ty(node.operands[at.weight]);
        let packing = Packing::new(ty.dtype, ty.shape[1].as_const()?, self.target);
        let mut dtypes = body.operand_dtypes().to_vec();
        let (mut packed, mut parts) = (homes.to_vec(), vec![Part::Other; homes.len()]);
        for (number, value) in node.operands.iter().enumerate() {
            let part = match number {
                number if number == at.weight => Part::Weights,
                number if number >= at.scale => Part::Scales(self.module.graph.ty(*value).shape[1].as_const()?),
                _ => continue,
            };
            let operand = region.operands.iter().position(|operand| operand == value)?;
            let (buffer, dtype) = self.packed_constant(*value, &packing, part == Part::Weights)?;
            // Nibbles are taken out of octets without a sign.
            dtypes[operand] = if part == Part::Weights && packing.bits == 4 { DType::U8 } else { dtype };
            packed[operand] = Home { buffer, start: Dim::from(0), strides: vec![Dim::from(1)] };
            parts[operand] = part;
        }
        let mut new = Body::new(body.space.clone(), dtypes);
        new.value = body.copy_into(body.value, &mut new, &mut |new, leaf| match leaf {
            Scalar::Load { operand, index } => match (parts[*operand], index.as_slice()) {
                (Part::Weights, &[row, inner]) => Some(packing.element(new, *operand, row, inner)),
                (Part::Scales(groups), &[row, group]) => Some(Packing::scale(new, *operand, row, groups, group)),
                _ => None,
            },
            _ => None,
        });
        *body = new;
        homes.clone_from_slice(&packed);
        Some(())
    }

    /// Constants of nibbles as octets, where no packed form holds them.
    pub(super) fn widen_nibbles(&mut self, region: &Region, body: &mut Body, homes: &mut [Home]) {
        let mut dtypes = body.operand_dtypes().to_vec();
        for (operand, dtype) in dtypes.iter_mut().enumerate().filter(|(_, dtype)| dtype.bits() < 8) {
            let signed = dtype.is_signed_int();
            *dtype = if signed { DType::I8 } else { DType::U8 };
            let value = region.operands[operand];
            let (_, data) = self.constant_behind(value).expect("only constants have elements of 4 bits: checked");
            let octets = data.bytes().iter().flat_map(|octet| [octet & 15, octet >> 4]);
            let octets = octets.map(|nibble| if signed { ((nibble << 4) as i8 >> 4) as u8 } else { nibble });
            let octets: Vec<u8> = octets.take(data.elements()).collect();
            let wide = TensorData::from_bytes(*dtype, data.shape.clone(), octets).expect("an octet for each nibble");
            homes[operand].buffer = self.places.constant(&format!("{}.octets", name_of(self.module, value)), wide);
        }
        if dtypes == body.operand_dtypes() {
            return;
        }
        let mut wide = Body::new(body.space.clone(), dtypes);
        for fold in &body.folds {
            let element = body.copy_into(fold.element, &mut wide, &mut |_, _| None);
            wide.fold(fold.op, fold.space.clone(), element);
        }
        wide.value = body.copy_into(body.value, &mut wide, &mut |_, _| None);
        *body = wide;
    }

    /// The sums of the rows of operand `x` of the region over runs, times a factor; one step serves all that read x.
    fn row_sums(&mut self, region: &Region, x: usize, from: &Home, quantized: &Quantized) -> Home {
        let value = region.operands[x];
        let key = (value, quantized.run, quantized.sum_factor());
        if let Some(known) = self.row_sums.get(&key) {
            return known.clone();
        }
        let graph = &self.module.graph;
        let mut shape = graph.ty(value).shape.clone();
        *shape.last_mut().expect("it has rows") = Dim::from(quantized.runs());
        let x_dtype = graph.ty(value).dtype;
        let (of, sums) = if quantized.of_floats() { (x_dtype, DType::F32) } else { (DType::I8, DType::I32) };
        let mut body = Body::new(shape.clone(), vec![of]);
        let mut index: Vec<ScalarId> = (0..shape.len()).map(|variable| body.index(variable)).collect();
        let (run, inner) = (body.int(quantized.run), body.reduce(0));
        let last = index.last_mut().expect("it has rows");
        let first = body.binary(BinaryOp::Mul, *last, run);
        *last = body.binary(BinaryOp::Add, first, inner);
        let element = body.load(0, index);
        let element = if of == sums { element } else { body.cast(sums, element) };
        let sum = body.fold(FoldOp::Sum, vec![Dim::from(quantized.run)], element);
        let factor = body.number(sums, quantized.sum_factor() as f64);
        body.value = if of == sums { sum } else { body.binary(BinaryOp::Mul, sum, factor) };
        let name = format!("{}.sums", name_of(self.module, value));
        let ty = Type::new(sums, shape);
        let home = self.places.allocate(&name, &ty, &Halo::none(ty.rank()), false);
        let nest = Nest::new(&body, std::slice::from_ref(from), &home);
        let origin = graph.node(region.result).origin.via("sum-rows");
        self.kernel(nest, vec![from.clone()], home.clone(), origin, None);
        self.row_sums.insert(key, home.clone());
        home
    }
}

impl Packed {
    /// Makes the fold of `nest`, whose operands lie in `homes`, read what is packed.
    pub(super) fn apply(self, nest: &mut Nest, homes: &mut Vec<Home>) {
        for (load, dtype, home) in self.constants {
            nest.reads.get_mut(&load).expect("loads have addresses").0 = homes.len();
            homes.push(home);
            nest.operands.push(dtype);
        }
        nest.quantized = Some(self.quantized);
    }
}
