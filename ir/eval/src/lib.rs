//! # drupe-eval: the reference interpreter
//!
//! What a module means, computed straightforwardly: every operator is evaluated from its [`drupe_ir::Body`],
//! the same description that is compiled, and everything compiled is judged by it. (The bodies themselves are
//! judged by ONNX's own test vectors.)
//!
//! ```
//! use drupe_ir::{DType, Module, TensorData, Type, ops};
//! let mut module = Module::new("tiny");
//! let x = module.input("x", Type::new(DType::F32, [3])).unwrap();
//! let y = module.add(ops::Neg {}.into(), &[x], &Default::default()).unwrap();
//! module.output("y", y);
//! let x = TensorData::from_f32(vec![3], &[1.0, -2.0, 0.5]).unwrap();
//! let outputs = drupe_eval::eval(&module, &[("x".into(), x)].into_iter().collect()).unwrap();
//! assert_eq!(outputs["y"].to_f32().unwrap(), [-1.0, 2.0, -0.5]);
//! ```
//!
//! How numbers behave. Every operation is done in the type of its operands: f32 in f32; f16 and bf16 in f32
//! and rounded after each operation; integers wrap. Transcendental functions come from `libm`, the same bits
//! on every machine. Float sums and products of a fold are collected in f64, from factors that are multiplied
//! in f64, and rounded once: compiled code may only be worse. Results do not depend on the number of threads.
//!
//! How it is fast enough for whole networks. An expression is compiled once into steps over columns of 512
//! points ([`program`], [`frame`]); linear index arithmetic is folded into the loads ([`affine`]); loops are
//! reordered, joined and spread over threads ([`nest`], [`table`]); a fold is computed once for the loop
//! variables it depends on ([`interpret`]); a sum of products has a loop of its own ([`contraction`]).
//!
//! Invariants: a wrong input gets an error, never a panic; so does a size that is absurd; a body that reads
//! out of bounds is reported as a fault of drupe. This crate knows no operator but the opaque ones.

mod accumulate;
mod affine;
mod arith;
mod column;
mod contraction;
mod frame;
mod interpret;
mod nest;
mod opaque;
mod program;
mod symbols;
mod table;
mod tolerance;

pub use symbols::Symbols;
pub use tolerance::{Report, Tolerance, close, compare};

use drupe_ir::{AttrValue, Body, Diagnostic, Dim, Module, Op, TensorData, Type, ValueId, ops};
use indexmap::IndexMap;
use interpret::Value;

/// The outputs of `module` on `inputs`, by name, in the module's order. The symbols of the inputs' types are
/// bound by the inputs' shapes.
pub fn eval(
    module: &Module,
    inputs: &IndexMap<String, TensorData>,
) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    let mut left = vec![0usize; module.graph.nodes.len()];
    for node in &module.graph.nodes {
        node.operands.iter().for_each(|operand| left[operand.index()] += 1);
    }
    module.graph.outputs.values().for_each(|value| left[value.index()] += 1);
    let values = run(module, inputs, &mut |values, node| {
        for operand in &module.graph.nodes[node].operands {
            left[operand.index()] -= 1;
            if left[operand.index()] == 0 {
                values[operand.index()] = None;
            }
        }
    })?;
    let output = |(name, id): (&std::sync::Arc<str>, &ValueId)| {
        let value = values[id.index()].as_ref().ok_or_else(|| program::internal("an output was dropped".into()))?;
        Ok((name.to_string(), value.encode()?))
    };
    module.graph.outputs.iter().map(output).collect()
}

/// Every value of `module` on `inputs`, in the order of the nodes.
pub fn eval_all(module: &Module, inputs: &IndexMap<String, TensorData>) -> Result<Vec<TensorData>, Diagnostic> {
    let values = run(module, inputs, &mut |_, _| {})?;
    values.iter().flatten().map(Value::encode).collect()
}

/// The result of one operator on `operands`, with the symbols of its attributes bound by `symbols`.
pub fn eval_node(op: &Op, operands: &[TensorData], symbols: &Symbols) -> Result<TensorData, Diagnostic> {
    let op = with_known_dims(op, symbols)?;
    let extents = |data: &TensorData| data.shape.iter().map(|extent| *extent as i64).collect::<Vec<i64>>();
    let types: Vec<Type> = operands.iter().map(|data| Type::new(data.dtype, extents(data))).collect();
    let types: Vec<&Type> = types.iter().collect();
    let ty = op.infer(&types).map_err(|error| error.diagnostic(&op, &types))?;
    let values: Vec<Value> = operands.iter().map(Value::decode).collect();
    interpret::node(&op, &values, &types, &ty, symbols)?.encode()
}

