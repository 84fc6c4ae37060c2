//! Sessions with a device: one made of vectors, whose only shader adds two arguments.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drupe_format::plan::{
    ArchivedStepOp, DeviceNeeds, Place, Range, Shader, ShaderId, ShaderVariant, StepOp, StepResult, SymbolSource,
};
use drupe_format::{Base, DType, Layout, Location};
use drupe_runtime::{Device, DeviceError, Error, LoadOptions, Options, Program, Session, Tensor};

use crate::support::Maker;

/// `y = 2 * (x + w + w)` over `n` floats: two additions, then a kernel, and as a device plan with
/// the additions as shaders and the sum downloaded. With `exported` the sum is an output, too.
pub(crate) fn model(exported: bool) -> Vec<u8> {
    let mut cpu = Maker::new("sums");
    let mut device = Maker::new("sums");
    for (make, on_device) in [(&mut cpu, false), (&mut device, true)] {
        // The kernel that doubles needs it.
        make.plan.scratch = make.number(64);
        let n = make.symbol("n", 1, 64, SymbolSource::Input);
        let bytes = make.times(n, 4);
        let x = make.input("x", DType::F32, &[n], bytes);
        let w = make.constant("w", &[10.0; 64]);
        let once = make.arena("once", bytes);
        let sum = if exported { make.buffer("sum", bytes, Place::Output) } else { make.arena("sum", bytes) };
        let y = make.output_buffer("y", DType::F32, &[n], bytes);
        if exported {
            make.output("sum", DType::F32, &[n], sum);
        }
        let one = make.number(1);
        if on_device {
            make.step(StepOp::Upload, &[(x, bytes, false)], &[], one);
        }
        for args in [[x, w, once], [once, w, sum]] {
            make.kernel(0, n, &args);
            let step = make.plan.steps.last_mut().expect("just added");
            if on_device {
                step.op = StepOp::Shader(ShaderId(0));
                let name = if args[2] == sum { "sum" } else { "once" };
                step.result =
                    Some(StepResult { name: name.into(), dtype: DType::F32, shape: vec![n], buffer: args[2] });
            }
        }
        if on_device {
            make.step(StepOp::Download, &[(sum, bytes, false)], &[], one);
            // Apart, then the same again.
            make.step(StepOp::Download, &[(once, bytes, false)], &[], one);
            make.step(StepOp::Download, &[(sum, bytes, false)], &[], one);
        }
        make.kernel(1, n, &[sum, y]);
    }
    let text = Range { offset: 0, len: 4 };
    device.plan.device = Some(DeviceNeeds {
        name: "test".into(),
        features: vec![],
        workgroup_bytes: 0,
        invocations: 1,
        storage_buffers: 3,
        binding_bytes: 1 << 20,
    });
    device.plan.shaders = vec![Shader {
        name: "add".into(),
        source: None,
        workgroup: 1,
        writes: vec![false, false, true],
        dims: 1,
        variants: vec![ShaderVariant { features: vec![], spirv: text, msl: text, wgsl: text }],
        test: None,
    }];
    device.complete();
    cpu.finish_with(&[&device.plan], b"test")
}

/// What a test sees of the device, and does to it.
#[derive(Default)]
struct Log {
    calls: Vec<String>,
    fails: Option<&'static str>,
}

struct Vectors {
    log: Arc<Mutex<Log>>,
    constants: Vec<u8>,
    memory: HashMap<usize, Vec<u8>>,
    steps: Vec<Vec<Location>>,
    ran: Vec<(usize, Duration)>,
}

impl Vectors {
    fn new(program: &Program, log: &Arc<Mutex<Log>>) -> Box<Vectors> {
        let constants = program.constants().to_vec();
        Box::new(Vectors { log: log.clone(), constants, memory: HashMap::new(), steps: vec![], ran: vec![] })
    }

    fn bytes(&mut self, location: Location) -> &mut [u8] {
        let memory = match location.base {
            Base::Constants => &mut self.constants,
            Base::Arena => self.memory.entry(0).or_default(),
            Base::Input(index) => self.memory.entry(100 + index).or_default(),
            Base::Output(index) => self.memory.entry(200 + index).or_default(),
        };
        let range = location.offset as usize..(location.offset + location.size) as usize;
        memory.resize(memory.len().max(range.end), 0xEE);
        &mut memory[range]
    }

