//! Device plans: written, read back, and refused when they contradict themselves or the CPU's plan.

use drupe_format::plan::{
    Arg, Buffer, BufferId, Code, DeviceNeeds, ExprId, Kernel, KernelId, Place, Port, Range, SelfTest, Shader, ShaderId,
    ShaderVariant, State, Step, StepOp, TestValue,
};
use drupe_format::{
    AlignedBytes, Artifact, DType, ExprBuilder, FormatError, Parts, Plan, PlanError, Verify, assign_memory, write,
};

/// `y = (x + w) + w` over 16 floats, the steps on the CPU.
fn cpu_plan() -> Plan {
    let mut exprs = ExprBuilder::default();
    let (zero, n, bytes) = (exprs.constant(0), exprs.constant(16), exprs.constant(64));
    let buffer = |name: &str, place| Buffer { name: name.into(), size: bytes, place, first_step: 0, last_step: 0 };
    let port =
        |name: &str, buffer| Port { name: name.into(), dtype: DType::F32, shape: vec![n], buffer: BufferId(buffer) };
    let add = |a, b, out| step(StepOp::Kernel(KernelId(0)), &[(a, false), (b, false), (out, true)], &[], zero, bytes);
    let mut plan = Plan {
        inputs: vec![port("x", 0)],
        outputs: vec![port("y", 2)],
        buffers: vec![
            buffer("x", Place::Input),
            buffer("w", Place::Constant { offset: 256, len: 64 }),
            buffer("y", Place::Output),
            buffer("t", Place::Arena { offset: None }),
            buffer("u", Place::Arena { offset: None }),
        ],
        kernels: vec![Kernel { name: "add".into(), source: None }],
        steps: vec![add(0, 1, 3), add(3, 1, 4), add(4, 1, 2)],
        code: vec![Code { level: "base".into(), arch: "none".into(), features: vec![], entries: vec![0] }],
        exprs: exprs.finish(),
        ..Plan::empty("test", "add")
    };
    assign_memory(&mut plan).expect("small");
    plan
}

fn step(op: StepOp, args: &[(u32, bool)], dims: &[ExprId], offset: ExprId, len: ExprId) -> Step {
    let args = args.iter().map(|&(buffer, writes)| Arg { buffer: BufferId(buffer), offset, len, writes });
    Step {
        op,
        args: args.collect(),
        dims: dims.to_vec(),
        grid: len,
        sets: vec![],
        origin: "test".into(),
        result: None,
        flops: offset,
        bytes: offset,
    }
}

/// The same with the first and the second addition on a device, the third on the CPU.
fn device_plan() -> Plan {
    let mut plan = cpu_plan();
    let (zero, n, bytes) = (ExprId(0), ExprId(1), ExprId(2));
    let shader =
        |a, b, out| step(StepOp::Shader(ShaderId(0)), &[(a, false), (b, false), (out, true)], &[n], zero, bytes);
    let copy = |op, buffer| step(op, &[(buffer, false)], &[], zero, bytes);
    let last = plan.steps.pop().expect("three steps");
    plan.steps = vec![copy(StepOp::Upload, 0), shader(0, 1, 3), shader(3, 1, 4), copy(StepOp::Download, 4), last];
    plan.device = Some(DeviceNeeds {
        name: "gpu-test".into(),
        features: vec!["f16".into()],
        workgroup_bytes: 1024,
        invocations: 64,
        storage_buffers: 4,
        binding_bytes: 64,
    });
    let value = TestValue { argument: 2, offset: 4, bits: 0 };
    plan.shaders = vec![Shader {
        name: "add".into(),
        source: None,
        workgroup: 64,
        writes: vec![false, false, true],
        dims: 1,
        variants: vec![ShaderVariant {
            features: vec!["subgroups".into()],
            spirv: Range { offset: 0, len: 8 },
            msl: Range { offset: 8, len: 3 },
            wgsl: Range::default(),
        }],
        test: Some(SelfTest {
            family: "elementwise".into(),
            dims: vec![16],
            sizes: vec![64; 3],
            dtypes: vec![DType::F32; 3],
            expected: vec![value],
            tolerance: 0.0,
        }),
    }];
    assign_memory(&mut plan).expect("small");
    plan
}

fn file(cpu: &Plan, device: &[&Plan]) -> Result<Vec<u8>, FormatError> {
    let (constants, code, shaders) = ([7; 512], [0xC3; 100], [5; 11]);
    write(&Parts { constants: &constants, code: &[&code], device_plans: device, shaders: &shaders, ..Parts::of(cpu) })
}

fn read(bytes: &[u8]) -> Result<(), FormatError> {
    let bytes = AlignedBytes::copy_of(bytes).expect("small");
    Artifact::read(&bytes, Verify::Structure).map(|_| ())
}

