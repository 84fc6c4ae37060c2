//! A module under construction, and how weights get into it.

use crate::config::Config;
use crate::weights::widen;
use crate::{Checkpoint, Norm, Part, QuantizedTensor, Weight};
use drupe_ir::{DType, Diagnostic, Dim, Module, Op, Origin, TensorData, Type, ValueId, ops};
use std::collections::BTreeMap;

/// The result of a step.
pub type Result<T> = std::result::Result<T, Diagnostic>;

/// A module under construction.
pub struct Network<'a> {
    /// What is built so far.
    pub module: Module,
    /// What is imported.
    pub checkpoint: &'a Checkpoint<'a>,
    /// Its numbers.
    pub config: &'a Config,
    /// Where the nodes that are added now come from.
    origin: Origin,
    /// The tensors that were read, by name.
    weights: BTreeMap<String, ValueId>,
    /// Whether matrices of integers stay such.
    stored: bool,
}

impl<'a> Network<'a> {
    /// An empty module for `checkpoint`, whose numbers are `config`.
    pub fn new(checkpoint: &'a Checkpoint<'a>, config: &'a Config, stored: bool) -> Network<'a> {
        let module = Module::new(checkpoint.name);
        Network { module, checkpoint, config, origin: Origin::default(), weights: BTreeMap::new(), stored }
    }

    /// Whether the tensor `name` was read.
    pub fn has_read(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    /// The origin of what belongs to the tensor or block `name`.
    pub fn origin_of(&self, name: &str) -> Origin {
        Origin::imported(&self.checkpoint.weights.file(name), name)
    }

    /// From here on nodes belong to the tensor of `part`.
    pub fn enter(&mut self, part: Part, layer: usize) -> Result<()> {
        let name = self.name(part, layer)?;
        self.origin = Origin::imported(&self.checkpoint.weights.file(&format!("{name}.weight")), &name);
        Ok(())
    }

    /// From here on nodes belong to the block around the tensor of `part`.
    pub fn enter_block_of(&mut self, part: Part, layer: usize) -> Result<()> {
        self.enter(part, layer)?;
        let name = self.name(part, layer)?;
        self.origin.node = name.rsplit_once('.').map(|(block, _)| block.into());
        Ok(())
    }

    /// What the tensor of `part` is called, without its last word.
    fn name(&self, part: Part, layer: usize) -> Result<String> {
        let found = self.checkpoint.names.iter().copied().flatten().find(|(named, _)| *named == part);
        let (_, pattern) = found.ok_or_else(|| {
            let family = self.checkpoint.family.name;
            Diagnostic::new("unsupported", format!("{part:?} has no name in checkpoints of the {family} family"))
        })?;
        Ok(pattern.replace("{}", &layer.to_string()))
    }

    /// What the tensor of `part` is called; `kind` is `weight` or `bias`.
    pub fn tensor_name(&self, part: Part, layer: usize, kind: &str) -> Result<String> {
        Ok(format!("{}.{kind}", self.name(part, layer)?))
    }

    /// The tensor of `part` as an f32 constant of `shape`, changed by `change`; or as numbers made of integers, if those
    /// stay. It is read once, however often it is asked for.
    fn tensor(
        &mut self,
        (part, layer, kind): (Part, usize, &str),
        shape: &[usize],
        change: impl FnOnce(TensorData) -> Result<TensorData>,
    ) -> Result<ValueId> {
        let name = self.tensor_name(part, layer, kind)?;
        if let Some(value) = self.weights.get(&name) {
            return Ok(*value);
        }
        let origin = self.origin_of(&name);
        let locate = |error: Diagnostic| if error.origins.is_empty() { error.at(&origin) } else { error };
        let weight = self.checkpoint.weights.read(&name).map_err(locate)?.ok_or_else(|| {
            Diagnostic::new("parse", format!("the tensor {name:?} is missing"))
                .at(&origin)
                .help("the download may be incomplete, or config.json is not that of these weights")
        })?;
        if weight.shape() != shape {
            let message = format!("the tensor {name:?} has shape {:?} instead of {shape:?}", weight.shape());
            return Err(Diagnostic::new("shape", message).at(&origin).help("config.json is not that of these weights"));
        }
        let value = match weight {
            Weight::Quantized(data) if self.stored && shape.len() == 2 => self.integers(&name, data)?,
            weight => self.module.constant(&name, widen(weight).and_then(change).map_err(locate)?),
        };
        self.weights.insert(name, value);
        Ok(value)
    }

    /// The matrix `data` as numbers made of its integers.
    fn integers(&mut self, name: &str, data: QuantizedTensor) -> Result<ValueId> {
        let data = data.with_small_scales()?;
        let mut operands = vec![self.module.constant(name, data.values)];
        operands.push(self.module.constant(&format!("{name}.scales"), data.scales));
        operands.extend(data.offsets.map(|offsets| self.module.constant(&format!("{name}.offsets"), offsets)));
        self.add(ops::DequantizeMatrix {}, &operands)
    }

    /// The weight of `part`, of `shape`.
    pub fn weight(&mut self, part: Part, layer: usize, shape: &[usize]) -> Result<ValueId> {
        self.tensor((part, layer, "weight"), shape, Ok)
    }

    /// `x`, [..., columns], times the transposed weight of `part`, [rows, columns], plus its bias if it has one.
    pub fn linear(&mut self, x: ValueId, part: Part, layer: usize, size: [usize; 2], bias: bool) -> Result<ValueId> {
        self.enter(part, layer)?;
        let weight = self.weight(part, layer, &size)?;
        let turned = self.transpose(weight, &[1, 0])?;
        let product = self.add(ops::MatMul {}, &[x, turned])?;
        if !bias {
            return Ok(product);
        }
        let bias = self.tensor((part, layer, "bias"), &size[..1], Ok)?;
        self.add(ops::Add {}, &[product, bias])
    }

    /// `x` normed over its last axis, of `size` elements, by the family's formula.
    pub fn norm(&mut self, x: ValueId, part: Part, layer: usize, size: usize) -> Result<ValueId> {
        self.enter(part, layer)?;
        let axes = vec![self.module.graph.ty(x).rank() as i64 - 1];
        let epsilon = self.config.epsilon.into();
        let norm = self.checkpoint.family.norm;
        let plus_one = norm == Norm::RmsPlusOne && !self.checkpoint.norms_are_whole;
        let change = |data| if plus_one { add_one(&data) } else { Ok(data) };
        let weight = self.tensor((part, layer, "weight"), &[size], change)?;
        let normed = match norm {
            Norm::Rms | Norm::RmsPlusOne => self.add(ops::RmsNorm { axes, epsilon }, &[x])?,
            Norm::Layer => self.add(ops::Normalize { axes, epsilon }, &[x])?,
        };
        let scaled = self.add(ops::Mul {}, &[normed, weight])?;
        match norm {
            Norm::Rms | Norm::RmsPlusOne => Ok(scaled),
            Norm::Layer => {
                let bias = self.tensor((part, layer, "bias"), &[size], Ok)?;
                self.add(ops::Add {}, &[scaled, bias])
            }
        }
    }

    // Nodes.

    /// `op` applied to `operands`.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId> {
        self.module.add(op.into(), operands, &self.origin)
    }

    /// An input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &[&Dim]) -> Result<ValueId> {
        self.module.input(name, Type::new(dtype, shape.iter().copied().cloned()))
    }

