//! Modules and graphs: nodes with typed ids, built through `infer`, checked by `verify`.

use crate::{DType, Diagnostic, Op, Origin, TensorData, Type, ops};
use indexmap::IndexMap;
use std::sync::Arc;

/// A node of a [`Graph`], and its one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// Its position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operator applied to earlier values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From what: values of earlier nodes.
    pub operands: Vec<ValueId>,
    /// The type of the result, as `infer` gives it.
    pub ty: Type,
    /// Where it comes from.
    pub origin: Origin,
}

/// Nodes in topological order, and the outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Every node; operands come before users.
    pub nodes: Vec<Node>,
    /// The results, by name, in order.
    pub outputs: IndexMap<Arc<str>, ValueId>,
}

impl Graph {
    /// The node that computes `value`.
    pub fn node(&self, value: ValueId) -> &Node {
        &self.nodes[value.index()]
    }

    /// The type of `value`.
    pub fn ty(&self, value: ValueId) -> &Type {
        &self.node(value).ty
    }

    /// Every value, in topological order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.nodes.len() as u32).map(ValueId)
    }

    /// The inputs: name and value, in order.
    pub fn inputs(&self) -> impl Iterator<Item = (&Arc<str>, ValueId)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| match &node.op {
            Op::Input(ops::Input { name, .. }) => Some((name, ValueId(index as u32))),
            _ => None,
        })
    }

    /// For every node the nodes that read it, in order (outputs not counted).
    pub fn users(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for operand in &node.operands {
                let of = &mut users[operand.index()];
                if of.last() != Some(&ValueId(index as u32)) {
                    of.push(ValueId(index as u32));
                }
            }
        }
        users
    }

    /// Whether each node's result reaches an output.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        for value in self.outputs.values() {
            live[value.index()] = true;
        }
        for value in self.values().rev() {
            if live[value.index()] {
                for operand in &self.node(value).operands {
                    live[operand.index()] = true;
                }
            }
        }
        live
    }
}

/// The values a symbol may take, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolRange {
    /// The least value.
    pub min: u64,
    /// The greatest value.
    pub max: u64,
}

impl Default for SymbolRange {
    /// Any extent that is not absurd.
    fn default() -> SymbolRange {
        SymbolRange { min: 1, max: 1 << 31 }
    }
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// What people call it.
    pub name: String,
    /// The symbols that dimensions use, in order of declaration.
    pub symbols: IndexMap<Arc<str>, SymbolRange>,
    /// The constants, by name.
    pub constants: IndexMap<Arc<str>, TensorData>,
    /// What grows from run to run: inputs, by name, and the outputs that are their next values. The output is the
    /// input with more rows behind it (a `concat` along axis 0 whose first operand is the input), so that it can take
    /// the input's place in memory and only the new rows are written.
    pub states: IndexMap<Arc<str>, Arc<str>>,
    /// The states of which no run reads more than so many last rows, by input. Others may be gone: the input's rows count
    /// by a symbol of their own, which is less than that of other states once rows are gone, but no less than this.
    pub windows: IndexMap<Arc<str>, u64>,
    /// What is computed.
    pub graph: Graph,
}

impl Module {
    /// An empty module.
    pub fn new(name: &str) -> Module {
        let (symbols, constants) = (IndexMap::new(), IndexMap::new());
        let (states, windows) = (IndexMap::new(), IndexMap::new());
        Module { name: name.into(), symbols, constants, states, windows, graph: Graph::default() }
    }

    /// Adds an input. Symbols of its shape that are not declared yet get the default range.
    pub fn input(&mut self, name: &str, ty: Type) -> Result<ValueId, Diagnostic> {
        self.declare_symbols(&ty);
        self.add(Op::Input(ops::Input { name: name.into(), dtype: ty.dtype, shape: ty.shape }), &[], &Origin::default())
    }

    fn declare_symbols(&mut self, ty: &Type) {
        for symbol in ty.shape.iter().flat_map(|dim| dim.symbols()) {
            self.symbols.entry(symbol).or_default();
        }
    }

    /// Adds the constant `data` under `name` (made unique if another tensor has it) and a node that reads it.
    pub fn constant(&mut self, name: &str, data: TensorData) -> ValueId {
        let mut unique: Arc<str> = name.into();
        let mut next = 1;
        while self.constants.get(&unique).is_some_and(|other| *other != data) {
            unique = format!("{name}.{next}").into();
            next += 1;
        }
        let op = Op::Const(ops::Const {
            name: unique.clone(),
            dtype: data.dtype,
            shape: data.shape.iter().map(|d| *d as i64).collect(),
        });
        self.constants.insert(unique, data);
        self.add(op, &[], &Origin::default()).expect("a constant has a type whatever its shape")
    }

