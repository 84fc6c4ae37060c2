//! What a run is, checked exactly.

use drupe_ir::{Module, Node, Op, ValueId};
use indexmap::{IndexMap, IndexSet};

/// Instances of one block, each of which reads what the one before it computes.
#[derive(Clone, Debug)]
pub struct Run {
    /// The nodes of every instance; nodes at the same place have equal operators and types.
    pub instances: Vec<Vec<ValueId>>,
    /// For every place its operands.
    pub operands: Vec<Vec<Operand>>,
    /// The places that the next instance reads, and what the first instance reads instead.
    pub carried: IndexMap<usize, ValueId>,
    /// The values from outside that every instance reads.
    pub shared: IndexSet<ValueId>,
    /// The values from outside that each instance has of its own (a cache of each layer): for each operand the value in
    /// every instance.
    pub own: IndexSet<Vec<ValueId>>,
    /// Constants: for each operand the value in every instance.
    pub constants: IndexSet<Vec<ValueId>>,
    /// The places that the next instance or something outside reads, ascending.
    pub results: Vec<usize>,
}

/// What a node of an instance reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// What the same instance computes at a place.
    Here(usize),
    /// What the instance before it computes at a place.
    Before(usize),
    /// Its position in [`Run::shared`].
    Shared(usize),
    /// Its position in [`Run::own`].
    Own(usize),
    /// Its position in [`Run::constants`].
    Constant(usize),
}

/// Whether a node is a constant of some kind: it reads nothing, and is no input.
pub fn is_leaf(node: &Node) -> bool {
    node.operands.is_empty() && !matches!(node.op, Op::Input(_))
}

/// Whether a node is a constant whose contents an opaque one can stand for.
pub fn is_constant(node: &Node) -> bool {
    matches!(node.op, Op::Const(_) | Op::Splat(_)) && node.ty.static_shape().is_some() && node.ty.scale.is_none()
}

impl Run {
    /// The run of `instances`, all of the same length, where they are one: at every place operators and types are equal,
    /// each operand is one [`Operand`] for all, and something is carried. No order of the nodes is assumed.
    pub fn new(module: &Module, instances: Vec<Vec<ValueId>>) -> Option<Run> {
        let mut run = Run {
            operands: Vec::new(),
            carried: IndexMap::new(),
            shared: IndexSet::new(),
            own: IndexSet::new(),
            constants: IndexSet::new(),
            results: Vec::new(),
            instances,
        };
        let homes = run.homes();
        for place in 0..run.instances.first()?.len() {
            let nodes: Vec<&Node> = run.instances.iter().map(|nodes| module.graph.node(nodes[place])).collect();
            let count = nodes[0].operands.len();
            let alike = |node: &&Node| {
                node.op == nodes[0].op && node.ty == nodes[0].ty && node.operands.len() == count && count > 0
            };
            if !nodes.iter().all(alike) {
                return None;
            }
            let operand = |at: usize| {
                let values = nodes.iter().map(|node| node.operands[at]).collect();
                run.operand(module, &homes, place, values)
            };
            let operands = (0..count).map(operand).collect::<Option<Vec<Operand>>>()?;
            run.operands.push(operands);
        }
        run.results = run.carried.keys().copied().collect();
        run.results.sort();
        (!run.carried.is_empty()).then_some(run)
    }

    /// The instance and place of every node of the run.
    fn homes(&self) -> IndexMap<ValueId, (usize, usize)> {
        let mut homes = IndexMap::new();
        for (instance, nodes) in self.instances.iter().enumerate() {
            homes.extend(nodes.iter().enumerate().map(|(place, value)| (*value, (instance, place))));
        }
        homes
    }

