//! Files: what is written is read back, and every damage is an error.

use drupe_format::plan::{
    Arg, Asset, Buffer, BufferId, Code, Kernel, KernelId, Place, Port, Range, State, StaticArena, Step, StepOp, Symbol,
    SymbolId, SymbolSource,
};
use drupe_format::{
    AlignedBytes, Artifact, At, DType, ExprBuilder, ExprOp, Extra, FormatError, Parts, Plan, PlanError, Verify, write,
};

/// `y = x + w` over `n` floats, where `n` is a symbol, through one arena buffer.
fn plan() -> Plan {
    let mut exprs = ExprBuilder::default();
    let (zero, one, four) = (exprs.constant(0), exprs.constant(1), exprs.constant(4));
    let weight_bytes = exprs.constant(64);
    let n = exprs.symbol(SymbolId(0));
    let bytes = exprs.binary(ExprOp::Mul, n, four).expect("no constants");
    let buffer = |name: &str, size, place| Buffer { name: name.into(), size, place, first_step: 0, last_step: 1 };
    let arg = |buffer, writes| Arg { buffer: BufferId(buffer), offset: zero, len: bytes, writes };
    let step = |args| Step {
        op: StepOp::Kernel(KernelId(0)),
        args,
        dims: vec![n],
        grid: one,
        sets: vec![],
        origin: "test".into(),
        result: None,
        flops: n,
        bytes,
    };
    let port =
        |name: &str, buffer| Port { name: name.into(), dtype: DType::F32, shape: vec![n], buffer: BufferId(buffer) };
    Plan {
        symbols: vec![Symbol { name: "n".into(), min: 1, max: 16, source: SymbolSource::Input }],
        inputs: vec![port("x", 0)],
        outputs: vec![port("y", 2)],
        buffers: vec![
            buffer("x", bytes, Place::Input),
            buffer("w", weight_bytes, Place::Constant { offset: 0, len: 64 }),
            buffer("y", bytes, Place::Output),
            buffer("t", bytes, Place::Arena { offset: None }),
        ],
        kernels: vec![Kernel { name: "add".into(), source: None }],
        steps: vec![
            step(vec![arg(0, false), arg(1, false), arg(3, true)]),
            step(vec![arg(3, false), arg(1, false), arg(2, true)]),
        ],
        code: vec![Code { level: "base".into(), arch: "none".into(), features: vec![], entries: vec![0] }],
        static_arena: None,
        scratch: zero,
        exprs: exprs.finish(),
        ..Plan::empty("test", "add")
    }
}

fn file(plan: &Plan) -> Result<Vec<u8>, FormatError> {
    let (constants, code) = ([7; 64], [0xC3; 100]);
    write(&Parts { constants: &constants, code: &[&code], ..Parts::of(plan) })
}

fn read(bytes: &[u8], verify: Verify) -> Result<(), FormatError> {
    let bytes = AlignedBytes::copy_of(bytes).expect("small");
    Artifact::read(&bytes, verify).map(|_| ())
}

#[test]
fn reads_what_was_written() {
    let file = file(&plan()).expect("valid");
    let bytes = AlignedBytes::copy_of(&file).expect("small");
    let artifact = Artifact::read(&bytes, Verify::Full).expect("valid");
    let restored: Plan = Plan::from_archived(artifact.plan()).expect("valid");
    assert_eq!(restored, plan());
    assert_eq!(artifact.constants(), [7; 64]);
    let code: Vec<_> = artifact.code().collect();
    assert_eq!(code.len(), 1);
    assert_eq!(code[0].offset % drupe_format::CODE_ALIGNMENT, 0);
    assert_eq!(artifact.section_bytes(code[0]), [0xC3; 100]);
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    assert_eq!(file(&plan()), file(&plan()));
}

/// Changing the layout of a file needs a new `FORMAT_VERSION`; then bless this number.
#[test]
fn the_layout_belongs_to_the_version() {
    let file = file(&plan()).expect("valid");
    let layout = twox_hash::XxHash3_64::oneshot(&file);
    assert_eq!((drupe_format::FORMAT_VERSION, layout), (5, 2_476_708_858_545_171_096));
}

#[test]
fn every_flipped_byte_is_an_error() {
    let file = file(&plan()).expect("valid");
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged, Verify::Full).is_err(), "byte {at}");
    }
}

