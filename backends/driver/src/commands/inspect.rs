//! `drupe inspect`: what is in an artifact.

use crate::commands::table::Table;
use crate::{console, files};
use drupe_format::plan::{
    ArchivedDeviceNeeds, ArchivedPlace, ArchivedPlan, ArchivedPort, ArchivedRange, ArchivedShader,
    ArchivedShaderVariant, ArchivedStepOp,
};
use drupe_format::{AlignedBytes, Artifact, FORMAT_VERSION, Verify, describe_expr, describe_shape, evaluate};
use drupe_ir::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Show what is in an artifact, after checking every byte of it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe inspect mobilenetv2.drupe
  drupe inspect mobilenetv2.drupe --steps --memory | less")]
pub(crate) struct Inspect {
    /// The artifact
    file: PathBuf,
    /// Show the kernels and shaders, with the steps that use them
    #[arg(long)]
    kernels: bool,
    /// Show what runs, in order
    #[arg(long)]
    steps: bool,
    /// Show who has which bytes of the arena, and when
    #[arg(long)]
    memory: bool,
    /// Show the constants
    #[arg(long)]
    weights: bool,
    /// Show all of it
    #[arg(long)]
    all: bool,
}

impl Inspect {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let bytes = AlignedBytes::copy_of(&files::read(&self.file)?);
        let fail = |error: &dyn std::fmt::Display| Diagnostic::new("file", format!("{}: {error}", self.file.display()));
        let bytes = bytes.map_err(|error| fail(&error))?;
        let artifact = Artifact::read(&bytes, Verify::Full).map_err(|error| fail(&error))?;
        let mut text = summary(&artifact, bytes.len());
        for plan in artifact.plans().iter().chain(artifact.device_plans()) {
            for (wanted, part) in [
                (self.kernels, kernels as fn(&ArchivedPlan) -> String),
                (self.steps, steps),
                (self.memory, memory),
                (self.weights, weights),
            ] {
                if wanted || self.all {
                    text += &part(plan);
                }
            }
        }
        console::print(&text)
    }
}

fn summary(artifact: &Artifact, length: usize) -> String {
    let plan = artifact.plan();
    let mut text =
        format!("{}: {}, format {FORMAT_VERSION}, by {}\n", plan.model, console::bytes(length as u64), plan.producer);
    for entry in artifact.plans() {
        if !entry.entry.is_empty() {
            text +=
                &format!("\nentry {}: {} steps of {} kernels\n", entry.entry, entry.steps.len(), entry.kernels.len());
        }
        text += &ports("inputs", entry, entry.inputs.iter(), &|index| {
            entry.states.iter().any(|s| s.input.to_native() as usize == index)
        });
        text += &ports("outputs", entry, entry.outputs.iter(), &|index| {
            entry.states.iter().any(|s| s.output.to_native() as usize == index)
        });
    }
    text += &states(plan);
    text += &assets(artifact, plan);
    if !plan.symbols.is_empty() {
        text += "\nsymbols\n";
        for symbol in plan.symbols.iter() {
            text += &format!("  {} in {}..={}\n", symbol.name, symbol.min, symbol.max);
        }
    }
    text += "\nsections\n";
    let mut table = Table::new(["section", "offset", "bytes", "checksum"]);
    for section in artifact.sections() {
        let (kind, offset, len) = (section.kind.to_string(), section.offset.to_string(), section.len.to_string());
        table.row([kind, offset, len, format!("{:016x}", section.checksum)]);
    }
    text += &table.text();
    text += "\ncode, best first\n";
    for (code, section) in plan.code.iter().zip(artifact.code()) {
        let features: Vec<&str> = code.features.iter().map(|feature| feature.as_str()).collect();
        let size = console::bytes(section.len);
        text += &format!("  {} {}: {size}, needs {}\n", code.arch, code.level, features.join(" "));
    }
    let flops = plan.steps.iter().map(|step| constant(plan, step.flops.index())).sum::<Option<i64>>();
    let flops = flops.map_or(String::new(), |flops| format!(", {:.3} GFLOP", flops as f64 / 1e9));
    let (steps, kernels) = (plan.steps.len(), plan.kernels.len());
    text += &format!("\n{steps} steps of {kernels} kernels{flops}; {}\n", buffers(plan));
    for plan in artifact.device_plans() {
        text += &plan.device.as_ref().map_or(String::new(), |needs| device(plan, needs));
    }
    text
}

