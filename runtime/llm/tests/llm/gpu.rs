//! The toy on a GPU, or rather on the software Vulkan that `./x setup gpu` installs: its logits are the CPU's, and the
//! caches of keys and values stay in the GPU's memory.

use drupe_ir::DType;
use drupe_runtime::{Crossed, LoadOptions, Options, Program, State, Tensor};
use drupe_runtime_gpu::{Choice, Gpu, GpuOptions, open_sessions};
use drupe_runtime_llm::{Cancel, Context, Engine, Error, LanguageModel};

use crate::toy::{CHUNK, CONTEXT, TOY, WINDOW, gpu_artifact, noise, windowed};

const THREADS: Options = Options { threads: 1, memory_limit: None };

/// Software Vulkan; none when the environment says that there is no GPU to test with.
fn gpu() -> Option<Gpu> {
    if std::env::var_os("DRUPE_NO_GPU").is_some() {
        eprintln!("skipped: DRUPE_NO_GPU is set");
        return None;
    }
    let options = GpuOptions { adapter: Some("llvmpipe".into()), ..GpuOptions::default() };
    Some(Gpu::open(&options).unwrap_or_else(|error| {
        panic!("{error}: `./x setup gpu` installs lavapipe; set DRUPE_NO_GPU to skip these tests")
    }))
}

fn model(text: &str, cache: Option<DType>, floats: DType) -> LanguageModel {
    let artifact = gpu_artifact(text, cache, floats);
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).expect("a valid artifact");
    LanguageModel::new(&program).expect("a language model")
}

/// Engines on the GPU and on the CPU.
fn engines(gpu: &Gpu, model: &LanguageModel) -> (Engine, Engine) {
    let (sessions, choice) = gpu.open_sessions(&model.programs(), THREADS).expect("the CPU at least");
    assert!(matches!(choice, Choice::Gpu { .. }), "{choice:?}");
    let on_gpu = Engine::with_sessions(model, sessions).expect("its programs");
    (on_gpu, Engine::new(model, THREADS).expect("memory"))
}

fn read(engine: &mut Engine, context: &mut Context, tokens: &[u32]) -> Vec<f32> {
    engine.read(context, tokens, &Cancel::default()).expect("it fits").to_vec()
}

fn greatest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}

/// That logits are `within` this of each other.
fn assert_close(found: &[f32], expected: &[f32], within: f32) {
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && apart <= within, "{apart}");
}

/// What a step copies.
fn crossed(engine: &mut Engine, context: &mut Context, token: u32) -> (Crossed, Vec<f32>) {
    let before = engine.crossed();
    let logits = engine.step(context, token).expect("it fits").to_vec();
    let after = engine.crossed();
    let (to_device, from_device) = (after.to_device - before.to_device, after.from_device - before.from_device);
    (Crossed { to_device, from_device }, logits)
}

#[test]
fn what_crosses_for_a_token_is_the_token_and_its_logits_however_many_there_were() {
    let Some(gpu) = gpu() else { return };
    let (mut on_gpu, mut on_cpu) = engines(&gpu, &model(TOY, None, DType::F32));
    let (mut context, mut reference) = (on_gpu.context().expect("memory"), on_cpu.context().expect("memory"));
    let prompt = noise(2 * CHUNK + 1);
    let found = read(&mut on_gpu, &mut context, &prompt);
    let expected = read(&mut on_cpu, &mut reference, &prompt);
    assert_close(&found, &expected, 2e-4);
    let mut token = greatest(&expected);
    let mut all = Vec::new();
    while reference.tokens().len() < CONTEXT {
        let (bytes, found) = crossed(&mut on_gpu, &mut context, token);
        let expected = on_cpu.step(&mut reference, token).expect("it fits").to_vec();
        assert_close(&found, &expected, 2e-4);
        assert_eq!(greatest(&found), greatest(&expected));
        token = greatest(&expected);
        all.push(bytes);
    }
    assert!(all.len() > 60 && all.iter().all(|bytes| *bytes == all[0]), "{all:?}");
    assert_eq!(all[0].from_device, 260 * 4);
    // The token, and the numbers of each step that depend on the position: nothing that the state has.
    let plan = on_gpu.model().programs()[0].for_device_plan(0).expect("for the GPU");
    let numbers = plan.plan().steps.iter().filter(|step| !step.dims.is_empty()).count() as u64;
    assert!(all[0].to_device > 4 && all[0].to_device <= 4 + 256 * numbers, "{all:?}");
    assert_eq!(on_cpu.crossed(), Crossed::default());
}