#[test]
fn reads_what_was_written() {
    let (cpu, device) = (cpu_plan(), device_plan());
    let file = file(&cpu, &[&device, &device]).expect("valid");
    let bytes = AlignedBytes::copy_of(&file).expect("small");
    let artifact = Artifact::read(&bytes, Verify::Full).expect("valid");
    assert_eq!(Plan::from_archived(artifact.plan()).expect("valid"), cpu);
    let restored: Vec<Plan> =
        artifact.device_plans().iter().map(|plan| Plan::from_archived(plan).expect("valid")).collect();
    assert_eq!(restored, [device.clone(), device]);
    assert_eq!(artifact.shaders(), [5; 11]);
}

/// As for the CPU's plan: a changed layout is a new `FORMAT_VERSION`; then bless this number.
#[test]
fn the_layout_belongs_to_the_version() {
    let file = file(&cpu_plan(), &[&device_plan()]).expect("valid");
    let layout = twox_hash::XxHash3_64::oneshot(&file);
    assert_eq!((drupe_format::FORMAT_VERSION, layout), (5, 10_765_911_551_815_416_956));
}

#[test]
fn arenas_of_device_plans_are_aligned_for_devices() {
    let offsets = |plan: &Plan| {
        let arena = |buffer: &Buffer| match buffer.place {
            Place::Arena { offset } => offset,
            Place::Constant { .. } | Place::Input | Place::Output | Place::View { .. } => None,
        };
        let mut offsets: Vec<u64> = plan.buffers.iter().filter_map(arena).collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(offsets(&cpu_plan()), [0, 64]);
    assert_eq!(offsets(&device_plan()), [0, 256]);
}

#[test]
fn every_flipped_byte_is_an_error() {
    let file = file(&cpu_plan(), &[&device_plan()]).expect("valid");
    let constants = 4096..4096 + 512;
    for at in (0..file.len()).filter(|at| !constants.contains(at)) {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).is_err(), "byte {at}");
    }
}

/// Damage whose checksums fit: whatever the plan then says, reading it is an error or gives a plan
/// that passes the checks, and never panics.
#[test]
fn hostile_plans_never_panic() {
    let file = file(&cpu_plan(), &[&device_plan()]).expect("valid");
    let row = 24 + 40;
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("8 bytes")) as usize;
    let (start, len) = (number(row + 8), number(row + 16));
    let table_end = 24 + 5 * 40;
    let mut accepted = 0;
    for at in start..start + len {
        for change in [1, 0x80, 0xFF] {
            let mut hostile = file.clone();
            hostile[at] ^= change;
            let section = twox_hash::XxHash3_64::oneshot(&hostile[start..start + len]);
            hostile[row + 32..row + 40].copy_from_slice(&section.to_le_bytes());
            let table = twox_hash::XxHash3_64::oneshot(&hostile[..table_end]);
            hostile[table_end..table_end + 8].copy_from_slice(&table.to_le_bytes());
            accepted += usize::from(read(&hostile).is_ok());
        }
    }
    assert!(accepted > 0, "names at least may be anything: is the section where the test takes it to be?");
}

/// Each edit makes the device plan contradict itself or the CPU's; the writer must refuse it.
#[test]
fn contradictory_device_plans_are_refused() {
    type Edit = fn(&mut Plan);
    let edits: &[(&str, Edit)] = &[
        ("Index", |plan| plan.steps[1].op = StepOp::Shader(ShaderId(1))),
        ("Count", |plan| plan.steps[1].args.truncate(2)),
        ("Count", |plan| plan.steps[1].dims.clear()),
        ("Count", |plan| plan.steps[0].args.clear()),
        ("Count", |plan| plan.steps[3].dims.push(ExprId(0))),
        ("Access", |plan| plan.shaders[0].writes[0] = true),
        ("Access", |plan| plan.steps[3].args[0].writes = true),
        ("OutOfBounds", |plan| plan.shaders[0].variants[0].msl.len = 4),
        ("OutOfBounds", |plan| plan.shaders[0].variants[0].spirv.offset = u64::MAX - 3),
        ("Alignment", |plan| plan.shaders[0].variants[0].spirv.len = 7),
        ("NoText", |plan| plan.shaders[0].variants.clear()),
        ("NoText", |plan| {
            let variant = &mut plan.shaders[0].variants[0];
            (variant.spirv, variant.msl) = (Range::default(), Range::default());
        }),
        ("NoInvocations", |plan| plan.shaders[0].workgroup = 0),
        ("Needs", |plan| plan.shaders[0].workgroup = 65),
        ("Needs", |plan| plan.device.as_mut().expect("a device's").storage_buffers = 2),
        ("Needs", |plan| plan.shaders[0].test.as_mut().expect("tested").sizes[0] = u64::MAX),
        ("Needs", |plan| plan.device.as_mut().expect("a device's").binding_bytes = 63),
        ("Count", |plan| plan.shaders[0].test.as_mut().expect("tested").dims.clear()),
        ("Count", |plan| plan.shaders[0].test.as_mut().expect("tested").dtypes.clear()),
        ("Index", |plan| plan.shaders[0].test.as_mut().expect("tested").expected[0].argument = 3),
        ("OutOfBounds", |plan| plan.shaders[0].test.as_mut().expect("tested").expected[0].offset = 64),
        ("Alignment", |plan| plan.shaders[0].test.as_mut().expect("tested").expected[0].offset = 2),
        ("Alignment", |plan| plan.buffers[1].place = Place::Constant { offset: 64, len: 64 }),
        ("Alignment", |plan| plan.buffers[4].place = Place::Arena { offset: Some(64) }),
        // Not yet on the device, or not yet back.
        ("Unwritten", |plan| plan.steps.swap(0, 1)),
        ("Unwritten", |plan| plan.steps.swap(2, 3)),
        ("Unwritten", |plan| drop(plan.steps.splice(3..4, plan.steps[0..1].to_vec()))),
        // What must not be overwritten, and what need not cross.
        ("ReadOnly", |plan| plan.steps[3].args[0].buffer = BufferId(0)),
        ("ReadOnly", |plan| plan.steps[0].args[0].buffer = BufferId(1)),
    ];
    for (index, (expected, edit)) in edits.iter().enumerate() {
        let mut plan = device_plan();
        edit(&mut plan);
        let fault = file(&cpu_plan(), &[&plan]).expect_err(expected);
        let FormatError::Plan(fault) = &fault else {
            panic!("{index} {expected}: {fault}");
        };
        let found = format!("{fault:?}");
        assert!(found.starts_with(expected), "edit {index}: expected {expected}, found {found}");
    }
}