    /// What `values`, an operand at `place` in every instance, have in common.
    fn operand(
        &mut self,
        module: &Module,
        homes: &IndexMap<ValueId, (usize, usize)>,
        place: usize,
        values: Vec<ValueId>,
    ) -> Option<Operand> {
        let (first, second) = (values[0], *values.get(1)?);
        if values.iter().any(|value| module.graph.ty(*value) != module.graph.ty(first)) {
            return None;
        }
        // Whether each instance (but the first `offset`) reads place `of` of the one `offset` before it.
        let all_read = |offset: usize, of: usize| {
            let reads = |(instance, value): (usize, &ValueId)| homes.get(value) == Some(&(instance - offset, of));
            values.iter().enumerate().skip(offset).all(reads)
        };
        match homes.get(&second) {
            Some((1, of)) => (*of < place && all_read(0, *of)).then_some(Operand::Here(*of)),
            Some((0, of)) => {
                let initial = *self.carried.entry(*of).or_insert(first);
                let carried = initial == first && !homes.contains_key(&first) && all_read(1, *of);
                carried.then_some(Operand::Before(*of))
            }
            Some(_) => None,
            None if values.iter().any(|value| homes.contains_key(value)) => None,
            None if values.iter().all(|value| is_leaf(module.graph.node(*value))) => {
                let node = |value: &ValueId| module.graph.node(*value);
                let opaque = values.iter().all(|value| is_constant(node(value)));
                let equal = values.iter().all(|value| node(value).op == node(&first).op);
                (opaque || equal).then(|| Operand::Constant(self.constants.insert_full(values).0))
            }
            None if values.iter().all(|value| *value == first) => {
                Some(Operand::Shared(self.shared.insert_full(first).0))
            }
            None => Some(Operand::Own(self.own.insert_full(values).0)),
        }
    }

    /// The values that the whole run reads from outside, besides constants: what the first instance reads instead of
    /// carried values, what is shared, and what each instance has of its own, instance by instance.
    pub fn inputs(&self) -> Vec<ValueId> {
        let own = (0..self.instances.len()).flat_map(|instance| self.own.iter().map(move |values| values[instance]));
        self.carried.values().chain(&self.shared).copied().chain(own).collect()
    }

    /// The longest part of the run whose instances are read from outside at the same places, besides those that are
    /// carried; these places are results from then on. `outside` says of which values that is so.
    pub fn with_equal_results(self, module: &Module, outside: &dyn Fn(ValueId) -> bool) -> Option<Run> {
        let escaping = |nodes: &Vec<ValueId>| {
            let escapes = |place: &usize| outside(nodes[*place]) && !self.carried.contains_key(place);
            (0..nodes.len()).filter(escapes).collect::<Vec<usize>>()
        };
        let escaping: Vec<Vec<usize>> = self.instances.iter().map(escaping).collect();
        let longest = escaping.chunk_by(|a, b| a == b).fold((0, 0, 0), |(at, start, count), chunk| {
            if chunk.len() > count { (at + chunk.len(), at, chunk.len()) } else { (at + chunk.len(), start, count) }
        });
        let (_, start, count) = longest;
        let mut run = match count == self.instances.len() {
            true => self,
            false => Run::new(module, self.instances[start..start + count].to_vec())?,
        };
        run.results.extend(&escaping[start]);
        run.results.sort();
        Some(run)
    }
}

/// Whether each of `runs` can be computed at one time: nothing that it reads comes from what it computes.
pub fn is_acyclic(module: &Module, runs: &[&Run]) -> bool {
    // The nodes of a run are one vertex, all others one each.
    let count = module.graph.nodes.len();
    let mut vertex: Vec<usize> = (0..count).collect();
    for (index, run) in runs.iter().enumerate() {
        run.instances.iter().flatten().for_each(|value| vertex[value.index()] = count + index);
    }
    let mut users = vec![Vec::new(); count + runs.len()];
    let mut waiting = vec![0; count + runs.len()];
    for value in module.graph.values() {
        let to = vertex[value.index()];
        for operand in &module.graph.node(value).operands {
            let from = vertex[operand.index()];
            if from != to {
                users[from].push(to);
                waiting[to] += 1;
            }
        }
    }
    let mut ready: Vec<usize> = (0..count + runs.len()).filter(|vertex| waiting[*vertex] == 0).collect();
    let mut done = 0;
    while let Some(vertex) = ready.pop() {
        done += 1;
        for user in &users[vertex] {
            waiting[*user] -= 1;
            if waiting[*user] == 0 {
                ready.push(*user);
            }
        }
    }
    done == count + runs.len()
}
