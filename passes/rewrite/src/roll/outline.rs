//! Taking a module apart: one block for each run, and the rest.

use super::run::{Operand, Run};
use drupe_ir::{Diagnostic, Module, Node, Op, Type, ValueId, ops};
use indexmap::IndexMap;
use std::sync::Arc;

/// The parts of a module.
pub struct Outline {
    /// What is in no run. After its own outputs it gives the inputs of every run ([`Run::inputs`]), in order; what it
    /// reads of runs are inputs.
    pub rest: Module,
    /// The inputs of the rest that are results of runs, by name: run, instance, position in [`Run::results`].
    pub received: IndexMap<Arc<str>, (usize, usize, usize)>,
    /// The block of each run.
    pub blocks: Vec<Block>,
}

/// One instance of a run as a module. Its inputs are what is carried, what is shared, and its own; its outputs are
/// [`Run::results`].
pub struct Block {
    /// The module; its opaque constants have no contents.
    pub module: Module,
    /// The opaque constants: position in [`Run::constants`] by name.
    pub opaque: IndexMap<Arc<str>, usize>,
    /// What each of its nodes stands for.
    pub places: Vec<Place>,
}

/// What a node of a block stands for.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// An input.
    Input,
    /// A constant: its position in [`Run::constants`].
    Constant(usize),
    /// A node of every instance.
    Node(usize),
}

impl Outline {
    /// The parts of `module`, in which `runs` are.
    pub fn new(module: &Module, runs: &[Run]) -> Result<Outline, Diagnostic> {
        let mut results: IndexMap<ValueId, (usize, usize, usize)> = IndexMap::new();
        let mut members = vec![false; module.graph.nodes.len()];
        for (index, run) in runs.iter().enumerate() {
            for (instance, nodes) in run.instances.iter().enumerate() {
                nodes.iter().for_each(|value| members[value.index()] = true);
                let found = run.results.iter().enumerate();
                results.extend(found.map(|(position, place)| (nodes[*place], (index, instance, position))));
            }
        }
        let mut outline = Outline {
            rest: Module { graph: Default::default(), states: IndexMap::new(), ..module.clone() },
            received: IndexMap::new(),
            blocks: runs.iter().map(|run| Block::new(module, run)).collect::<Result<_, _>>()?,
        };
        let inputs: Vec<Arc<str>> = module.graph.inputs().map(|(name, _)| name.clone()).collect();
        let mut new: Vec<Option<ValueId>> = vec![None; members.len()];
        let wanted: Vec<ValueId> = runs.iter().flat_map(Run::inputs).collect();
        let receive = |outline: &mut Outline, new: &mut Vec<Option<ValueId>>, value: ValueId| {
            if let Some(known) = new[value.index()] {
                return Ok(known);
            }
            let from = results[&value];
            let name = fresh(&format!("run {} instance {} result {}", from.0, from.1, from.2), &|name| {
                inputs.iter().any(|input| **input == *name)
            });
            let added = outline.rest.add(input(&name, module.graph.node(value)), &[], &Default::default())?;
            outline.received.insert(name, from);
            new[value.index()] = Some(added);
            Ok::<ValueId, Diagnostic>(added)
        };
        for value in module.graph.values().filter(|value| !members[value.index()]) {
            let node = module.graph.node(value);
            let operands = node.operands.iter().map(|operand| receive(&mut outline, &mut new, *operand));
            let operands = operands.collect::<Result<Vec<ValueId>, Diagnostic>>()?;
            new[value.index()] = Some(outline.rest.add(node.op.clone(), &operands, &node.origin)?);
        }
        for (name, value) in &module.graph.outputs {
            let value = receive(&mut outline, &mut new, *value)?;
            outline.rest.output(name, value);
        }
        for (index, value) in wanted.into_iter().enumerate() {
            let value = receive(&mut outline, &mut new, value)?;
            let name = fresh(&format!("input {index}"), &|name| module.graph.outputs.contains_key(name));
            outline.rest.output(&name, value);
        }
        // The constants of the runs.
        outline.rest.remove_dead();
        Ok(outline)
    }
}

impl Block {
    fn new(module: &Module, run: &Run) -> Result<Block, Diagnostic> {
        let (constants, states) = (IndexMap::new(), IndexMap::new());
        let empty = Module { graph: Default::default(), constants, states, ..module.clone() };
        let mut block = Block { module: empty, opaque: IndexMap::new(), places: Vec::new() };
        let mut inputs = Vec::new();
        let own = run.own.iter().map(|values| &values[0]);
        for (index, value) in run.carried.values().chain(&run.shared).chain(own).enumerate() {
            let op = input(&format!("input {index}"), module.graph.node(*value));
            inputs.push(block.module.add(op, &[], &Default::default())?);
            block.places.push(Place::Input);
        }
        let mut constants = Vec::new();
        for (index, values) in run.constants.iter().enumerate() {
            let node = module.graph.node(values[0]);
            let mut op = node.op.clone();
            if !values.iter().all(|value| same_contents(module, values[0], *value)) {
                let name = fresh(&format!("constant {index}"), &|name| module.constants.contains_key(name));
                block.opaque.insert(name.clone(), index);
                op = opaque(name, &node.ty);
            } else if let Op::Const(constant) = &op
                && let Some(data) = module.constants.get(&constant.name)
            {
                block.module.constants.insert(constant.name.clone(), data.clone());
            }
            constants.push(block.module.add(op, &[], &node.origin)?);
            block.places.push(Place::Constant(index));
        }
        let mut nodes: Vec<ValueId> = Vec::new();
        for (place, value) in run.instances[0].iter().enumerate() {
            let node = module.graph.node(*value);
            let operand = |operand: &Operand| match operand {
                Operand::Here(place) => nodes[*place],
                Operand::Before(place) => {
                    inputs[run.carried.get_index_of(place).expect("what is read of the instance before is carried")]
                }
                Operand::Shared(index) => inputs[run.carried.len() + index],
                Operand::Own(index) => inputs[run.carried.len() + run.shared.len() + index],
                Operand::Constant(index) => constants[*index],
            };
            let operands: Vec<ValueId> = run.operands[place].iter().map(operand).collect();
            nodes.push(block.module.add(node.op.clone(), &operands, &node.origin)?);
            block.places.push(Place::Node(place));
        }
        for place in &run.results {
            block.module.output(&place.to_string(), nodes[*place]);
        }
        Ok(block)
    }
}

fn input(name: &str, like: &Node) -> Op {
    ops::Input { name: name.into(), dtype: like.ty.dtype, shape: like.ty.shape.clone() }.into()
}

/// Whether two constants are the same tensor.
fn same_contents(module: &Module, a: ValueId, b: ValueId) -> bool {
    match (&module.graph.node(a).op, &module.graph.node(b).op) {
        (Op::Const(ops::Const { name: a, .. }), Op::Const(ops::Const { name: b, .. })) => {
            a == b || module.constants.get(a).is_some_and(|data| module.constants.get(b) == Some(data))
        }
        (a, b) => a == b,
    }
}

/// A constant of type `ty` under a name that has no contents.
fn opaque(name: Arc<str>, ty: &Type) -> Op {
    let extents = ty.static_shape().expect("a run has opaque constants of static shape only");
    ops::Const { name, dtype: ty.dtype, shape: extents.iter().map(|extent| *extent as i64).collect() }.into()
}

/// `name`, changed until it is not `taken`.
fn fresh(name: &str, taken: &dyn Fn(&str) -> bool) -> Arc<str> {
    let mut name = name.to_string();
    while taken(&name) {
        name.push('\'');
    }
    name.into()
}