fn buffers(plan: &ArchivedPlan) -> String {
    let arena = match plan.static_arena.as_ref() {
        Some(arena) => format!(
            "arena {} (no plan needs less than {})",
            console::bytes(arena.bytes.to_native()),
            console::bytes(arena.lower_bound.to_native())
        ),
        None => "arena planned when shapes are known".to_owned(),
    };
    format!("{} buffers; {arena}", plan.buffers.len())
}

/// What a device plan needs, and who does what in it.
fn device(plan: &ArchivedPlan, needs: &ArchivedDeviceNeeds) -> String {
    let features: Vec<&str> = needs.features.iter().map(|feature| feature.as_str()).collect();
    let features = if features.is_empty() { "no features".to_owned() } else { features.join(" ") };
    let steps = |of: fn(&ArchivedStepOp) -> bool| plan.steps.iter().filter(move |step| of(&step.op));
    let copies = |of| {
        let bytes = steps(of).map(|step| constant(plan, step.args[0].len.index())).sum::<Option<i64>>();
        let count = steps(of).count();
        bytes.map_or(count.to_string(), |bytes| format!("{count} ({})", console::bytes(bytes.max(0) as u64)))
    };
    let variants = || plan.shaders.iter().flat_map(|shader| shader.variants.iter());
    let language = |text: fn(&ArchivedShaderVariant) -> &ArchivedRange| {
        // Equal texts are there once.
        let ranges = variants().map(text).map(|range| (range.offset.to_native(), range.len.to_native()));
        ranges.collect::<BTreeSet<_>>().iter().map(|(_, len)| len).sum::<u64>()
    };
    let languages = [
        ("SPIR-V", language(|variant| &variant.spirv)),
        ("MSL", language(|variant| &variant.msl)),
        ("WGSL", language(|variant| &variant.wgsl)),
    ];
    let languages = languages.into_iter().filter(|(_, bytes)| *bytes > 0);
    let languages: Vec<String> = languages.map(|(name, bytes)| format!("{name} {}", console::bytes(bytes))).collect();
    let states = match plan.states.len() {
        0 => String::new(),
        count => format!("  states: {count} stay in the GPU's memory\n"),
    };
    format!(
        "\nplan {}\n  needs {features}; workgroups of {} that share {}; {} storage buffers of {}\n  \
         steps: {} on the GPU, {} on the CPU, copies to the GPU {}, from it {}\n{states}  \
         shaders: {}, {} with a test; {}\n  {}\n",
        plan_name(plan, needs),
        needs.invocations,
        console::bytes(needs.workgroup_bytes.to_native().into()),
        needs.storage_buffers,
        console::bytes(needs.binding_bytes.to_native()),
        steps(|op| matches!(op, ArchivedStepOp::Shader(_))).count(),
        steps(|op| matches!(op, ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. })).count(),
        copies(|op| matches!(op, ArchivedStepOp::Upload)),
        copies(|op| matches!(op, ArchivedStepOp::Download)),
        plan.shaders.len(),
        plan.shaders.iter().filter(|shader| shader.test.is_some()).count(),
        languages.join(", "),
        buffers(plan),
    )
}

/// What a device plan is for.
fn plan_name(plan: &ArchivedPlan, needs: &ArchivedDeviceNeeds) -> String {
    if plan.entry.is_empty() { needs.name.to_string() } else { format!("{} of entry {}", needs.name, plan.entry) }
}

/// The heading of a table: the CPU's plan needs no name.
fn heading(title: &str, plan: &ArchivedPlan) -> String {
    match plan.device.as_ref() {
        Some(needs) => format!("\n{title} of plan {}\n", plan_name(plan, needs)),
        None if plan.entry.is_empty() => format!("\n{title}\n"),
        None => format!("\n{title} of entry {}\n", plan.entry),
    }
}

