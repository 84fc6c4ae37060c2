//! Steps: every region, copy and fill becomes a kernel and its arguments.

mod joined;
mod quantized;
mod shaders;

use crate::affine::Var;
use crate::attention::{self, Joined, Part};
use crate::emit::{Signature, emit};
use crate::fuse::{Region, Role};
use crate::halo::{reach, without_test};
use crate::nest::{Address, Nest};
use crate::pack::packable;
use crate::place::{Extra, Fill, Halo, Halos, Home, Places, fill_body, name_of, needs_dense, place};
use crate::schedule::choose;
use crate::units::{Launch, drop_unused, insert_copies, place_steps};
use crate::widen::widen;
use crate::{
    Arg, Buffer, BufferId, KernelId, KernelVariants, Options, Place, Port, Program, ShaderVariants, State, Step, Work,
};
use drupe_ir::{DType, Diagnostic, Dim, Module, Op, Origin, Type, ValueId};
use drupe_kernel::Kernel;
use drupe_target::Target;
use indexmap::{IndexMap, IndexSet};
use shaders::AttentionPart;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Operations that are worth a task of their own.
const TASK_OPERATIONS: i64 = 50_000;

/// Buffers of a program for a GPU are multiples of this in the arena, so that each starts where a shader can see it.
const ROOM: i64 = 256;

/// The most tasks of a step.
const MOST_TASKS: i64 = 64;

/// Builds a [`Program`] in the order of the graph.
pub struct Builder<'a> {
    module: &'a Module,
    target: &'a Target,
    roles: &'a [Role],
    places: Places,
    states: Vec<State>,
    /// For the buffer of every state's input that of its output, which has the same rows at the same places.
    grown: BTreeMap<BufferId, BufferId>,
    /// Copies of operands with the halo that one region needs: by region's result and operand.
    padded: BTreeMap<(ValueId, ValueId), Home>,
    kernels: IndexMap<String, KernelVariants>,
    shaders: IndexMap<String, ShaderVariants>,
    options: &'a Options,
    /// Packed constants: by operand, and how it is read.
    packed: BTreeMap<(ValueId, String), BufferId>,
    /// Sums of rows: by what is summed, elements of a sum, and what it is multiplied by.
    row_sums: BTreeMap<(ValueId, i64, i64), Home>,
    steps: Vec<Step>,
    /// For every step how a GPU runs it, if it can.
    launches: Vec<Option<Launch>>,
    /// The parts that regions play in attentions, by result.
    attentions: BTreeMap<ValueId, Part>,
    /// The regions of attentions that are there already: how they lie in memory, and their steps.
    attention_parts: BTreeMap<ValueId, AttentionPart>,
    /// The attentions that are one step of the CPU, by result.
    joined: BTreeMap<ValueId, Joined>,
    /// For every step the arguments that its result may overwrite: each element is read only where the same
    /// element of the result goes.
    overwritable: Vec<Vec<usize>>,
}