#[test]
fn arguments_start_where_devices_can_bind_them() {
    let mut plan = device_plan();
    let mut exprs: Vec<_> = plan.exprs.clone();
    exprs.push(drupe_format::plan::Expr::Const(32));
    plan.exprs = exprs;
    let half = ExprId(plan.exprs.len() as u32 - 1);
    (plan.steps[1].args[0].offset, plan.steps[1].args[0].len) = (half, half);
    let fault = file(&cpu_plan(), &[&plan]).map(|_| ());
    assert!(matches!(fault, Err(FormatError::Plan(PlanError::Alignment { offset: 32, alignment: 256, .. }))));
}

#[test]
fn plans_have_their_roles() {
    let (cpu, device) = (cpu_plan(), device_plan());
    let fault = |cpu: &Plan, devices: &[&Plan]| file(cpu, devices).map(|_| ()).expect_err("refused");
    assert_eq!(fault(&device, &[]), FormatError::PlanRole { device: false });
    assert_eq!(fault(&cpu, &[&cpu]), FormatError::PlanRole { device: true });
    let other = |edit: fn(&mut Plan)| {
        let mut plan = device_plan();
        edit(&mut plan);
        match fault(&cpu_plan(), &[&device_plan(), &plan]) {
            FormatError::OtherPlan { index: 2, what } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(other(|plan| plan.model.clear()), "model");
    assert_eq!(other(|plan| plan.inputs[0].dtype = DType::F16), "inputs");
    assert_eq!(other(|plan| plan.outputs.clear()), "outputs");
    assert_eq!(other(|plan| plan.code[0].level.push('2')), "code images");
    let mut plan = cpu_plan();
    plan.shaders = device_plan().shaders;
    assert!(matches!(fault(&plan, &[]), FormatError::Plan(PlanError::NoDevice { .. })));
    let mut plan = cpu_plan();
    plan.steps.push(device_plan().steps.remove(0));
    assert!(matches!(fault(&plan, &[]), FormatError::Plan(PlanError::NoDevice { .. })));
}

/// States of a device plan are in the device's memory: no copy and nothing on the host touches them.
#[test]
fn states_of_a_device_plan_are_the_shaders_alone() {
    let state = State { input: 0, output: 0, window: None };
    let with = |edit: fn(&mut Plan)| {
        let (mut cpu, mut device) = (cpu_plan(), device_plan());
        (cpu.states, device.states) = (vec![state], vec![state]);
        // A shader writes the output, from what is there; nothing is copied.
        device.steps = vec![device.steps[1].clone()];
        device.steps[0].args[2].buffer = device.outputs[0].buffer;
        device.steps[0].result = None;
        edit(&mut device);
        assign_memory(&mut device).expect("small");
        file(&cpu, &[&device]).map(|_| ())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|plan| plan.states[0].window = Some(1)), Err(FormatError::OtherPlan { index: 1, what: "states" }));
    let edits: [fn(&mut Plan); 2] = [
        |plan| {
            let mut copy = device_plan().steps[0].clone();
            copy.args[0].buffer = plan.inputs[0].buffer;
            plan.steps.insert(0, copy);
        },
        |plan| {
            let mut copy = device_plan().steps[3].clone();
            copy.args[0].buffer = plan.outputs[0].buffer;
            plan.steps.push(copy);
        },
    ];
    for edit in edits {
        assert!(matches!(with(edit), Err(FormatError::Plan(PlanError::StatePlace { .. }))));
    }
}