/// The ports but those that are states, which [`states`] shows.
fn ports<'a>(
    title: &str,
    plan: &ArchivedPlan,
    ports: impl Iterator<Item = &'a ArchivedPort>,
    is_state: &dyn Fn(usize) -> bool,
) -> String {
    let shown = ports.enumerate().filter(|(index, _)| !is_state(*index));
    let lines =
        shown.map(|(_, port)| format!("  {}: {}{}\n", port.name, port.dtype, describe_shape(plan, &port.shape)));
    format!("\n{title}\n{}", lines.collect::<String>())
}

/// What the model keeps from run to run, and how much of it there can be.
fn states(plan: &ArchivedPlan) -> String {
    if plan.states.is_empty() {
        return String::new();
    }
    let most: Vec<i64> = plan.symbols.iter().map(|symbol| symbol.max.to_native() as i64).collect();
    let mut sizes = Vec::new();
    let known = evaluate(&plan.exprs, &most, &mut sizes).is_ok();
    // By the most rows that there can be, bytes of one.
    let (mut row_bytes, mut shapes) = (BTreeMap::<i64, u64>::new(), BTreeMap::<String, usize>::new());
    for state in plan.states.iter() {
        let port = &plan.outputs[state.output.to_native() as usize];
        let [first, row @ ..] = port.shape.as_slice() else { continue };
        *shapes.entry(format!("{}{}", port.dtype, describe_shape(plan, &port.shape))).or_default() += 1;
        if known {
            let elements = row.iter().map(|dim| sizes[dim.index()].max(0) as u64).fold(1, u64::saturating_mul);
            let sum = row_bytes.entry(sizes[first.index()].max(0)).or_default();
            *sum = sum.saturating_add(elements.saturating_mul(port.dtype.size() as u64));
        }
    }
    let kinds: Vec<String> = shapes.into_iter().map(|(shape, count)| format!("{count} of {shape}")).collect();
    let mut text = format!("\nstates\n  {}\n", kinds.join(", "));
    let mut total = 0_u64;
    for (rows, bytes) in &row_bytes {
        let all = bytes.saturating_mul(*rows as u64);
        total = total.saturating_add(all);
        text += &format!("  {} a row, {rows} rows at most: {}\n", console::bytes(*bytes), console::bytes(all));
    }
    if row_bytes.len() > 1 {
        text += &format!("  {} in all\n", console::bytes(total));
    }
    text
}

fn assets(artifact: &Artifact, plan: &ArchivedPlan) -> String {
    if plan.assets.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["asset", "bytes"]);
    for asset in plan.assets.iter() {
        let bytes = artifact.asset(&asset.name).map_or(0, <[u8]>::len);
        table.row([asset.name.as_str().to_owned(), bytes.to_string()]);
    }
    format!("\nassets\n{}", table.text())
}

fn kernels(plan: &ArchivedPlan) -> String {
    let mut table = Table::new(["kernel", "steps"]);
    for (index, kernel) in plan.kernels.iter().enumerate() {
        let uses = |op: &ArchivedStepOp| matches!(op, ArchivedStepOp::Kernel(kernel) if kernel.index() == index);
        let steps = plan.steps.iter().filter(|step| uses(&step.op)).count();
        table.row([kernel.name.as_str().to_owned(), steps.to_string()]);
    }
    let text = || heading("kernels", plan) + &table.text();
    match plan.device.is_some() {
        false => text(),
        true if plan.kernels.is_empty() => shaders(plan),
        true => text() + &shaders(plan),
    }
}

fn shaders(plan: &ArchivedPlan) -> String {
    let mut table = Table::new(["shader", "steps", "workgroup", "variants", "tested as"]);
    for (index, shader) in plan.shaders.iter().enumerate() {
        let uses = |op: &ArchivedStepOp| matches!(op, ArchivedStepOp::Shader(shader) if shader.index() == index);
        table.row([
            shader.name.as_str().to_owned(),
            plan.steps.iter().filter(|step| uses(&step.op)).count().to_string(),
            shader.workgroup.to_string(),
            variants(shader),
            shader.test.as_ref().map_or("", |test| test.family.as_str()).to_owned(),
        ]);
    }
    heading("shaders", plan) + &table.text()
}