/// What `body` describes, on `operands`: for bodies that are no operator's own, such as fused ones.
pub fn eval_body(body: &Body, operands: &[TensorData], symbols: &Symbols) -> Result<TensorData, Diagnostic> {
    let values: Vec<Value> = operands.iter().map(Value::decode).collect();
    let (dtype, shape) = (body.dtype(body.value), symbols::shape(&body.space, symbols)?);
    Value { dtype, shape, data: interpret::eval_body(body, &values, symbols)? }.encode()
}

/// `op` with every symbol in its attributes replaced by its value.
fn with_known_dims(op: &Op, symbols: &Symbols) -> Result<Op, Diagnostic> {
    fn known(value: AttrValue, symbols: &Symbols) -> Result<AttrValue, Diagnostic> {
        Ok(match value {
            AttrValue::Dim(dim) => AttrValue::Dim(Dim::from(symbols::value(&dim, symbols)?)),
            AttrValue::List(values) => {
                AttrValue::List(values.into_iter().map(|value| known(value, symbols)).collect::<Result<_, _>>()?)
            }
            AttrValue::Float(_) | AttrValue::Word(_) | AttrValue::Text(_) | AttrValue::Symbol(_) => value,
        })
    }
    let mut attrs = Vec::new();
    for (name, value) in op.attrs() {
        attrs.push((name.to_string(), known(value, symbols)?));
    }
    Op::parse(op.name(), &attrs).map_err(|error| error.diagnostic(op, &[]))
}

/// Evaluates every node, calling `done` after each.
fn run(
    module: &Module,
    inputs: &IndexMap<String, TensorData>,
    done: &mut dyn FnMut(&mut Vec<Option<Value>>, usize),
) -> Result<Vec<Option<Value>>, Diagnostic> {
    let symbols = bind_inputs(module, inputs)?;
    let mut values: Vec<Option<Value>> = Vec::with_capacity(module.graph.nodes.len());
    for (index, node) in module.graph.nodes.iter().enumerate() {
        let value = match &node.op {
            Op::Input(input) => Value::decode(&inputs[&*input.name]),
            Op::Const(ops::Const { name, .. }) => match module.constants.get(name) {
                Some(data) => Value::decode(data),
                None => return Err(Diagnostic::new("eval", format!("the constant @{name} has no contents"))),
            },
            op => {
                let held = |id: &ValueId| values[id.index()].clone();
                let operands = node.operands.iter().map(held).collect::<Option<Vec<Value>>>();
                let operands = operands.ok_or_else(|| program::internal("an operand was dropped".into()))?;
                let types: Vec<&Type> = node.operands.iter().map(|id| module.graph.ty(*id)).collect();
                interpret::node(op, &operands, &types, &node.ty, &symbols)
                    .map_err(|error| if node.origin.is_unknown() { error } else { error.at(&node.origin) })?
            }
        };
        values.push(Some(value));
        done(&mut values, index);
    }
    Ok(values)
}

/// Values for the symbols of the inputs' types; every input is there and has its type.
fn bind_inputs(module: &Module, inputs: &IndexMap<String, TensorData>) -> Result<Symbols, Diagnostic> {
    let mut known = Symbols::new();
    let mut given = Vec::new();
    for (name, value) in module.graph.inputs() {
        let Some(data) = inputs.get(&**name) else {
            return Err(Diagnostic::new("eval", format!("the input {name:?} is missing")));
        };
        let ty = module.graph.ty(value);
        if data.dtype != ty.dtype {
            let message = format!("the input {name:?} has type {}, {} expected", data.dtype, ty.dtype);
            return Err(Diagnostic::new("eval", message));
        }
        symbols::bind(&ty.shape, &data.shape, &mut known);
        given.push((name, ty, data));
    }
    for (name, ty, data) in given {
        symbols::check(&format!("the input {name:?}"), &ty.shape, &data.shape, &known)?;
    }
    symbols::check_ranges(module, &known)?;
    Ok(known)
}
