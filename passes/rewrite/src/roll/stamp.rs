//! Putting a module together again: the rest, with a copy of its block for every instance of a run.

use super::Rewritten;
use super::outline::{Block, Outline, Place};
use super::run::Run;
use drupe_ir::{Diagnostic, Module, Op, Origin, ValueId};
use indexmap::IndexMap;

/// The module that the rewritten `rest` and `blocks` of `original` make, and the position of the first node of every
/// instance; `None` if they need each other in a circle.
pub fn stitch(
    original: &Module,
    runs: &[Run],
    outline: &Outline,
    rest: &Module,
    blocks: &[Rewritten],
) -> Result<Option<(Module, Vec<ValueId>)>, Diagnostic> {
    let new = Module { graph: Default::default(), ..original.clone() };
    let mut stitcher = Stitcher { original, new, known: IndexMap::new(), seams: Vec::new() };
    for node in original.graph.nodes.iter().filter(|node| matches!(node.op, Op::Input(_))) {
        stitcher.add(node.op.clone(), Vec::new(), &node.origin)?;
    }
    let mut outputs: Vec<ValueId> = rest.graph.outputs.values().copied().collect();
    // What the rest gives to each run.
    let mut given = outputs.split_off(original.graph.outputs.len()).into_iter();
    let given: Vec<Vec<ValueId>> = runs.iter().map(|run| given.by_ref().take(run.inputs().len()).collect()).collect();
    let mut values: Vec<Option<ValueId>> = vec![None; rest.graph.nodes.len()];
    // By run, instance and position among the results.
    let mut results: Vec<Vec<Vec<ValueId>>> = vec![Vec::new(); runs.len()];
    let mut begun = vec![false; runs.len()];
    let mut stack: Vec<Task> = outputs.iter().rev().map(|value| Task::Value(*value)).collect();
    while let Some(task) = stack.pop() {
        match task {
            Task::Value(value) if values[value.index()].is_some() => {}
            Task::Value(value) => {
                let node = rest.graph.node(value);
                let received = if let Op::Input(input) = &node.op { outline.received.get(&input.name) } else { None };
                if let Some((run, instance, position)) = received {
                    match results[*run].get(*instance) {
                        Some(found) => values[value.index()] = Some(found[*position]),
                        None if begun[*run] => return Ok(None),
                        None => {
                            begun[*run] = true;
                            stack.extend([task, Task::Run(*run)]);
                            stack.extend(given[*run].iter().rev().map(|value| Task::Value(*value)));
                        }
                    }
                    continue;
                }
                match node.operands.iter().map(|of| values[of.index()]).collect() {
                    Some(operands) => {
                        values[value.index()] = Some(stitcher.add(node.op.clone(), operands, &node.origin)?);
                    }
                    None => {
                        stack.push(task);
                        stack.extend(node.operands.iter().rev().map(|of| Task::Value(*of)));
                    }
                }
            }
            Task::Run(index) => {
                let (run, block) = (&runs[index], &outline.blocks[index]);
                let given: Option<Vec<ValueId>> = given[index].iter().map(|value| values[value.index()]).collect();
                let given = given.expect("the inputs of a run are computed before it");
                let (carried, rest) = given.split_at(run.carried.len());
                let (shared, own) = rest.split_at(run.shared.len());
                let mut carried = carried.to_vec();
                for instance in 0..run.instances.len() {
                    let own = &own[instance * run.own.len()..][..run.own.len()];
                    let inputs = [&carried, shared, own].concat();
                    let found = stitcher.stamp(run, block, &blocks[index], instance, &inputs)?;
                    let result = |place: &usize| run.results.binary_search(place).map(|position| found[position]);
                    carried = run.carried.keys().map(result).collect::<Result<_, _>>().expect("carried are results");
                    results[index].push(found);
                }
            }
        }
    }
    for (name, value) in original.graph.outputs.keys().zip(&outputs) {
        stitcher.new.output(name, values[value.index()].expect("every output has been computed"));
    }
    Ok(Some(stitcher.finish()))
}

/// What is left to do.
#[derive(Clone, Copy)]
enum Task {
    /// Compute a value of the rest.
    Value(ValueId),
    /// Compute a run; its inputs are there.
    Run(usize),
}

struct Stitcher<'a> {
    original: &'a Module,
    new: Module,
    /// Every node there is: what is the same in all instances is computed once.
    known: IndexMap<(Op, Vec<ValueId>), ValueId>,
    seams: Vec<ValueId>,
}

impl Stitcher<'_> {
    fn add(&mut self, op: Op, operands: Vec<ValueId>, origin: &Origin) -> Result<ValueId, Diagnostic> {
        let key = (op, operands);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let value = self.new.add(key.0.clone(), &key.1, origin)?;
        self.known.insert(key, value);
        Ok(value)
    }

    /// Adds an instance of `run` that reads `inputs`; its results.
    fn stamp(
        &mut self,
        run: &Run,
        block: &Block,
        rewritten: &Rewritten,
        instance: usize,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, Diagnostic> {
        self.seams.push(ValueId(self.new.graph.nodes.len() as u32));
        let (mut values, mut inputs) = (Vec::new(), inputs.iter());
        for (node, source) in rewritten.module.graph.nodes.iter().zip(&rewritten.sources) {
            let opaque = if let Op::Const(constant) = &node.op { block.opaque.get(&constant.name) } else { None };
            values.push(match (&node.op, opaque) {
                (Op::Input(_), _) => *inputs.next().expect("a block keeps its inputs, in order"),
                (_, Some(constant)) => {
                    let own = self.original.graph.node(run.constants[*constant][instance]);
                    self.add(own.op.clone(), Vec::new(), &own.origin)?
                }
                (op, None) => {
                    // Where the instance's own node is from, as what it has become in the block.
                    let own = match block.places[*source] {
                        Place::Input => None,
                        Place::Constant(constant) => Some(run.constants[constant][instance]),
                        Place::Node(place) => Some(run.instances[instance][place]),
                    };
                    let own = own.map_or(&node.origin, |own| &self.original.graph.node(own).origin);
                    let origin = Origin { pass: node.origin.pass, ..own.clone() };
                    let operands = node.operands.iter().map(|of| values[of.index()]).collect();
                    self.add(op.clone(), operands, &origin)?
                }
            });
        }
        Ok(rewritten.module.graph.outputs.values().map(|value| values[value.index()]).collect())
    }

    /// The module without what nothing reads (the last instance may compute more than is wanted of it), and the seams.
    fn finish(mut self) -> (Module, Vec<ValueId>) {
        let graph = &self.new.graph;
        let mut kept = 0;
        let mut before = Vec::with_capacity(graph.nodes.len() + 1);
        for (node, live) in graph.nodes.iter().zip(graph.live()) {
            before.push(ValueId(kept));
            kept += u32::from(live || matches!(node.op, Op::Input(_)));
        }
        before.push(ValueId(kept));
        self.new.remove_dead();
        (self.new, self.seams.iter().map(|seam| before[seam.index()]).collect())
    }
}