    /// The number `value` in f32.
    pub fn number(&mut self, value: f64) -> ValueId {
        self.module.scalar(DType::F32, value)
    }

    /// `x * factor`.
    pub fn scale(&mut self, x: ValueId, factor: f64) -> Result<ValueId> {
        let factor = self.number(factor);
        self.add(ops::Mul {}, &[x, factor])
    }

    /// `cap * tanh(x / cap)`, or `x` without a cap.
    pub fn cap(&mut self, x: ValueId, cap: Option<f64>) -> Result<ValueId> {
        let Some(cap) = cap else { return Ok(x) };
        let number = self.number(cap);
        let part = self.add(ops::Div {}, &[x, number])?;
        let bounded = self.add(ops::Tanh {}, &[part])?;
        self.scale(bounded, cap)
    }

    /// The extents of `x`.
    pub fn shape(&self, x: ValueId) -> Vec<Dim> {
        self.module.graph.ty(x).shape.clone()
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    pub fn transpose(&mut self, x: ValueId, perm: &[i64]) -> Result<ValueId> {
        self.add(ops::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// The elements of `x` in another shape.
    pub fn reshape(&mut self, x: ValueId, shape: Vec<Dim>) -> Result<ValueId> {
        self.add(ops::Reshape { shape }, &[x])
    }

    /// `size` elements of the last axis of `x`, from `start` on.
    pub fn columns(&mut self, x: ValueId, start: usize, size: usize) -> Result<ValueId> {
        let mut shape = self.shape(x);
        let last = shape.len() - 1;
        shape[last] = dim(size);
        let mut starts = vec![Dim::from(0); shape.len()];
        starts[last] = dim(start);
        self.add(ops::Slice { start: starts, size: shape, step: Vec::new() }, &[x])
    }

    /// The first rows of `table`, `size` of them, from `start` on.
    pub fn rows(&mut self, table: ValueId, start: &Dim, size: &Dim) -> Result<ValueId> {
        let columns = self.shape(table)[1].clone();
        let slice =
            ops::Slice { start: vec![start.clone(), 0.into()], size: vec![size.clone(), columns], step: vec![] };
        self.add(slice, &[table])
    }
}

/// An extent of the configuration.
pub fn dim(extent: usize) -> Dim {
    Dim::from(extent as i64)
}

/// `1 + x`, in f32.
fn add_one(data: &TensorData) -> Result<TensorData> {
    let values: Vec<f32> = data.to_f32().into_iter().flatten().map(|value| 1.0 + value).collect();
    TensorData::from_f32(data.shape.clone(), &values).map_err(|error| Diagnostic::new("parse", error))
}
