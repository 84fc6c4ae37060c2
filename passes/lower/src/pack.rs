//! Packing: operands of contractions in the order their kernels read them, `[batch][column / 16][depth][16]`.
//!
//! One order serves every level of every target: tiles are whole panels wide. Constants are packed here, once;
//! what is computed at run time and lies the wrong way is packed by a step of its own.

use crate::affine::{Affine, Var};
use crate::nest::{Address, Nest, PANEL};
use drupe_ir::{BinaryOp, Body, Dim, Scalar, ScalarId, TensorData};
use std::collections::BTreeMap;

/// A read that is better packed: the load, its operand, and the loops that it depends on.
#[derive(Clone, Debug)]
pub struct Packable {
    /// The load.
    pub load: ScalarId,
    /// Its operand.
    pub operand: usize,
    /// Its address as the operand lies now.
    pub affine: Affine,
    /// The loop variable that becomes the column.
    pub column: usize,
    /// The other loop variables of the result it depends on.
    pub batch: Vec<usize>,
    /// The extents of the reduction variables.
    pub depth: Vec<Dim>,
}

/// The factor of the nest's contraction that varies with the columns, if it is a plain read.
pub fn packable(nest: &Nest, column: usize) -> Vec<Packable> {
    let [fold] = nest.body.folds.as_slice() else { return Vec::new() };
    let Some((a, b)) = nest.factors(0) else { return Vec::new() };
    let sides = if a == b { vec![a] } else { vec![a, b] };
    let pack = |load: ScalarId| {
        let Scalar::Load { .. } = nest.body.node(load) else { return None };
        let (operand, Address::Strided { affine, computed }) = &nest.reads[&load] else { return None };
        let depends = affine.terms.contains_key(&Var::Index(column)) && computed.is_empty();
        let batch = (0..nest.extents.len()).filter(|i| *i != column && affine.terms.contains_key(&Var::Index(*i)));
        depends.then(|| Packable {
            load,
            operand: *operand,
            affine: affine.clone(),
            column,
            batch: batch.collect(),
            depth: fold.space.clone(),
        })
    };
    sides.into_iter().filter_map(pack).collect()
}

impl Packable {
    fn panels(&self, nest: &Nest) -> Dim {
        nest.extents[self.column].ceil_div(&Dim::from(PANEL))
    }

    /// The address in the packed order.
    pub fn address(&self, nest: &Nest) -> Address {
        let (mut depth, mut rows) = (Affine::default(), Dim::from(1));
        for (variable, extent) in self.depth.iter().enumerate().rev() {
            depth.terms.insert(Var::Reduce(variable), rows.clone());
            rows = &rows * extent;
        }
        let (mut batch, mut size) = (Affine::default(), &(&self.panels(nest) * &rows) * &Dim::from(PANEL));
        for variable in self.batch.iter().rev() {
            batch.terms.insert(Var::Index(*variable), size.clone());
            size = &size * &nest.extents[*variable];
        }
        Address::Panels { batch, depth, depth_extent: rows, column: Var::Index(self.column) }
    }

    /// The packed shape: batch, panels, depth, 16.
    pub fn shape(&self, nest: &Nest) -> Vec<Dim> {
        let batch = self.batch.iter().map(|variable| nest.extents[*variable].clone());
        batch.chain([self.panels(nest)]).chain(self.depth.iter().cloned()).chain([Dim::from(PANEL)]).collect()
    }

    /// The constant in the packed order; columns beyond the last are 0. `None` where something is symbolic.
    pub fn constant(&self, nest: &Nest, data: &TensorData) -> Option<TensorData> {
        let shape: Vec<usize> =
            self.shape(nest).iter().map(|dim| dim.as_const().map(|dim| dim as usize)).collect::<Option<_>>()?;
        let stride = |var: Var| self.affine.coefficient(var).as_const().map(|stride| stride as isize);
        let columns = nest.extents[self.column].as_const()? as usize;
        let mut strides = self.batch.iter().map(|i| stride(Var::Index(*i))).collect::<Option<Vec<_>>>()?;
        let column_stride = stride(Var::Index(self.column))?;
        strides.push(column_stride * PANEL as isize);
        for variable in 0..self.depth.len() {
            strides.push(stride(Var::Reduce(variable))?);
        }
        strides.push(column_stride);
        let size = data.dtype.bits() as usize / 8;
        let start = self.affine.start().as_const()? as isize;
        let mut packed = vec![0u8; shape.iter().product::<usize>() * size];
        let mut position = vec![0usize; shape.len()];
        let panel_axis = self.batch.len();
        for to in packed.chunks_exact_mut(size) {
            let column = position[panel_axis] * PANEL as usize + position[shape.len() - 1];
            if column < columns {
                let from = position.iter().zip(&strides).fold(start, |sum, (at, stride)| sum + *at as isize * stride);
                let from = usize::try_from(from).ok()? * size;
                to.copy_from_slice(data.bytes().get(from..from + size)?);
            }
            for axis in (0..shape.len()).rev() {
                position[axis] += 1;
                if position[axis] < shape[axis] {
                    break;
                }
                position[axis] = 0;
            }
        }
        TensorData::from_bytes(data.dtype, shape, packed).ok()
    }

    /// A nest that packs at run time: its one operand is the operand packed, its result the packed buffer.
    pub fn nest(&self, nest: &Nest) -> Nest {
        let dtype = nest.body.dtype(self.load);
        let shape = self.shape(nest);
        let mut body = Body::new(shape.clone(), vec![dtype]);
        let (panel, lane) = (body.index(self.batch.len()), body.index(shape.len() - 1));
        let sixteen = body.int(PANEL);
        let first = body.binary(BinaryOp::Mul, panel, sixteen);
        let column = body.binary(BinaryOp::Add, first, lane);
        let end = body.dim(&nest.extents[self.column]);
        let inside = body.binary(BinaryOp::Lt, column, end);
        // The index list only has to be there: the address is given below.
        let load = body.load(0, Vec::new());
        let zero = body.number(dtype, 0.0);
        body.value = body.select(inside, load, zero);
        let mut affine = Affine { terms: BTreeMap::new(), constant: self.affine.constant.clone() };
        let column_stride = self.affine.coefficient(Var::Index(self.column));
        let mut add = |variable: usize, stride: Dim| {
            if !stride.is(0) && !shape[variable].is(1) {
                affine.terms.insert(Var::Index(variable), stride);
            }
        };
        for (axis, variable) in self.batch.iter().enumerate() {
            add(axis, self.affine.coefficient(Var::Index(*variable)));
        }
        add(self.batch.len(), &column_stride * &Dim::from(PANEL));
        for variable in 0..self.depth.len() {
            add(self.batch.len() + 1 + variable, self.affine.coefficient(Var::Reduce(variable)));
        }
        add(shape.len() - 1, column_stride.clone());
        let mut result = Affine::default();
        for (variable, stride) in crate::place::dense_strides(&shape).into_iter().enumerate() {
            if !shape[variable].is(1) {
                result.terms.insert(Var::Index(variable), stride);
            }
        }
        Nest {
            extents: shape,
            operands: vec![dtype],
            reads: BTreeMap::from([(load, (0, Address::affine(affine)))]),
            result,
            body,
            quantized: None,
        }
    }
}