impl<'a> Builder<'a> {
    /// Places all values. Regions whose padding is covered by a halo lose their tests for it. With `in_place` states grow
    /// where they are.
    pub fn new(
        module: &'a Module,
        target: &'a Target,
        options: &'a Options,
        roles: &'a [Role],
        regions: &mut [Region],
        in_place: bool,
    ) -> Builder<'a> {
        let graph = &module.graph;
        let mut halos: Halos = vec![None; graph.nodes.len()];
        let mut copies = Vec::new();
        for region in regions.iter_mut() {
            let types: Vec<&Type> = region.operands.iter().map(|operand| graph.ty(*operand)).collect();
            let Some((number, halo)) = reach(region, &types) else { continue };
            let operand = region.operands[number];
            region.body = without_test(&region.body);
            if halo.is_none() {
                continue;
            }
            let output = graph.outputs.values().any(|output| *output == operand);
            let own = matches!(roles[operand.index()], Role::Kernel | Role::Concat);
            if own && !output && !needs_dense(module, roles, operand) {
                let slot = &mut halos[operand.index()];
                *slot = Some(slot.as_ref().map_or(halo.clone(), |other| other.union(&halo)));
            } else {
                copies.push((region.result, operand, halo));
            }
        }
        let states = if in_place && !options.observe { states(module) } else { Vec::new() };
        let grown: Vec<ValueId> = states.iter().map(|state| graph.outputs[state.output]).collect();
        let places = place(module, roles, &halos, options.gpu.is_some(), &grown);
        let home = |value: ValueId| places.homes[value.index()].as_ref().map(|home| home.buffer);
        let inputs: Vec<ValueId> = graph.inputs().map(|(_, value)| value).collect();
        let grown =
            states.iter().zip(&grown).filter_map(|(state, output)| Some((home(inputs[state.input])?, home(*output)?)));
        let grown = grown.collect();
        let cascades = options.gpu.is_some() && !options.observe;
        let attentions = if cascades { attention::find(module, roles, regions) } else { BTreeMap::new() };
        let mut builder = Builder {
            module,
            target,
            roles,
            places,
            states,
            grown,
            padded: BTreeMap::new(),
            kernels: IndexMap::new(),
            shaders: IndexMap::new(),
            options,
            packed: BTreeMap::new(),
            row_sums: BTreeMap::new(),
            steps: Vec::new(),
            launches: Vec::new(),
            attentions,
            attention_parts: BTreeMap::new(),
            joined: BTreeMap::new(),
            overwritable: Vec::new(),
        };
        for (result, operand, halo) in copies {
            builder.padded_copy(result, operand, &halo);
        }
        if options.gpu.is_none() && !options.observe {
            builder.join_attentions(regions);
        }
        builder
    }

    fn padded_copy(&mut self, result: ValueId, operand: ValueId, halo: &Halo) {
        let ty = self.module.graph.ty(operand);
        let name = format!("{}.padded", name_of(self.module, operand));
        let home = self.places.allocate_like(&name, ty, halo, &self.home(operand));
        self.places.borders(&home, &ty.shape, halo, operand, result);
        let copy = Fill::Copy(operand);
        self.places.extras.push(Extra {
            before: result,
            of: operand,
            to: home.clone(),
            shape: ty.shape.clone(),
            fill: copy,
        });
        self.padded.insert((result, operand), home);
    }

    fn home(&self, value: ValueId) -> Home {
        self.places.homes[value.index()].clone().expect("operands of regions have homes")
    }

    /// The copies and fills to do before `value` is computed.
    pub fn extras(&mut self, value: ValueId) -> Result<(), Diagnostic> {
        let extras: Vec<Extra> = self.places.extras.iter().filter(|extra| extra.before == value).cloned().collect();
        for extra in extras {
            let dtype = self.module.graph.ty(extra.of).dtype;
            let (body, operands) = match extra.fill {
                Fill::Zero => (fill_body(&extra.shape, dtype, false), Vec::new()),
                Fill::Copy(from) => (fill_body(&extra.shape, dtype, true), vec![self.home(from)]),
            };
            let nest = Nest::new(&body, &operands, &extra.to);
            let origin = self.module.graph.node(extra.of).origin.via(match extra.fill {
                Fill::Zero => "zero-halo",
                Fill::Copy(_) => "copy-layout",
            });
            self.kernel(nest, operands, extra.to, origin, None);
        }
        Ok(())
    }

    /// The step of a region.
    pub fn region(&mut self, region: &Region) -> Result<(), Diagnostic> {
        if self.attention_step(region) {
            return Ok(());
        }
        let graph = &self.module.graph;
        let mut homes: Vec<Home> = Vec::new();
        for operand in &region.operands {
            let padded = self.padded.get(&(region.result, *operand)).cloned();
            homes.push(padded.unwrap_or_else(|| self.home(*operand)));
        }
        let to = self.home(region.result);
        let mut body = if self.options.gpu.is_some() { widen(&region.body) } else { region.body.clone() };
        let quantized = self.quantized(region, &mut body, &mut homes, &to);
        if quantized.is_none() {
            // Where it is no look-up there is nothing to do.
            let _ = self.look_up(region, &mut body, &mut homes);
            self.widen_nibbles(region, &mut body, &mut homes);
        }
        let first_step = self.steps.len();
        let part = self.attentions.get(&region.result).copied();
        let unpacked = part.map(|_| (Nest::unmerged(&body, &homes, &to), homes.clone()));
        let mut nest = Nest::new(&body, &homes, &to);
        let column = nest.column();
        let packables = column.map_or(Vec::new(), |column| packable(&nest, column));
        for pack in packables {
            let operand = region.operands[pack.operand];
            let constant = self.constant_behind(operand).filter(|_| homes[pack.operand].start.is(0));
            let packed = constant.and_then(|(_, data)| pack.constant(&nest, data));
            let buffer = match (packed, pack.affine.coefficient(Var::Index(pack.column)).as_const()) {
                (Some(data), _) => {
                    let name = name_of(self.module, operand);
                    let key = (operand, format!("{:?} {:?}", pack.affine, data.shape));
                    let places = &mut self.places;
                    *self.packed.entry(key).or_insert_with(|| places.constant(&format!("{name}.packed"), data))
                }
                (None, Some(1)) => continue,
                (None, _) => {
                    let pack_nest = pack.nest(&nest);
                    let ty = Type::new(graph.ty(operand).dtype, pack_nest.extents.clone());
                    let name = format!("{}.packed", name_of(self.module, operand));
                    let home = self.places.allocate(&name, &ty, &Halo::none(ty.rank()), false);
                    let origin = graph.node(region.result).origin.via("pack-operand");
                    self.kernel(pack_nest, vec![homes[pack.operand].clone()], home.clone(), origin, None);
                    home.buffer
                }
            };
            let address = pack.address(&nest);
            // The operand may be read by other loads too: the packed one is an operand of its own.
            nest.reads.insert(pack.load, (homes.len(), address));
            homes.push(Home { buffer, start: Dim::from(0), strides: Vec::new() });
            nest.operands.push(graph.ty(operand).dtype);
        }
        if let Some(quantized) = quantized {
            quantized.apply(&mut nest, &mut homes);
        }
        drop_unread(&mut nest, &mut homes);
        let result = self.left(region.result, &to);
        let origin = graph.node(region.result).origin.clone();
        self.kernel(nest, homes, to.clone(), origin, result);
        if let (Some(part), Some((nest, homes))) = (part, unpacked) {
            let steps = first_step..self.steps.len();
            self.attention(region, part, AttentionPart { nest, homes, steps }, &to);
        }
        Ok(())
    }

    /// What a step leaves that writes `value` to `to`: the value, if it lies there alone and dense.
    fn left(&self, value: ValueId, to: &Home) -> Option<Port> {
        let ty = self.module.graph.ty(value);
        let dense = to.is_dense(&ty.shape) && to.start.is(0) && self.places.buffers[to.buffer.0].bytes == ty.bytes();
        dense.then(|| Port { name: name_of(self.module, value), ty: ty.clone(), buffer: to.buffer })
    }

    /// The constant that `value` is a view of, if its elements lie as the constant's do.
    fn constant_behind(&self, value: ValueId) -> Option<(ValueId, &'a drupe_ir::TensorData)> {
        let mut at = value;
        while self.roles[at.index()] == Role::View {
            at = self.module.graph.node(at).operands[0];
        }
        let data = self.module.constant_of(at)?;
        (self.home(at).buffer == self.home(value).buffer).then_some((at, data))
    }

    /// Adds the step that runs `nest`.
    fn kernel(&mut self, nest: Nest, operands: Vec<Home>, to: Home, origin: Origin, result: Option<Port>) {
        let result_dtype = nest.body.dtype(nest.body.value);
        let flops = operations(&nest);
        let share = share(&flops);
        let signature = Signature {
            name: String::new(),
            operands: nest.operands.clone(),
            result: result_dtype,
            tasks: share.clone(),
        };
        let mut dims = IndexSet::new();
        let mut levels: Vec<Kernel> = Vec::new();
        for level in &self.target.levels {
            let schedule = choose(&nest, self.target, level);
            levels.push(emit(&nest, &schedule, &signature, &mut dims));
        }
        let id = self.add_kernel(levels, stem(&nest));
        let mut args: Vec<Arg> =
            operands.iter().zip(&signature.operands).map(|(home, dtype)| argument(home, *dtype, false)).collect();
        args.push(argument(&to, result_dtype, true));
        let same_element = |operand: &usize| {
            let mut reads = nest.reads.values().filter(|(read, _)| read == operand).peekable();
            reads.peek().is_some()
                && reads.all(|(_, address)| *address == Address::affine(nest.result.clone()))
                && operands[*operand].start == to.start
                && signature.operands[*operand].bits() == result_dtype.bits()
        };
        let overwritable: Vec<usize> = (0..operands.len()).filter(same_element).collect();
        let launch = self.shader(&nest, &operands, &to, &overwritable);
        self.launches.push(launch);
        self.overwritable.push(overwritable);
        let written = size_of(result_dtype, &Dim::product(&nest.extents));
        let operands = signature.operands.iter().zip(&args).enumerate();
        let bytes = operands.fold(written, |sum, (operand, (dtype, arg))| {
            let read = size_of(*dtype, &elements_read(&nest, operand));
            &sum + &read.smaller(&self.places.buffers[arg.buffer.0].bytes)
        });
        let dims = dims.into_iter().collect();
        self.steps.push(Step { work: Work::Kernel(id), args, dims, tasks: share, origin, result, flops, bytes });
    }

    /// Adds a kernel, one variant a level, or finds it.
    fn add_kernel(&mut self, mut levels: Vec<Kernel>, stem: &str) -> KernelId {
        let number = self.kernels.len();
        let entry = self.kernels.entry(format!("{levels:?}"));
        let id = KernelId(entry.index());
        entry.or_insert_with(|| {
            let name = format!("drupe_{stem}_{number}");
            for kernel in &mut levels {
                kernel.name = name.clone();
            }
            KernelVariants { name, levels }
        });
        id
    }

    /// The step of an operator that the runtime implements.
    pub fn builtin(&mut self, value: ValueId) -> Result<(), Diagnostic> {
        let node = self.module.graph.node(value);
        let unsupported = || {
            Diagnostic::new("unsupported", format!("the operator {} cannot be compiled yet", node.op.name()))
                .at(&node.origin)
        };
        // The position in `DType::ALL`.
        let dtype = node.operands.first().map_or(0, |operand| self.module.graph.ty(*operand).dtype as i64);
        let (ints, symbolic) = match &node.op {
            Op::TopK(op) => (vec![op.axis, op.largest as i64, dtype], op.k.clone()),
            Op::TopKIndices(op) => (vec![op.axis, op.largest as i64, dtype], op.k.clone()),
            _ => return Err(unsupported()),
        };
        let to = self.home(value);
        let mut args = Vec::new();
        for operand in &node.operands {
            let home = self.home(*operand);
            if !home.is_dense(&self.module.graph.ty(*operand).shape) {
                return Err(unsupported().help("its operand does not lie dense in memory"));
            }
            let size = Dim::from(i64::from(self.module.graph.ty(*operand).dtype.bits()) / 8);
            args.push(Arg { buffer: home.buffer, offset: &home.start * &size, writes: false });
        }
        let size = Dim::from(i64::from(node.ty.dtype.bits()) / 8);
        args.push(Arg { buffer: to.buffer, offset: &to.start * &size, writes: true });
        let shape = &self.module.graph.ty(node.operands[0]).shape;
        let mut dims = vec![symbolic];
        dims.extend(shape.iter().cloned());
        let result = Port { name: name_of(self.module, value), ty: node.ty.clone(), buffer: to.buffer };
        let elements = Dim::product(shape);
        self.overwritable.push(Vec::new());
        self.launches.push(None);
        self.steps.push(Step {
            work: Work::Builtin { name: node.op.name(), ints },
            args,
            dims,
            tasks: Dim::from(1),
            origin: node.origin.clone(),
            result: Some(result),
            flops: elements.clone(),
            bytes: node.ty.bytes(),
        });
        Ok(())
    }

    /// Lets results take the memory of operands that nothing reads any more.
    fn reuse_operands(&mut self) {
        let mut touched: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
        for (number, step) in self.steps.iter().enumerate() {
            for arg in &step.args {
                touched.entry(arg.buffer).or_insert((number, number)).1 = number;
            }
        }
        let buffers = &self.places.buffers;
        let in_arena = |buffer: BufferId| matches!(buffers[buffer.0].place, Place::Arena);
        for number in 0..self.steps.len() {
            let Some(to) = self.steps[number].args.last().map(|arg| arg.buffer) else { continue };
            let fits = |operand: &usize| {
                let from = self.steps[number].args[*operand].buffer;
                let ends_here = in_arena(from) && touched[&from].1 == number;
                // Another operand may read other elements of the same memory.
                let alone = self.steps[number].args.iter().filter(|arg| arg.buffer == from).count() == 1;
                from != to && ends_here && alone && buffers[from.0].bytes == buffers[to.0].bytes
            };
            let Some(operand) = self.overwritable[number].iter().copied().find(fits) else { continue };
            if !in_arena(to) || touched[&to].0 != number {
                continue;
            }
            let from = self.steps[number].args[operand].buffer;
            for step in &mut self.steps[number..] {
                let result = step.result.iter_mut().map(|port| &mut port.buffer);
                for buffer in step.args.iter_mut().map(|arg| &mut arg.buffer).chain(result) {
                    if *buffer == to {
                        *buffer = from;
                    }
                }
            }
            let last = touched[&to].1;
            touched.insert(from, (touched[&from].0, last));
        }
    }

    /// Drops the steps for which `gone` holds.
    fn drop_steps(&mut self, gone: &[bool]) {
        let mut at = gone.iter();
        self.steps.retain(|_| !at.next().expect("one for each step"));
        let mut at = gone.iter();
        self.overwritable.retain(|_| !at.next().expect("one for each step"));
    }

    /// For every step whether nothing reads what it writes: what a CPU's product of integers needs beside x, a GPU's does
    /// not.
    fn unread_steps(&self) -> Vec<bool> {
        let graph = &self.module.graph;
        let ports = graph.inputs().map(|(_, value)| value).chain(graph.outputs.values().copied());
        let mut read: BTreeSet<BufferId> = ports.map(|value| self.home(value).buffer).collect();
        let mut unread = vec![false; self.steps.len()];
        for (number, step) in self.steps.iter().enumerate().rev() {
            let kept = step.result.is_some() || step.args.iter().any(|arg| arg.writes && read.contains(&arg.buffer));
            unread[number] = !kept;
            if kept {
                read.extend(step.args.iter().filter(|arg| !arg.writes).map(|arg| arg.buffer));
            }
        }
        unread
    }

    /// The program, without the buffers that no step touches.
    pub fn finish(mut self) -> Program {
        let graph = &self.module.graph;
        if let Some(placement) = self.options.gpu {
            let ports = self.states.iter().flat_map(|state| {
                let input = graph.inputs().nth(state.input).map(|(_, value)| value);
                input.into_iter().chain([graph.outputs[state.output]])
            });
            let states: BTreeSet<BufferId> = ports.map(|value| self.home(value).buffer).collect();
            let gone = place_steps(
                &mut self.steps,
                &mut self.overwritable,
                &self.launches,
                &self.places.buffers,
                &states,
                placement,
                self.target,
            );
            self.drop_steps(&gone);
            let unread = self.unread_steps();
            self.drop_steps(&unread);
        }
        self.reuse_operands();
        let port = |name: &str, value: ValueId| Port {
            name: name.into(),
            ty: graph.ty(value).clone(),
            buffer: self.places.homes[value.index()].as_ref().expect("inputs and outputs have homes").buffer,
        };
        let mut program = Program {
            name: self.module.name.clone(),
            entry: String::new(),
            for_gpu: self.options.gpu.is_some(),
            symbols: self.module.symbols.clone(),
            inputs: graph.inputs().map(|(name, value)| port(name, value)).collect(),
            outputs: graph.outputs.iter().map(|(name, value)| port(name, *value)).collect(),
            states: self.states,
            buffers: Vec::new(),
            kernels: self.kernels.into_values().collect(),
            shaders: self.shaders.into_values().collect(),
            steps: self.steps,
        };
        let mut used: BTreeSet<BufferId> =
            program.steps.iter().flat_map(|step| step.args.iter().map(|arg| arg.buffer)).collect();
        used.extend(program.inputs.iter().chain(&program.outputs).map(|port| port.buffer));
        let mut renamed = BTreeMap::new();
        for (number, buffer) in self.places.buffers.into_iter().enumerate() {
            if used.contains(&BufferId(number)) {
                renamed.insert(BufferId(number), BufferId(program.buffers.len()));
                let room = |bytes: &Dim| &bytes.ceil_div(&Dim::from(ROOM)) * &Dim::from(ROOM);
                let arena = self.options.gpu.is_some() && matches!(buffer.place, Place::Arena);
                let bytes = if arena { room(&buffer.bytes) } else { buffer.bytes };
                program.buffers.push(Buffer { bytes, ..buffer });
            }
        }
        for step in &mut program.steps {
            for arg in &mut step.args {
                arg.buffer = renamed[&arg.buffer];
            }
            if let Some(result) = &mut step.result {
                result.buffer = renamed[&result.buffer];
            }
        }
        for port in program.inputs.iter_mut().chain(&mut program.outputs) {
            port.buffer = renamed[&port.buffer];
        }
        if self.options.gpu.is_some() {
            insert_copies(&mut program);
            drop_unused(&mut program);
        }
        program
    }
}