/// What each variant of a shader needs beyond what the plan does, best first.
fn variants(shader: &ArchivedShader) -> String {
    let has = |variant: &ArchivedShaderVariant, name: &str| variant.features.iter().any(|other| other.as_str() == name);
    let needs = |variant: &ArchivedShaderVariant| {
        let names = variant.features.iter().map(|name| name.as_str());
        let own = names.filter(|name| !shader.variants.iter().all(|other| has(other, name)));
        let own = own.collect::<Vec<_>>().join(" ");
        if own.is_empty() { "plain".to_owned() } else { own }
    };
    shader.variants.iter().map(needs).collect::<Vec<_>>().join(", ")
}

fn steps(plan: &ArchivedPlan) -> String {
    let tasks = if plan.device.is_some() { "workgroups, tasks" } else { "tasks" };
    let mut table = Table::new(["step", "runs", tasks, "reads", "writes", "flop", "origin"]);
    for (index, step) in plan.steps.iter().enumerate() {
        let grid = || describe_expr(plan, &step.grid);
        let (runs, tasks) = match &step.op {
            ArchivedStepOp::Kernel(kernel) => (plan.kernels[kernel.index()].name.as_str().to_owned(), grid()),
            ArchivedStepOp::Builtin { name, .. } => (name.as_str().to_owned(), grid()),
            ArchivedStepOp::Shader(shader) => (format!("gpu {}", plan.shaders[shader.index()].name), grid()),
            ArchivedStepOp::Upload => ("copy to the GPU".to_owned(), "-".to_owned()),
            ArchivedStepOp::Download => ("copy from the GPU".to_owned(), "-".to_owned()),
        };
        let buffers = |writes: bool| {
            let args = step.args.iter().filter(|arg| arg.writes == writes);
            args.map(|arg| arg.buffer.index().to_string()).collect::<Vec<_>>().join(" ")
        };
        table.row([
            index.to_string(),
            runs,
            tasks,
            buffers(false),
            buffers(true),
            describe_expr(plan, &step.flops),
            step.origin.as_str().to_owned(),
        ]);
    }
    heading("steps", plan) + &table.text()
}

/// A line a buffer, and the steps it lives in as a bar.
fn memory(plan: &ArchivedPlan) -> String {
    const COLUMNS: usize = 48;
    let mut table = Table::new(["buffer", "bytes", "arena offset", "steps", "name", "life"]);
    let count = plan.steps.len().max(1);
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let ArchivedPlace::Arena { offset } = &buffer.place else { continue };
        let (first, last) = (buffer.first_step.to_native() as usize, buffer.last_step.to_native() as usize);
        let bar: String = (0..COLUMNS)
            .map(|column| (column * count / COLUMNS, (column + 1) * count / COLUMNS))
            .map(|(low, high)| if first < high.max(low + 1) && low <= last { '#' } else { '.' })
            .collect();
        table.row([
            index.to_string(),
            describe_expr(plan, &buffer.size),
            offset.as_ref().map_or("-".into(), |offset| offset.to_native().to_string()),
            format!("{first}-{last}"),
            buffer.name.as_str().to_owned(),
            bar,
        ]);
    }
    heading("memory", plan) + &table.text()
}

fn weights(plan: &ArchivedPlan) -> String {
    let mut table = Table::new(["buffer", "bytes", "offset", "name"]);
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let ArchivedPlace::Constant { offset, len } = &buffer.place else { continue };
        table.row([index.to_string(), len.to_string(), offset.to_string(), buffer.name.as_str().to_owned()]);
    }
    heading("weights", plan) + &table.text()
}

fn constant(plan: &ArchivedPlan, expr: usize) -> Option<i64> {
    match &plan.exprs[expr] {
        drupe_format::plan::ArchivedExpr::Const(value) => Some(value.to_native()),
        drupe_format::plan::ArchivedExpr::Symbol(_) | drupe_format::plan::ArchivedExpr::Binary(..) => None,
    }
}