#[test]
fn contexts_on_the_gpu_are_cut_forked_saved_and_loaded() {
    let Some(gpu) = gpu() else { return };
    let (mut on_gpu, mut on_cpu) = engines(&gpu, &model(TOY, None, DType::F32));
    let (mut context, mut reference) = (on_gpu.context().expect("memory"), on_cpu.context().expect("memory"));
    let first = noise(40);
    let mut second = first[..30].to_vec();
    second.extend([9, 8, 7, 6]);
    for prompt in [&first, &second, &first] {
        let found = read(&mut on_gpu, &mut context, prompt);
        assert_close(&found, &read(&mut on_cpu, &mut reference, prompt), 2e-4);
    }
    let mut fork = context.fork().expect("memory");
    let mut saved = Vec::new();
    context.save(&mut saved).expect("memory");
    let next = on_gpu.step(&mut context, 5).expect("it fits").to_vec();
    // The fork does not know of it.
    let other = on_gpu.step(&mut fork, 6).expect("it fits").to_vec();
    assert_eq!(on_gpu.step(&mut context, 7).expect("it fits").len(), other.len());
    fork.truncate(40).expect("fewer");
    assert_eq!(on_gpu.step(&mut fork, 5).expect("it fits"), next);
    // What is saved on one is loaded on the other.
    let mut loaded = on_gpu.context().expect("memory");
    loaded.load(&mut saved.as_slice()).expect("what was saved");
    assert_eq!(on_gpu.step(&mut loaded, 5).expect("it fits"), next);
    let mut loaded = on_cpu.context().expect("memory");
    loaded.load(&mut saved.as_slice()).expect("what was saved");
    assert_close(on_cpu.step(&mut loaded, 5).expect("it fits"), &next, 2e-4);
    let elsewhere = on_gpu.step(&mut loaded, 5).expect_err("it is the CPU's");
    assert!(matches!(elsewhere, Error::Runtime(drupe_runtime::Error::StateElsewhere { on_device: false, .. })));
}

#[test]
fn every_cache_and_window_is_the_cpu_s() {
    let Some(gpu) = gpu() else { return };
    let tokens = noise(CONTEXT);
    for text in [TOY.to_owned(), windowed(false)] {
        for cache in [None, Some(DType::F16), Some(DType::I8), Some(DType::I4)] {
            let (mut on_gpu, mut on_cpu) = engines(&gpu, &model(&text, cache, DType::F32));
            let (mut context, mut reference) = (on_gpu.context().expect("memory"), on_cpu.context().expect("memory"));
            for end in [3, 5, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 5, 3 * CHUNK + 6, CONTEXT - 1, CONTEXT] {
                let found = read(&mut on_gpu, &mut context, &tokens[..end]);
                // Where a number is nearly between two others it may be rounded up on one and down on the other.
                let within = if cache.is_some() { 2e-2 } else { 2e-4 };
                assert_close(&found, &read(&mut on_cpu, &mut reference, &tokens[..end]), within);
            }
            context.truncate(CONTEXT - WINDOW / 4).expect("that much stays");
            reference.truncate(CONTEXT - WINDOW / 4).expect("that much stays");
            let found = on_gpu.step(&mut context, 5).expect("it fits").to_vec();
            assert_close(&found, on_cpu.step(&mut reference, 5).expect("it fits"), 2e-2);
        }
    }
}

#[test]
fn a_cache_grows_in_place_where_floats_are_stored_in_16_bits() {
    let Some(gpu) = gpu() else { return };
    let (mut on_gpu, mut on_cpu) = engines(&gpu, &model(TOY, None, DType::F16));
    let (mut context, mut reference) = (on_gpu.context().expect("memory"), on_cpu.context().expect("memory"));
    let tokens = noise(50);
    let found = read(&mut on_gpu, &mut context, &tokens);
    let expected = read(&mut on_cpu, &mut reference, &tokens);
    let range = expected.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
    assert_close(&found, &expected, 0.02 * range);
}