/// The states of `module`, by number.
fn states(module: &Module) -> Vec<State> {
    let number = |(name, output): (&Arc<str>, &Arc<str>)| {
        let input = module.graph.inputs().position(|(other, _)| other == name)?;
        let window = module.windows.get(name).copied();
        Some(State { input, output: module.graph.outputs.get_index_of(output)?, window })
    };
    module.states.iter().filter_map(number).collect()
}

/// What kernels of `nest` are called.
fn stem(nest: &Nest) -> &'static str {
    match nest.body.folds.len() {
        0 => "map",
        1 if nest.factors(0).is_some() => "contract",
        _ => "reduce",
    }
}

/// Arithmetic operations: two for each step of a fold, one for each element.
fn operations(nest: &Nest) -> Dim {
    let elements = Dim::product(&nest.extents);
    nest.body.folds.iter().fold(elements, |sum, fold| {
        let vars = nest.dependencies(fold.element);
        let index = |var: &Var| match var {
            Var::Index(variable) => Some(&nest.extents[*variable]),
            Var::Reduce(_) => None,
        };
        let points = Dim::product(vars.iter().filter_map(index));
        &sum + &(&(&points * &Dim::product(&fold.space)) * &Dim::from(2))
    })
}

/// How many tasks share so many operations.
fn share(flops: &Dim) -> Dim {
    match flops.as_const() {
        Some(flops) => Dim::from((flops / TASK_OPERATIONS).clamp(1, MOST_TASKS)),
        None => (&flops.floor_div(&Dim::from(TASK_OPERATIONS)) + &Dim::from(1)).smaller(&Dim::from(MOST_TASKS)),
    }
}

