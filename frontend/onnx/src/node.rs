//! What the import of one operator sees: its inputs, its attributes with defaults, and errors that name it.

use crate::bounds::{Ranges, deduce, expect_modest, expect_modest_type};
use crate::importer::{Importer, Scope, Value, resolve};
use crate::numbers::{self, Numbers};
use crate::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use drupe_ir::{DType, Diagnostic, Dim, Op, Origin, TensorData, Type, ValueId, ops};
use std::sync::Arc;

/// A node under import.
pub struct Node<'a> {
    /// The import that it is part of.
    pub importer: &'a mut Importer,
    /// The names around it.
    pub scope: &'a Scope<'a>,
    /// The version of its domain's operator set.
    pub opset: i64,
    /// Its name, or its operator and position.
    pub label: String,
    proto: &'a NodeProto,
    inputs: Vec<Option<Value>>,
    origin: Origin,
}

/// The result of an import step.
pub type Result<T> = std::result::Result<T, Diagnostic>;

impl<'a> Node<'a> {
    /// The node `proto`, whose inputs are `inputs`.
    pub fn new(
        importer: &'a mut Importer,
        proto: &'a NodeProto,
        scope: &'a Scope<'a>,
        inputs: Vec<Option<Value>>,
        label: &str,
        origin: Origin,
    ) -> Node<'a> {
        let domain = if proto.domain == "ai.onnx" { "" } else { &proto.domain };
        let opset = scope.opsets.get(domain).copied().unwrap_or(1);
        Node { importer, scope, opset, label: label.into(), proto, inputs, origin }
    }

    /// Its operator.
    pub fn op_type(&self) -> &'a str {
        &self.proto.op_type
    }

    /// Its operator's domain; empty for ONNX itself.
    pub fn domain(&self) -> &'a str {
        if self.proto.domain == "ai.onnx" { "" } else { &self.proto.domain }
    }

    /// The number of outputs it names.
    pub fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    /// Whether output `index` has a name.
    pub fn wants(&self, index: usize) -> bool {
        self.proto.output.get(index).is_some_and(|name| !name.is_empty())
    }

    /// A name for constants that it makes: that of its output `index`.
    pub fn output_name(&self, index: usize) -> &'a str {
        self.proto.output.get(index).map_or("", String::as_str)
    }

    /// The error that something is legal ONNX but not supported here.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Diagnostic {
        let domain = if self.domain().is_empty() { "ai.onnx" } else { self.domain() };
        let message = format!("{} ({domain}, operator set {}): {what}", self.op_type(), self.opset);
        Diagnostic::new("unsupported", message).at(&self.origin)
    }

    /// The error that the node is not legal ONNX.
    pub fn invalid(&self, why: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::new("parse", format!("{}: {why}", self.op_type())).at(&self.origin)
    }

    // Inputs.

    /// The number of inputs, those left out included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Whether input `index` is given.
    pub fn has(&self, index: usize) -> bool {
        matches!(self.inputs.get(index), Some(Some(_)))
    }

    /// Input `index` if it is given.
    pub fn optional(&self, index: usize) -> Result<Option<ValueId>> {
        match self.inputs.get(index) {
            Some(Some(Value::Tensor(id, _))) => Ok(Some(*id)),
            Some(Some(Value::Unavailable(why))) => Err(why.clone()),
            Some(None) | None => Ok(None),
        }
    }

    /// Input `index`.
    pub fn input(&self, index: usize) -> Result<ValueId> {
        self.optional(index)?.ok_or_else(|| self.invalid(format!("input {index} is missing")))
    }

    /// Every input; none may be left out.
    pub fn all_inputs(&self) -> Result<Vec<ValueId>> {
        (0..self.input_count()).map(|index| self.input(index)).collect()
    }

    /// Input `index` with what is known of it.
    pub fn value(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_ref()
    }

    /// The elements of input `index`, where they are followed.
    pub fn numbers(&self, index: usize) -> Option<Arc<Numbers>> {
        match self.value(index)? {
            Value::Tensor(_, numbers) => numbers.clone(),
            Value::Unavailable(_) => None,
        }
    }

    /// The elements of input `index` as dimensions; an error where they depend on data.
    pub fn dims(&self, index: usize) -> Result<Vec<Dim>> {
        self.input(index)?;
        let known = self.numbers(index).and_then(|numbers| numbers.dims());
        known.ok_or_else(|| {
            self.unsupported(format!("input {index} gives sizes, but depends on the data of the model's inputs"))
                .help("sizes must follow from the shapes of the inputs; `--input name=value` fixes an input")
        })
    }

    /// The elements of input `index` as integers; an error where they are not known numbers.
    pub fn ints_of(&self, index: usize) -> Result<Vec<i64>> {
        if let Some(data) = self.constant_of(self.input(index)?)
            && let Some(values) = numbers::to_i64(&data)
        {
            return Ok(values);
        }
        let known: Option<Vec<i64>> = self.dims(index)?.iter().map(Dim::as_const).collect();
        known.ok_or_else(|| self.unsupported(format!("input {index} must be known, but depends on symbols")))
    }

    /// The one element of input `index`, if it is known.
    pub fn scalar_of(&self, index: usize) -> Result<Option<f64>> {
        let Some(id) = self.optional(index)? else { return Ok(None) };
        let values = match self.constant_of(id) {
            Some(data) if data.elements() == 1 => numbers::to_f64(&data),
            _ => self.numbers(index).and_then(|numbers| numbers.values.iter().map(|value| value.as_f64()).collect()),
        };
        Ok(values.filter(|values| values.len() == 1).map(|values| values[0]))
    }

    /// The contents of `value` if it is a constant.
    pub fn constant_of(&self, value: ValueId) -> Option<TensorData> {
        self.importer.module.constant_of(value).cloned()
    }

    // Attributes.

    /// The attribute `name`, if the node has it.
    pub fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        let own = self.proto.attribute.iter().find(|attribute| attribute.name == name)?;
        resolve(own, &self.scope.attributes)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    /// An integer attribute that is 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, default.into()) != 0
    }

    /// A float attribute: of the 64-bit floats that round to it the one with the shortest decimals.
    pub fn float(&self, name: &str, default: f32) -> f64 {
        let value = self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default);
        value.to_string().parse().unwrap_or(value.into())
    }

    /// A list of integers, `None` where the attribute is left out.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A list of floats, `None` where the attribute is left out.
    pub fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.attribute(name).map(|attribute| attribute.floats.as_slice())
    }

    /// A string attribute.
    pub fn string(&self, name: &str, default: &str) -> String {
        let bytes = self.attribute(name).and_then(|attribute| attribute.s.as_ref());
        bytes.map_or(default.into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A list of strings.
    pub fn strings(&self, name: &str) -> Vec<String> {
        let strings = self.attribute(name).map_or([].as_slice(), |attribute| &attribute.strings);
        strings.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// A graph attribute.
    pub fn graph(&self, name: &str) -> Result<&'a GraphProto> {
        let graph = self.attribute(name).and_then(|attribute| attribute.g.as_ref());
        graph.ok_or_else(|| self.invalid(format!("the attribute {name} is missing")))
    }

    /// `axis` counted from the front of `rank` axes.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let counted = counted.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
        counted.ok_or_else(|| self.invalid(format!("axis {axis} of a tensor of rank {rank}")))
    }

    /// Every one of `axes` counted from the front; an axis twice is an error.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut counted = axes.iter().map(|axis| self.axis(*axis, rank)).collect::<Result<Vec<usize>>>()?;
        counted.sort_unstable();
        let given = counted.len();
        counted.dedup();
        if counted.len() == given { Ok(counted) } else { Err(self.invalid(format!("axes {axes:?} repeat one"))) }
    }

    // Building.

    /// The type of `value`.
    pub fn ty(&self, value: ValueId) -> Type {
        self.importer.module.graph.ty(value).clone()
    }

    /// The extents of `value`.
    pub fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.ty(value).shape
    }

    /// The number of dimensions of `value`.
    pub fn rank(&self, value: ValueId) -> usize {
        self.importer.module.graph.ty(value).rank()
    }

    /// The element type of `value`.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.importer.module.graph.ty(value).dtype
    }

    /// The ranges of the model's symbols.
    pub fn ranges(&self) -> &Ranges {
        &self.importer.module.symbols
    }

    /// Adds `op`.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId> {
        let op = op.into();
        if let Op::Reshape(ops::Reshape { shape }) | Op::Broadcast(ops::Broadcast { shape }) = &op {
            expect_modest(shape).map_err(|error| error.at(&self.origin))?;
        }
        let types: Vec<&Type> = operands.iter().map(|value| self.importer.module.graph.ty(*value)).collect();
        if let Err(ops::OpError::Dims { left, right, .. }) = op.infer(&types) {
            self.importer.needed = deduce(&left, &right);
        }
        let value = self.importer.module.add(op, operands, &self.origin)?;
        expect_modest_type(self.importer.module.graph.ty(value)).map_err(|error| error.at(&self.origin))?;
        Ok(value)
    }

    /// Adds a tensor whose elements are known.
    pub fn known(&mut self, numbers: Numbers, name: &str) -> Result<Value> {
        self.importer.known(numbers, name, &self.origin)
    }

    /// Adds a constant called after this node.
    pub fn constant(&mut self, suffix: &str, data: TensorData) -> ValueId {
        self.importer.module.constant(&format!("{}.{suffix}", self.label), data)
    }

    /// `value` everywhere, of the element type of `like` and rank 0.
    pub fn number_like(&mut self, like: ValueId, value: f64) -> ValueId {
        let dtype = self.dtype(like);
        self.importer.module.scalar(dtype, value)
    }
}