    /// A constant of one element, rank 0.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> ValueId {
        self.add(Op::Splat(ops::Splat { value: value.into(), dtype, shape: Vec::new() }), &[], &Origin::default())
            .expect("a scalar has a type")
    }

    /// Adds `op` applied to `operands`; its type is inferred. The error names the operator and `origin`.
    pub fn add(&mut self, op: Op, operands: &[ValueId], origin: &Origin) -> Result<ValueId, Diagnostic> {
        let types: Vec<&Type> = operands.iter().map(|value| self.graph.ty(*value)).collect();
        let ty = op.infer(&types).map_err(|error| error.diagnostic(&op, &types).at(origin))?;
        let node = Node { op, operands: operands.to_vec(), ty, origin: origin.clone() };
        self.graph.nodes.push(node);
        Ok(ValueId(self.graph.nodes.len() as u32 - 1))
    }

    /// Names `value` as an output.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.insert(name.into(), value);
    }

    /// Makes the output called `output` the next value of the input called `input`; see [`Module::states`].
    pub fn state(&mut self, input: &str, output: &str) {
        self.states.insert(input.into(), output.into());
    }

    /// The contents of `value` if it is a constant.
    pub fn constant_of(&self, value: ValueId) -> Option<&TensorData> {
        match &self.graph.node(value).op {
            Op::Const(ops::Const { name, .. }) => self.constants.get(name),
            _ => None,
        }
    }

    /// Removes nodes that no output needs (inputs stay) and constants that no node reads.
    pub fn remove_dead(&mut self) {
        let live = self.graph.live();
        let mut renamed = vec![ValueId(u32::MAX); live.len()];
        let mut kept = Vec::new();
        for (index, mut node) in std::mem::take(&mut self.graph.nodes).into_iter().enumerate() {
            if live[index] || matches!(node.op, Op::Input(_)) {
                for operand in &mut node.operands {
                    *operand = renamed[operand.index()];
                }
                renamed[index] = ValueId(kept.len() as u32);
                kept.push(node);
            }
        }
        self.graph.nodes = kept;
        for value in self.graph.outputs.values_mut() {
            *value = renamed[value.index()];
        }
        let read: std::collections::BTreeSet<Arc<str>> = (self.graph.nodes.iter())
            .filter_map(|node| match &node.op {
                Op::Const(ops::Const { name, .. }) => Some(name.clone()),
                _ => None,
            })
            .collect();
        self.constants.retain(|name, _| read.contains(name));
    }

    /// Checks every invariant of the crate's page; the first that is broken, with its origin.
    pub fn verify(&self) -> Result<(), Diagnostic> {
        let mut names = std::collections::BTreeSet::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let fail = |what: String| Err(Diagnostic::new("verify", format!("%{index}: {what}")).at(&node.origin));
            if let Some(operand) = node.operands.iter().find(|operand| operand.index() >= index) {
                return fail(format!("{} reads %{}, which is not computed before it", node.op.name(), operand.0));
            }
            let types: Vec<&Type> = node.operands.iter().map(|value| self.graph.ty(*value)).collect();
            let ty = node.op.infer(&types).map_err(|error| error.diagnostic(&node.op, &types).at(&node.origin))?;
            if ty != node.ty {
                return fail(format!("{} has type {} but infers {ty}", node.op.name(), node.ty));
            }
            if let Some(symbol) = ty.shape.iter().flat_map(|d| d.symbols()).find(|s| !self.symbols.contains_key(s)) {
                return fail(format!("the symbol `{symbol}` is not declared"));
            }
            match &node.op {
                Op::Input(input) if !names.insert(input.name.clone()) => {
                    return fail(format!("a second input is called {:?}", input.name));
                }
                Op::Const(constant) => match self.constants.get(&constant.name) {
                    None => return fail(format!("the constant @{} does not exist", constant.name)),
                    Some(data)
                        if data.dtype != constant.dtype
                            || data.shape.iter().map(|d| *d as i64).ne(constant.shape.iter().copied()) =>
                    {
                        return fail(format!("the constant @{} is {data:?}", constant.name));
                    }
                    Some(_) => {}
                },
                _ => {}
            }
        }
        if let Some((name, value)) =
            self.graph.outputs.iter().find(|(_, value)| value.index() >= self.graph.nodes.len())
        {
            return Err(Diagnostic::new("verify", format!("output {name:?} is %{}, which does not exist", value.0)));
        }
        self.states.iter().try_for_each(|(input, output)| self.verify_state(input, output))
    }

    fn verify_state(&self, input: &str, output: &str) -> Result<(), Diagnostic> {
        let fail = |what: &str| {
            Err(Diagnostic::new("verify", format!("the state {input:?} -> {output:?}: {what}"))
                .help("the output of a state is `concat(input, more) axis=0`"))
        };
        let Some((_, before)) = self.graph.inputs().find(|(name, _)| ***name == *input) else {
            return fail("there is no such input");
        };
        let Some(after) = self.graph.outputs.get(output) else { return fail("there is no such output") };
        let node = self.graph.node(*after);
        let grown = matches!(node.op, Op::Concat(ops::Concat { axis: 0 })) && node.operands.first() == Some(&before);
        if !grown {
            return fail("the output is not the input with more rows behind it");
        }
        if self.states.values().filter(|other| ***other == *output).count() > 1 {
            return fail("the output is the next value of two inputs");
        }
        Ok(())
    }
}
