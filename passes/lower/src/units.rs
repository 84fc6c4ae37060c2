//! Units: which steps run on the GPU and which on the CPU, and the copies that follow.
//!
//! Every step costs some time on each unit, and every buffer that one unit writes and the other reads costs a copy.
//! The cheapest choice is a minimum cut of the graph of steps: between the CPU on one side and the GPU on the other.

mod cut;

use crate::{Arg, Buffer, BufferId, Place, Placement, Program, Step, Unit, Work};
use cut::Network;
use drupe_ir::{Dim, Origin};
use drupe_target::{Gpu, Os, Target};
use indexmap::IndexSet;
use std::collections::{BTreeMap, BTreeSet};

/// Another way to run a step.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What runs; nothing for a part of another step.
    pub work: Option<Work>,
    /// The step whose launch does this one's work too.
    pub part_of: Option<usize>,
    /// The buffers it is given.
    pub args: Vec<Arg>,
    /// The numbers it is given.
    pub dims: Vec<Dim>,
    /// The number of tasks.
    pub tasks: Dim,
    /// The arguments that the result may overwrite.
    pub overwritable: Vec<usize>,
    /// Whether nearly all operations are of octets, on either unit.
    pub of_octets: bool,
}

impl Launch {
    /// One that overwrites no argument.
    pub fn new(work: Work, args: Vec<Arg>, dims: IndexSet<Dim>, tasks: Dim) -> Launch {
        let dims = dims.into_iter().collect();
        Launch { work: Some(work), part_of: None, args, dims, tasks, overwritable: Vec::new(), of_octets: false }
    }

    /// The launch of step `step` does it.
    pub fn part_of(step: usize) -> Launch {
        Launch {
            work: None,
            part_of: Some(step),
            args: Vec::new(),
            dims: Vec::new(),
            tasks: Dim::from(0),
            overwritable: Vec::new(),
            of_octets: false,
        }
    }
}

/// What a symbol counts as where time is estimated.
const TYPICAL: i64 = 32;

/// More than any step takes, in microseconds.
const NEVER: f64 = 1e12;

/// The share of the peak that a step is expected to reach.
const EFFICIENCY: f64 = 0.5;

/// Products of octets in the time of one of floats, where an instruction has four of them.
const OCTETS: f64 = 4.0;

/// Gives each step that is better off on the GPU its launch there, and what that may overwrite; `states` are in the
/// GPU's memory. Gives for each whether it is gone, being a part of another.
pub fn place_steps(
    steps: &mut [Step],
    overwritable: &mut [Vec<usize>],
    launches: &[Option<Launch>],
    buffers: &[Buffer],
    states: &BTreeSet<BufferId>,
    placement: Placement,
    target: &Target,
) -> Vec<bool> {
    let on_gpu: Vec<bool> = match (placement, &target.gpu) {
        (_, None) => vec![false; steps.len()],
        (Placement::Gpu, Some(_)) => launches.iter().map(Option::is_some).collect(),
        (Placement::Fastest, Some(gpu)) => fastest(steps, launches, buffers, states, target, gpu),
    };
    for (number, (step, launch)) in steps.iter_mut().zip(launches).enumerate() {
        if let Some(launch) = launch.as_ref().filter(|_| on_gpu[number]) {
            let launch = launch.clone();
            if let Some(work) = launch.work {
                (step.work, step.args, step.dims, step.tasks) = (work, launch.args, launch.dims, launch.tasks);
                overwritable[number] = launch.overwritable;
            }
        }
    }
    let whole = |number: usize| launches[number].as_ref().filter(|_| on_gpu[number]).and_then(|launch| launch.part_of);
    for number in 0..steps.len() {
        if let Some(whole) = whole(number) {
            let Step { flops, .. } = steps[number].clone();
            steps[whole].flops = &steps[whole].flops + &flops;
        }
    }
    (0..steps.len()).map(|number| whole(number).is_some()).collect()
}