#[test]
fn all_entries_share_the_weights_on_the_gpu() {
    let Some(gpu) = gpu() else { return };
    let model = model(TOY, None, DType::F32);
    let programs = model.programs();
    let (first, _) = gpu.open_sessions(&programs[..1], THREADS).expect("the CPU at least");
    let one = gpu.constant_bytes();
    let (all, _) = gpu.open_sessions(&programs, THREADS).expect("the CPU at least");
    assert_eq!(all.len(), 4);
    // Beside what `decode` has there may be a few numbers.
    let more = gpu.constant_bytes() - one;
    assert!(one > 260 * 16 * 4 && more < one / 8, "{one} and {more}");
    drop((first, all));
    assert_eq!(gpu.constant_bytes(), 0);
}

#[test]
fn states_are_plain_inputs_and_outputs_where_nobody_keeps_them() {
    let Some(gpu) = gpu() else { return };
    let model = model(TOY, None, DType::F32);
    let (mut sessions, _) = gpu.open_sessions(&model.programs()[..1], THREADS).expect("the CPU at least");
    let decode = model.programs()[0].for_cpu();
    let mut cpu = drupe_runtime::Session::new(&decode, THREADS).expect("memory");
    let rows: Vec<f32> = (0..5 * 16).map(|at| (at as f32 * 0.7).sin()).collect();
    let (rows, token) = (Tensor::from_slice(&[5, 2, 8], &rows), Tensor::from_slice(&[1], &[7_i32]));
    let (rows, token) = (rows.expect("as many"), token.expect("as many"));
    let inputs = [("tokens", token.view()), ("key", rows.view()), ("value", rows.view())];
    let found = sessions[0].run(&inputs).expect("it runs");
    let expected = cpu.run(&inputs).expect("it runs");
    for ((name, found), (same, expected)) in found.iter().zip(&expected) {
        assert_eq!((name, found.shape()), (same, expected.shape()));
        assert_close(found.as_slice().expect("floats"), expected.as_slice().expect("floats"), 2e-4);
    }
    // Then with a state, and without once more.
    let mut state = sessions[0].state(&[&decode]).expect("memory");
    sessions[0].run_with_state(&mut state, &inputs[..1]).expect("it runs");
    let again = sessions[0].run(&inputs).expect("it runs");
    assert_eq!(again[0].1.as_slice::<f32>().expect("floats"), found[0].1.as_slice::<f32>().expect("floats"));
    let mut host = State::new(&[&decode]).expect("memory");
    let refused = sessions[0].run_with_state(&mut host, &inputs[..1]).expect_err("it is the host's");
    assert!(refused.to_string().contains("the states are in the host's memory"), "{refused}");
}

#[test]
fn without_a_gpu_all_entries_are_the_cpu_s_and_it_says_why() {
    let model = model(TOY, None, DType::F32);
    let nobody = GpuOptions { adapter: Some("no such device".into()), ..GpuOptions::default() };
    let (sessions, choice) = open_sessions(&model.programs(), &nobody, THREADS).expect("the CPU");
    let Choice::Cpu { why } = choice else { panic!("there is no such device") };
    assert_eq!(why[0].to_string(), "no GPU found whose name contains \"no such device\"");
    let mut engine = Engine::with_sessions(&model, sessions).expect("its programs");
    let mut context = engine.context().expect("memory");
    assert_eq!(engine.step(&mut context, 5).expect("it fits").len(), 260);
    assert!(matches!(Engine::with_sessions(&model, Vec::new()), Err(Error::OtherSessions)));
}

#[test]
fn a_context_that_the_gpu_does_not_bind_at_once_is_the_cpu_s() {
    let Some(gpu) = gpu() else { return };
    let most = gpu.info().limits.binding_bytes as usize / 64;
    let text = TOY.replace("past in 0..=96", &format!("past in 0..={most}"));
    let (sessions, choice) = gpu.open_sessions(&model(&text, None, DType::F32).programs(), THREADS).expect("the CPU");
    let Choice::Cpu { why } = choice else { panic!("{choice:?}") };
    assert!(why[0].to_string().contains("bytes of an argument, the device takes"), "{}", why[0]);
    assert!(sessions.iter().all(|session| session.program().device_plan().is_none()));
}
