//! Quantized products: their constants are packed, and rows summed where accumulators start at a bias.

use super::Builder;
use crate::fuse::Region;
use crate::nest::Nest;
use crate::place::{Halo, Home, name_of};
use crate::quantized::{Loads, Quantized};
use drupe_ir::{BinaryOp, Body, DType, Dim, FoldOp, Scalar, ScalarId, TensorData, Type};

/// A quantized product, and its constants packed.
pub(super) struct Packed {
    quantized: Quantized,
    /// The loads that read packed constants, and those.
    constants: Vec<(ScalarId, DType, Home)>,
}

impl Builder<'_> {
    /// The quantized product of a region for a CPU, if it is one of constant weights. The sums of its rows become
    /// another operand.
    pub(super) fn quantized(
        &mut self,
        region: &Region,
        body: &mut Body,
        homes: &mut Vec<Home>,
        to: &Home,
    ) -> Option<Packed> {
        if self.options.gpu.is_some() {
            return None;
        }
        let mut quantized = Quantized::new(body, Loads::of(body)?, self.target)?;
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
            let (_, data) = self.constant_behind(value).filter(|_| homes[*operand].start.is(0))?;
            let weights = load == loads.weight;
            let dtype = if weights { quantized.factor } else { data.dtype };
            let key = (value, format!("{weights} {} {}", quantized.factor, quantized.bias));
            let buffer = match self.packed.get(&key) {
                Some(buffer) => *buffer,
                None => {
                    let packed = if weights { quantized.pack_weight(data)? } else { quantized.pack_scale(data)? };
                    let buffer = self.places.constant(&format!("{}.packed", name_of(self.module, value)), packed);
                    self.packed.insert(key, buffer);
                    buffer
                }
            };
            constants.push((load, dtype, Home { buffer, start: Dim::from(0), strides: Vec::new() }));
        }
        if quantized.needs_sums() {
            let home = self.row_sums(region, x, &homes[x].clone(), &quantized);
            let number = body.add_operand(DType::I32);
            homes.push(home);
            let inner = body.reduce(0);
            let run = body.int(quantized.run);
            let at = body.binary(BinaryOp::FloorDiv, inner, run);
            let rows = &x_index[..x_index.len() - 1];
            quantized.sums = Some(body.load(number, [rows, &[at]].concat()));
        }
        Some(Packed { quantized, constants })
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
        let mut body = Body::new(shape.clone(), vec![DType::I8]);
        let mut index: Vec<ScalarId> = (0..shape.len()).map(|variable| body.index(variable)).collect();
        let (run, inner) = (body.int(quantized.run), body.reduce(0));
        let last = index.last_mut().expect("it has rows");
        let first = body.binary(BinaryOp::Mul, *last, run);
        *last = body.binary(BinaryOp::Add, first, inner);
        let element = body.load(0, index);
        let element = body.cast(DType::I32, element);
        let sum = body.fold(FoldOp::Sum, vec![Dim::from(quantized.run)], element);
        let factor = body.number(DType::I32, quantized.sum_factor() as f64);
        body.value = body.binary(BinaryOp::Mul, sum, factor);
        let name = format!("{}.sums", name_of(self.module, value));
        let ty = Type::new(DType::I32, shape);
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