/// For every step whether it runs on the GPU, so that the sum of all times is least.
fn fastest(
    steps: &[Step],
    launches: &[Option<Launch>],
    buffers: &[Buffer],
    states: &BTreeSet<BufferId>,
    target: &Target,
    gpu: &Gpu,
) -> Vec<bool> {
    let number = |dim: &Dim| dim.eval(&|_| Some(TYPICAL)).map_or(0.0, |value| value as f64);
    let faster = |has: bool| if has { OCTETS } else { 1.0 };
    let cpu_octets = faster(target.levels.first().is_some_and(|level| level.int8_dot.is_some()));
    let gpu_octets = faster(gpu.has("int8-dot") || target.os == Os::Browser);
    // Nodes: the steps, then the GPU, then the CPU.
    let (source, sink) = (steps.len(), steps.len() + 1);
    let mut network = Network::new(steps.len() + 2);
    for (node, (step, launch)) in steps.iter().zip(launches).enumerate() {
        let time = |flops: f64, bandwidth_gb_s: f64| {
            let (compute, memory) = (number(&step.flops) / flops, number(&step.bytes) / (bandwidth_gb_s * 1e9));
            compute.max(memory) / EFFICIENCY * 1e6
        };
        let of_octets = launch.as_ref().is_some_and(|launch| launch.of_octets);
        let rate = |peak: f64, octets: f64| if of_octets { peak * octets } else { peak };
        let on_cpu = time(rate(target.peak_flops(), cpu_octets), target.bandwidth_gb_s);
        let on_gpu = match launch.as_ref().and_then(|launch| launch.part_of) {
            // What lies between the parts is written by none of them.
            Some(whole) => {
                network.edge_both(node, whole, NEVER);
                number(&step.flops) / (gpu.gflops * 1e9) / EFFICIENCY * 1e6
            }
            None => time(rate(gpu.gflops * 1e9, gpu_octets), gpu.bandwidth_gb_s) + gpu.dispatch_us,
        };
        // On the source's side it runs on the GPU: the edge to the sink is cut, which costs its time there.
        network.edge(source, node, on_cpu);
        network.edge(node, sink, if launch.is_some() { on_gpu } else { NEVER });
    }
    for (node, step) in steps.iter().enumerate() {
        if step.args.iter().any(|arg| states.contains(&arg.buffer)) {
            network.edge(source, node, NEVER);
        }
    }
    // The last writer of every buffer, and the one that fills it from outside.
    let mut writer: BTreeMap<BufferId, usize> = BTreeMap::new();
    let copy = |buffer: BufferId| {
        gpu.handover_us + number(&buffers[buffer.0].bytes) / (target.bandwidth_gb_s.min(gpu.bandwidth_gb_s) * 1e9) * 1e6
    };
    for (node, step) in steps.iter().enumerate() {
        for arg in step.args.iter().filter(|arg| !arg.writes) {
            let from = match (&buffers[arg.buffer.0].place, writer.get(&arg.buffer)) {
                (Place::Constant(_), _) => continue,
                _ if states.contains(&arg.buffer) => continue,
                (_, Some(writer)) => *writer,
                (_, None) => sink,
            };
            network.edge_both(from, node, copy(arg.buffer));
        }
        for arg in step.args.iter().filter(|arg| arg.writes) {
            // What is written is a part, perhaps: the rest is where the other parts were written.
            if let Some(before) = writer.insert(arg.buffer, node) {
                network.edge_both(before, node, copy(arg.buffer));
            }
        }
    }
    for (buffer, writer) in writer {
        if matches!(buffers[buffer.0].place, Place::Output) && !states.contains(&buffer) {
            network.edge_both(writer, sink, copy(buffer));
        }
    }
    network.source_side(source, sink)[..steps.len()].to_vec()
}

/// Adds the copies: before a step whose unit does not have what it reads (or the rest of what it writes a part of), and
/// at the end for outputs. Inputs and outputs are the CPU's, but for states, which are the GPU's.
pub fn insert_copies(program: &mut Program) {
    // For every buffer the units whose memory holds its contents; none before it is written.
    let mut holds: BTreeMap<BufferId, Vec<Unit>> = BTreeMap::new();
    for port in &program.inputs {
        holds.insert(port.buffer, vec![Unit::Cpu]);
    }
    let states = program.state_buffers();
    holds.extend(states.iter().map(|state| (*state, vec![Unit::Gpu])));
    let buffers = &program.buffers;
    let constant = |buffer: BufferId| matches!(buffers[buffer.0].place, Place::Constant(_));
    let mut steps = Vec::new();
    let copy = |buffer: BufferId, to: Unit, steps: &mut Vec<Step>| {
        steps.push(Step {
            work: Work::Copy { to },
            args: vec![Arg { buffer, offset: Dim::from(0), writes: false }],
            dims: Vec::new(),
            tasks: Dim::from(1),
            origin: Origin::default(),
            result: None,
            flops: Dim::from(0),
            bytes: buffers[buffer.0].bytes.clone(),
        });
    };
    for step in std::mem::take(&mut program.steps) {
        let unit = step.unit().expect("copies are added here only");
        for arg in step.args.iter().filter(|arg| !constant(arg.buffer)) {
            let held = holds.entry(arg.buffer).or_default();
            if !held.is_empty() && !held.contains(&unit) {
                copy(arg.buffer, unit, &mut steps);
                held.push(unit);
            }
        }
        for arg in step.args.iter().filter(|arg| arg.writes) {
            holds.insert(arg.buffer, vec![unit]);
        }
        steps.push(step);
    }
    for port in program.outputs.iter().filter(|port| !states.contains(&port.buffer)) {
        let held = holds.entry(port.buffer).or_default();
        if !constant(port.buffer) && !held.contains(&Unit::Cpu) && !held.is_empty() {
            copy(port.buffer, Unit::Cpu, &mut steps);
            held.push(Unit::Cpu);
        }
    }
    program.steps = steps;
}