#[test]
fn structure_skips_the_constants_only() {
    let file = file(&plan()).expect("valid");
    let flipped = |at: usize| {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        read(&damaged, Verify::Structure)
    };
    assert_eq!(flipped(4096), Ok(()));
    assert!(matches!(flipped(16 * 1024), Err(FormatError::SectionChecksum { index: 2, .. })));
    assert!(matches!(flipped(4095), Err(FormatError::Padding { before: 4096 })));
}

#[test]
fn every_truncation_and_extension_is_an_error() {
    let mut file = file(&plan()).expect("valid");
    for len in 0..file.len() {
        assert!(read(&file[..len], Verify::Structure).is_err(), "{len} bytes");
    }
    file.push(0);
    assert!(read(&file, Verify::Structure).is_err());
}

#[test]
fn unknown_sections_are_ignored_when_optional() {
    let plan = Plan::empty("test", "extra");
    let extra = [Extra { kind: 99, alignment: 64, bytes: b"later" }];
    let file = write(&Parts { extra: &extra, ..Parts::of(&plan) });
    let mut file = file.expect("valid");
    assert_eq!(read(&file, Verify::Full), Ok(()));
    // The same, no longer optional.
    let flags = 24 + 2 * 40 + 4;
    file[flags] = 0;
    let table_end = 24 + 3 * 40;
    let checksum = twox_hash::XxHash3_64::oneshot(&file[..table_end]);
    file[table_end..table_end + 8].copy_from_slice(&checksum.to_le_bytes());
    let fault = read(&file, Verify::Full).expect_err("not optional");
    assert!(matches!(fault, FormatError::UnknownSection { index: 2, .. }), "{fault}");
}

/// Each edit makes the plan contradict itself; the writer must refuse it.
#[test]
fn contradictory_plans_are_refused() {
    type Edit = fn(&mut Plan);
    let edits: &[(&str, Edit)] = &[
        ("Index", |plan| plan.steps[0].args[0].buffer = BufferId(4)),
        ("Index", |plan| plan.steps[0].op = StepOp::Kernel(KernelId(1))),
        ("Index", |plan| plan.exprs[0] = drupe_format::plan::Expr::Symbol(SymbolId(1))),
        ("Index", |plan| plan.buffers[0].size.0 = 1000),
        ("Name", |plan| plan.symbols[0].name.clear()),
        ("SymbolRange", |plan| plan.symbols[0].min = 17),
        ("SymbolRange", |plan| plan.symbols[0].max = u64::MAX),
        ("SymbolSource", |plan| plan.symbols[0].source = SymbolSource::Step),
        ("SymbolSet", |plan| plan.steps[0].sets.push(SymbolId(0))),
        ("LiveRange", |plan| plan.buffers[3].last_step = 2),
        ("LiveRange", |plan| plan.buffers[3].first_step = 2),
        ("NotLive", |plan| plan.buffers[3].last_step = 0),
        ("Alignment", |plan| plan.buffers[1].place = Place::Constant { offset: 8, len: 8 }),
        ("OutOfBounds", |plan| plan.buffers[1].place = Place::Constant { offset: 0, len: 65 }),
        ("OutOfBounds", |plan| plan.code[0].entries[0] = 100),
        ("ArenaMode", |plan| plan.buffers[3].place = Place::Arena { offset: Some(0) }),
        ("ArenaMode", |plan| plan.static_arena = Some(StaticArena { bytes: 64, lower_bound: 64 })),
        ("PortPlace", |plan| plan.inputs[0].buffer = BufferId(1)),
        ("NoPort", |plan| plan.buffers[1].place = Place::Input),
        ("ReadOnly", |plan| plan.steps[0].args[1].writes = true),
        ("Unwritten", |plan| plan.steps.swap(0, 1)),
        ("Unwritten", |plan| plan.steps[1].args.truncate(2)),
        ("EntryCount", |plan| plan.code[0].entries.push(0)),
    ];
    for (expected, edit) in edits {
        let mut plan = plan();
        edit(&mut plan);
        let fault = file(&plan).expect_err(expected);
        let FormatError::Plan(fault) = &fault else {
            panic!("{expected}: {fault}");
        };
        let found = format!("{fault:?}");
        assert!(found.starts_with(expected), "expected {expected}, found {found}");
    }
}