/// An operand of a step, or its result.
fn argument(home: &Home, dtype: DType, writes: bool) -> Arg {
    let bytes = Dim::from(i64::from(dtype.bits()) / 8);
    Arg { buffer: home.buffer, offset: &home.start * &bytes, writes }
}

/// Bytes of so many elements.
fn size_of(dtype: DType, elements: &Dim) -> Dim {
    (elements * &Dim::from(i64::from(dtype.bits()))).ceil_div(&Dim::from(8))
}

/// How many elements of `operand` are read at most: one for each value of the variables of its widest read.
fn elements_read(nest: &Nest, operand: usize) -> Dim {
    let folds = nest.body.folds.iter().map(|fold| fold.space.as_slice()).chain([[].as_slice()]);
    let spaces: Vec<&[Dim]> = folds.collect();
    let reads = nest.reads.iter().filter(|(_, (read, _))| *read == operand);
    let counts = reads.flat_map(|(load, _)| {
        let vars = nest.dependencies(*load);
        let extent = |space: &[Dim], var: &Var| match var {
            Var::Index(variable) => nest.extents[*variable].clone(),
            Var::Reduce(variable) => space.get(*variable).cloned().unwrap_or(Dim::from(1)),
        };
        let count = |space: &&[Dim]| Dim::product(&vars.iter().map(|var| extent(space, var)).collect::<Vec<_>>());
        spaces.iter().map(count).collect::<Vec<_>>()
    });
    counts.fold(Dim::from(0), |most, count| most.larger(&count))
}

/// Leaves out operands that no read needs any more.
fn drop_unread(nest: &mut Nest, homes: &mut Vec<Home>) {
    let mut roots: Vec<_> = nest.body.folds.iter().map(|fold| fold.element).collect();
    roots.push(nest.body.value);
    roots.extend(nest.quantized.iter().filter_map(|quantized| quantized.sums));
    let mut read = BTreeSet::new();
    let mut seen = BTreeSet::new();
    while let Some(id) = roots.pop() {
        if !seen.insert(id) {
            continue;
        }
        roots.extend(drupe_ir::Body::children(nest.body.node(id)));
        if let Some((operand, address)) = nest.reads.get(&id) {
            read.insert(*operand);
            if let Address::Strided { computed, .. } = address {
                roots.extend(computed.iter().map(|(id, _)| *id));
            }
        }
    }
    let kept: Vec<usize> = read.into_iter().collect();
    nest.reads.retain(|id, _| seen.contains(id));
    for (operand, _) in nest.reads.values_mut() {
        *operand = kept.binary_search(operand).expect("read operands are kept");
    }
    nest.operands = kept.iter().map(|operand| nest.operands[*operand]).collect();
    *homes = kept.iter().map(|operand| homes[*operand].clone()).collect();
}