/// Drops kernels and shaders that no step runs any more.
pub fn drop_unused(program: &mut Program) {
    let mut kernels = vec![None; program.kernels.len()];
    let mut shaders = vec![None; program.shaders.len()];
    let (mut kept_kernels, mut kept_shaders) = (Vec::new(), Vec::new());
    for step in &mut program.steps {
        match &mut step.work {
            Work::Kernel(id) => {
                id.0 = *kernels[id.0].get_or_insert_with(|| {
                    kept_kernels.push(program.kernels[id.0].clone());
                    kept_kernels.len() - 1
                });
            }
            Work::Shader(id) => {
                id.0 = *shaders[id.0].get_or_insert_with(|| {
                    kept_shaders.push(program.shaders[id.0].clone());
                    kept_shaders.len() - 1
                });
            }
            Work::Copy { .. } | Work::Builtin { .. } => {}
        }
    }
    (program.kernels, program.shaders) = (kept_kernels, kept_shaders);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, lower};

    /// Two convolutions of `size` x `size` pictures with 64 channels, and a mean.
    fn units(size: usize) -> Vec<Option<Unit>> {
        let text = format!(
            "func @main(%x: f32[1, {size}, {size}, 64]) {{
               %w = const @w : f32[64, 64, 3, 3]
               %a = conv(%x, %w) pad_low=[1, 1] pad_high=[1, 1] layout=channels_last : f32[1, {size}, {size}, 64]
               %b = conv(%a, %w) pad_low=[1, 1] pad_high=[1, 1] layout=channels_last : f32[1, {size}, {size}, 64]
               %m = reduce_mean(%b) axes=[1, 2] : f32[1, 1, 1, 64]
               return \"m\" %m
             }}"
        );
        let module = drupe_ir::parse_text(&text, "test").expect("a module").module;
        let target = Target::find("x86-64").expect("a built-in target");
        let options = Options { gpu: Some(Placement::Fastest), ..Options::default() };
        lower(&module, &target, &options).expect("it is lowered").steps.iter().map(Step::unit).collect()
    }

    #[test]
    fn work_goes_to_the_gpu_when_it_pays_for_the_copies() {
        assert!(units(8).iter().all(|unit| *unit == Some(Unit::Cpu)));
        let large = units(128);
        let copies = large.iter().filter(|unit| unit.is_none()).count();
        assert!(large.contains(&Some(Unit::Gpu)) && copies == 2, "{large:?}");
    }

    /// Rows of `dtype` that grow, and their sum.
    fn growing(dtype: &str, placement: Placement) -> Program {
        let text = format!(
            r#"dim past in 0..=8
               state "rows" -> "rows.next"
               func @main(%new: {dtype}[1, 4], %rows: {dtype}[past, 4]) {{
                 %more = add(%new, %new)
                 %next = concat(%rows, %more) axis=0
                 %sum = reduce_sum(%next) axes=[0]
                 return "sum" %sum, "rows.next" %next
               }}"#
        );
        let module = drupe_ir::parse_text(&text, "test").expect("a module").module;
        let target = Target::find("x86-64").expect("a built-in target");
        lower(&module, &target, &Options { gpu: Some(placement), ..Options::default() }).expect("it is lowered")
    }

    #[test]
    fn states_stay_on_the_gpu_or_are_none() {
        for placement in [Placement::Gpu, Placement::Fastest] {
            let kept = growing("f32", placement);
            let states = kept.state_buffers();
            let touching = kept.steps.iter().filter(|step| step.args.iter().any(|arg| states.contains(&arg.buffer)));
            let units: Vec<_> = touching.map(Step::unit).collect();
            assert!(kept.states.len() == 1 && units.len() == 2, "{units:?}");
            assert!(units.iter().all(|unit| *unit == Some(Unit::Gpu)), "{units:?}");
            // The GPU has no f64.
            assert!(growing("f64", placement).states.is_empty());
        }
    }

    #[test]
    fn a_state_is_one_argument_however_it_is_read() {
        let text = r#"dim past in 1..=8
            state "rows" -> "rows.next"
            func @main(%new: f32[1, 4], %rows: f32[past, 4]) {
              %next = concat(%rows, %new) axis=0
              %same = slice(%next) start=[0, 0] size=[past, 4] : f32[past, 4]
              %square = mul(%rows, %same)
              %sum = reduce_sum(%square) axes=[0]
              return "sum" %sum, "rows.next" %next
            }"#;
        let module = drupe_ir::parse_text(text, "test").expect("a module").module;
        let target = Target::find("webgpu").expect("a built-in target");
        let options = Options { gpu: Some(Placement::Gpu), ..Options::default() };
        let program = lower(&module, &target, &options).expect("it is lowered");
        let states = program.state_buffers();
        let of_states = |step: &Step| step.args.iter().filter(|arg| states.contains(&arg.buffer)).count();
        assert_eq!(program.states.len(), 1);
        assert!(program.steps.iter().all(|step| of_states(step) <= 1), "{program}");
        assert_eq!(program.steps.iter().map(of_states).sum::<usize>(), 2, "{program}");
    }
}