#[test]
fn overlapping_baked_buffers_are_refused() {
    let mut plan = plan();
    plan.symbols.clear();
    plan.exprs = vec![drupe_format::plan::Expr::Const(16); plan.exprs.len()];
    plan.exprs[0] = drupe_format::plan::Expr::Const(0);
    let size = plan.steps[0].args[0].len;
    let arena = |name: &str, offset, first_step, last_step| Buffer {
        name: name.into(),
        size,
        place: Place::Arena { offset: Some(offset) },
        first_step,
        last_step,
    };
    plan.static_arena = Some(StaticArena { bytes: 80, lower_bound: 64 });
    plan.buffers[3] = arena("t", 0, 0, 1);
    for port in plan.inputs.iter_mut().chain(&mut plan.outputs) {
        port.shape = vec![plan.steps[0].grid];
    }
    let four = drupe_format::plan::Expr::Const(4);
    plan.exprs[1] = four;
    plan.steps[0].grid = drupe_format::plan::ExprId(1);
    plan.buffers.push(arena("u", 64, 0, 1));
    assert_eq!(file(&plan).map(|_| ()), Ok(()));
    plan.buffers[4] = arena("u", 0, 0, 1);
    let overlap = PlanError::Overlap { first: 3, second: 4, step: 0 };
    assert_eq!(file(&plan).map(|_| ()), Err(FormatError::Plan(overlap)));
    plan.buffers[3].last_step = 0;
    let not_live = file(&plan).expect_err("used at step 1");
    let at = At::Arg { step: 1, arg: 0 };
    assert!(matches!(not_live, FormatError::Plan(PlanError::NotLive { at: found, .. }) if found == at));
}

#[test]
fn entries_and_assets_are_read_back() {
    let named = |entry: &str| Plan { entry: entry.into(), ..plan() };
    let range = |offset, len| Range { offset, len };
    let mut first = named("one");
    first.assets =
        vec![Asset { name: "a.json".into(), range: range(0, 2) }, Asset { name: "b".into(), range: range(1, 3) }];
    let write_with = |first: &Plan, entries: &[&Plan]| {
        let (constants, code) = ([7; 64], [0xC3; 100]);
        write(&Parts { entries, constants: &constants, code: &[&code], assets: b"{}xy", ..Parts::of(first) })
    };
    let file = write_with(&first, &[&named("two"), &named("three")]).expect("valid");
    let bytes = AlignedBytes::copy_of(&file).expect("small");
    let artifact = Artifact::read(&bytes, Verify::Full).expect("valid");
    let entries: Vec<&str> = artifact.plans().iter().map(|plan| plan.entry.as_str()).collect();
    assert_eq!(entries, ["one", "two", "three"]);
    assert_eq!((artifact.asset("a.json"), artifact.asset("b")), (Some(&b"{}"[..]), Some(&b"}xy"[..])));
    assert_eq!(artifact.asset("c"), None);
    assert_eq!(
        write_with(&first, &[&named("one")]).expect_err("refused"),
        FormatError::OtherPlan { index: 1, what: "entry" }
    );
    assert_eq!(
        write_with(&named("one"), &[&Plan { entry: "two".into(), ..first.clone() }]).expect_err("refused"),
        FormatError::OtherPlan { index: 1, what: "assets" }
    );
    first.assets[1].range.len = 4;
    assert!(matches!(write_with(&first, &[]), Err(FormatError::Plan(PlanError::OutOfBounds { .. }))));
    first.assets[1] = first.assets[0].clone();
    assert!(matches!(write_with(&first, &[]), Err(FormatError::Plan(PlanError::Name { .. }))));
}

#[test]
fn states_have_the_memory_of_one_output() {
    let with = |edit: fn(&mut Plan)| {
        let mut plan = plan();
        plan.states = vec![State { input: 0, output: 0, window: None }];
        edit(&mut plan);
        file(&plan).map(|_| ())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert!(matches!(with(|plan| plan.states[0].output = 1), Err(FormatError::Plan(PlanError::Index { .. }))));
    let wrong: [fn(&mut Plan); 4] = [
        |plan| plan.outputs[0].dtype = DType::I32,
        |plan| plan.outputs[0].shape.push(plan.inputs[0].shape[0]),
        |plan| plan.states.push(plan.states[0]),
        |plan| plan.outputs.push(Port { name: "other".into(), ..plan.outputs[0].clone() }),
    ];
    for edit in wrong {
        assert!(matches!(with(edit), Err(FormatError::Plan(PlanError::State { .. }))));
    }
}