    fn floats(&mut self, location: Location) -> Vec<f32> {
        self.bytes(location).as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    fn call(&mut self, what: &'static str) -> Result<(), DeviceError> {
        let mut log = self.log.lock().expect("no test panics here");
        log.calls.push(what.into());
        if log.fails == Some(what) { Err(DeviceError::Lost { reason: "pulled out".into() }) } else { Ok(()) }
    }
}

impl Device for Vectors {
    fn bind(&mut self, program: &Program, layout: &Layout) -> Result<(), DeviceError> {
        let steps = program.plan().steps.iter();
        self.steps = steps.map(|step| step.args.iter().map(|arg| layout.argument(arg)).collect()).collect();
        assert!(program.plan().steps.iter().any(|step| matches!(step.op, ArchivedStepOp::Shader(_))));
        self.memory.clear();
        self.call("bind")
    }
    fn begin(&mut self) -> Result<(), DeviceError> {
        self.call("begin")
    }
    fn upload(&mut self, location: Location, bytes: &[u8]) -> Result<(), DeviceError> {
        self.bytes(location).copy_from_slice(bytes);
        self.call("upload")
    }
    fn run(&mut self, step: usize) -> Result<(), DeviceError> {
        let args = self.steps[step].clone();
        let (a, b) = (self.floats(args[0]), self.floats(args[1]));
        let sum: Vec<u8> = a.iter().zip(&b).flat_map(|(a, b)| (a + b).to_le_bytes()).collect();
        self.bytes(args[2]).copy_from_slice(&sum);
        self.ran.push((step, Duration::from_micros(7)));
        self.call("run")
    }
    fn download(&mut self, copies: &mut [(Location, &mut [u8])]) -> Result<(), DeviceError> {
        for (location, bytes) in copies {
            bytes.copy_from_slice(self.bytes(*location));
        }
        self.call("download")
    }
    fn finish(&mut self) -> Result<(), DeviceError> {
        self.call("finish")
    }
    fn timings(&mut self) -> Option<Vec<(usize, Duration)>> {
        Some(std::mem::take(&mut self.ran))
    }
    fn memory(&self) -> u64 {
        12
    }
}

fn open(exported: bool) -> Program {
    Program::from_bytes(&model(exported), &LoadOptions::default()).expect("valid artifact")
}

fn input(count: usize) -> Tensor {
    Tensor::from_slice(&[count], &(0..count).map(|index| index as f32).collect::<Vec<_>>()).expect("as many")
}

fn expected(count: usize) -> Vec<f32> {
    (0..count).map(|index| 2.0 * (index as f32 + 20.0)).collect()
}

#[test]
fn plans_share_the_program() {
    let program = open(false);
    assert_eq!((program.device_plans(), program.device_plan()), (1, None));
    let device = program.for_device_plan(0).expect("there is one");
    assert!(program.for_device_plan(1).is_none());
    assert_eq!((device.device_plan(), device.for_cpu().device_plan()), (Some(0), None));
    assert_eq!(device.shader_bytes(&device.plan().shaders[0].variants[0].spirv), b"test");
    assert_eq!(device.constants().as_ptr(), program.constants().as_ptr());
    assert_eq!(device.fingerprint(), program.fingerprint());
    assert_ne!(open(true).fingerprint(), program.fingerprint());
    assert!(matches!(Session::new(&device, Options::default()), Err(Error::NoDevice { name }) if name == "test"));
    let log = Arc::default();
    let given = Session::with_device(&program, Options::default(), Vectors::new(&program, &log));
    assert!(matches!(given, Err(Error::CpuPlan)));
}

#[test]
fn steps_run_where_they_are_placed() {
    for exported in [false, true] {
        let program = open(exported).for_device_plan(0).expect("there is one");
        let log = Arc::<Mutex<Log>>::default();
        let device = Vectors::new(&program, &log);
        let mut session = Session::with_device(&program, Options::default(), device).expect("a device's plan");
        for count in [5, 5, 64, 1] {
            let outputs = session.run(&[("x", input(count).view())]).expect("valid input");
            assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&expected(count)[..]));
            let sums: Vec<f32> = expected(count).iter().map(|y| y / 2.0).collect();
            assert!(!exported || outputs[1].1.as_slice::<f32>() == Ok(&sums[..]));
        }
        let run = "begin upload run run download download finish";
        let calls = log.lock().expect("no panic").calls.join(" ");
        assert_eq!(calls, format!("bind {run} {run} bind {run} bind {run}"));
        assert_eq!(session.memory().device, 12);
        assert_eq!(session.device_timings().map(|times| times.len()), Some(8));
        // Into the caller's memory.
        let mut y = vec![0.0_f32; 64];
        // Safety: floats are bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<u8>(), 256) };
        session.run_into(&[("x", input(64).view())], &mut [("y", bytes)]).expect("valid input");
        assert_eq!(y, expected(64));
    }
}

#[test]
fn observers_see_what_shaders_compute() {
    let program = open(false).for_device_plan(0).expect("there is one");
    let device = Vectors::new(&program, &Arc::default());
    let mut session = Session::with_device(&program, Options::default(), device).expect("a device's plan");
    let mut seen = Vec::new();
    let mut observe = |step: drupe_runtime::StepReport| {
        let first =
            step.result.map(|value| (value.name.to_owned(), value.tensor.as_slice::<f32>().expect("floats")[0]));
        seen.push((step.name.to_owned(), first, step.on_device));
    };
    session.run_observed(&[("x", input(3).view())], &mut observe).expect("valid input");
    let (value, time) = (|name: &str, value| Some((name.to_owned(), value)), Some(Duration::from_micros(7)));
    let expected = [
        ("upload", None, None),
        ("add", value("once", 10.0), time),
        ("add", value("sum", 20.0), time),
        ("download", None, None),
        ("download", None, None),
        ("download", None, None),
        ("double", value("y", 40.0), None),
    ];
    assert_eq!(seen, expected.map(|(name, value, time)| (name.to_owned(), value, time)));
}

#[test]
fn a_failing_device_is_an_error_each_time_and_may_recover() {
    for what in ["bind", "begin", "upload", "run", "download", "finish"] {
        let program = open(false).for_device_plan(0).expect("there is one");
        let log = Arc::<Mutex<Log>>::default();
        let device = Vectors::new(&program, &log);
        let mut session = Session::with_device(&program, Options::default(), device).expect("a device's plan");
        session.run(&[("x", input(3).view())]).expect("valid input");
        log.lock().expect("no panic").fails = Some(what);
        for _ in 0..2 {
            let fault = session.run(&[("x", input(4).view())]).expect_err(what);
            let text = fault.to_string();
            assert!(text.contains("pulled out") && text.contains("CPU"), "{text}");
            assert!(matches!(fault, Error::Device { .. } | Error::DeviceBind { .. }));
        }
        log.lock().expect("no panic").fails = None;
        let outputs = session.run(&[("x", input(4).view())]).expect("the device is back");
        assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&expected(4)[..]), "after {what}");
    }
}
