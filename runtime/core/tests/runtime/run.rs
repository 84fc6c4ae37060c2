//! Programs compute what their kernels say, for every way to give inputs and take outputs.

use drupe_runtime::{DType, Error, LoadOptions, Options, Program, Session, Tensor, TensorView, Verify};

fn open(bytes: &[u8]) -> Program {
    Program::from_bytes(bytes, &LoadOptions { verify: Verify::Full, level: None }).expect("valid artifact")
}

fn session(bytes: &[u8], threads: usize) -> Session {
    Session::new(&open(bytes), Options { threads, memory_limit: None }).expect("enough memory")
}

fn floats(count: usize) -> (Vec<f32>, Tensor) {
    let values: Vec<f32> = (0..count).map(|index| index as f32).collect();
    let tensor = Tensor::from_slice(&[count], &values).expect("as many");
    (values, tensor)
}

#[test]
fn a_file_is_mapped_and_run() {
    let path = std::env::temp_dir().join(format!("drupe-run-{}.drupe", std::process::id()));
    std::fs::write(&path, crate::support::fixed_model()).expect("temporary folder");
    let program = Program::open(&path).expect("valid artifact");
    std::fs::remove_file(&path).expect("just written");
    assert_eq!(program.level(), Some("base"));
    let mut session = Session::new(&program, Options::default()).expect("enough memory");
    let x = Tensor::from_slice(&[4], &[1.0_f32, 2.0, 3.0, 4.0]).expect("four");
    let outputs = session.run(&[("x", x.view())]).expect("valid input");
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].0, "y");
    assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&[22.0, 44.0, 66.0, 88.0][..]));
}

#[test]
fn symbols_rebind_for_every_thread_count() {
    let bytes = crate::support::symbolic_model();
    for threads in [1, 2, 3, 16] {
        let mut session = session(&bytes, threads);
        for count in [1, 5, 70_000, 5, 1024] {
            let (values, a) = floats(count);
            for _ in 0..3 {
                let outputs = session.run(&[("b", a.view()), ("a", a.view())]).expect("valid inputs");
                let y = outputs[0].1.as_slice::<f32>().expect("floats");
                assert!(y.iter().zip(&values).all(|(y, x)| *y == 8.0 * x));
                assert_eq!(outputs[1].1.as_slice::<f32>(), Ok(&values[..]));
            }
            let memory = session.memory();
            assert_eq!(memory.arena_lower_bound, 2 * (count as u64 * 4).next_multiple_of(64));
            assert_eq!(memory.arena, memory.arena_lower_bound);
        }
    }
}

#[test]
fn outputs_go_to_the_callers_memory() {
    let mut session = session(&crate::support::symbolic_model(), 2);
    let (values, a) = floats(300);
    let inputs = [("a", a.view()), ("b", a.view())];
    let mut y = Tensor::zeros(DType::F32, &[300]).expect("small");
    let mut same = Tensor::zeros(DType::F32, &[400]).expect("small");
    let shapes =
        session.run_into(&inputs, &mut [("same", same.bytes_mut()), ("y", y.bytes_mut())]).expect("large enough");
    assert_eq!(shapes, [[300], [300]]);
    let eight: Vec<f32> = values.iter().map(|x| 8.0 * x).collect();
    assert_eq!(y.as_slice::<f32>(), Ok(&eight[..]));
    assert_eq!(same.as_slice::<f32>().map(|same| &same[..300]), Ok(&values[..]));

    let mut misaligned = vec![0; 1201];
    session.run_into(&inputs, &mut [("y", &mut misaligned[1..])]).expect("copied");
    assert_eq!(misaligned[1..], *y.bytes());

    let fault = session.run_into(&inputs, &mut [("y", &mut [0; 1199])]).expect_err("too small");
    assert!(matches!(fault, Error::OutputSize { need: 1200, found: 1199, .. }), "{fault}");
    let views = session.run_views(&inputs).expect("valid inputs");
    assert_eq!(views[0].tensor.as_slice::<f32>(), Ok(&eight[..]));
}

#[test]
fn builtins_and_data_dependent_sizes() {
    let mut session = session(&crate::support::builtin_model(), 1);
    for (x, top, places, found) in [
        (&[0.0, 7.0, 0.0, 9.0, 7.0][..], [9.0, 7.0], [3, 1], &[1, 3, 4][..]),
        (&[0.0; 5], [0.0, 0.0], [0, 1], &[]),
        (&[1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0], [4, 3], &[0, 1, 2, 3, 4]),
        (&[3.0, 0.0], [3.0, 0.0], [0, 1], &[0]),
    ] {
        let x: &[f32] = x;
        let input = Tensor::from_slice(&[x.len()], x).expect("as many");
        let outputs = session.run(&[("x", input.view())]).expect("valid input");
        assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&top[..]));
        assert_eq!(outputs[1].1.as_slice::<i64>(), Ok(&places[..]));
        assert_eq!(outputs[2].1.shape(), [1, found.len()]);
        assert_eq!(outputs[2].1.as_slice::<i64>(), Ok(found));
    }
}

#[test]
fn kernels_follow_data_dependent_sizes() {
    let mut session = session(&crate::support::data_dependent_model(), 2);
    for nonzero in [3, 8, 0, 5] {
        let x: Vec<f32> = (0..8).map(|index| if index < nonzero { 1.0 + index as f32 } else { 0.0 }).collect();
        let input = Tensor::from_slice(&[8], &x).expect("eight");
        let outputs = session.run(&[("x", input.view())]).expect("valid input");
        let twice: Vec<f32> = x[..nonzero].iter().map(|x| 2.0 * x).collect();
        assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&twice[..]));
        assert_eq!(outputs[1].1.shape(), [1, nonzero]);
    }
}

#[test]
fn views_share_their_buffer() {
    let mut session = session(&crate::support::view_model(), 1);
    let x = Tensor::from_slice(&[2], &[1.0_f32, 10.0]).expect("two");
    let outputs = session.run(&[("x", x.view())]).expect("valid input");
    assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&[2.0, 20.0, 4.0, 40.0][..]));
    assert_eq!(outputs[1].1.as_slice::<f32>(), Ok(&[40.0][..]));
}

#[test]
fn observers_see_every_step() {
    let mut session = session(&crate::support::fixed_model(), 2);
    let (_, x) = floats(4);
    let mut seen = Vec::new();
    session
        .run_observed(&[("x", x.view())], &mut |report| {
            let value = report.result.expect("every step has one");
            let values = value.tensor.as_slice::<f32>().expect("floats").to_vec();
            seen.push((report.index, report.name.to_owned(), report.origin.to_owned(), value.name.to_owned(), values));
        })
        .expect("valid input");
    let expected = [
        (0, "add".into(), "test node 0".into(), "sum".into(), vec![10.0, 21.0, 32.0, 43.0]),
        (1, "double".into(), "test node 1".into(), "y".into(), vec![20.0, 42.0, 64.0, 86.0]),
    ];
    assert_eq!(seen, expected);
}

/// Whoever finds the threads at work, in the same thread or another, runs all the same.
#[test]
fn sessions_share_threads() {
    let program = session(&crate::support::fixed_model(), 1).program().clone();
    let options = Options { threads: 3, ..Options::default() };
    let mut sessions = Session::new_all(&[&program, &program], options).expect("enough memory");
    let [outer, inner] = sessions.as_mut_slice() else { panic!("two sessions") };
    assert_eq!((outer.threads(), inner.threads()), (3, 3));
    let (_, x) = floats(4);
    let check = |session: &mut Session| {
        let outputs = session.run(&[("x", x.view())]).expect("valid input");
        assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&[20.0, 42.0, 64.0, 86.0][..]));
    };
    outer.run_observed(&[("x", x.view())], &mut |_| check(inner)).expect("valid input");
    std::thread::scope(|scope| {
        for session in [outer, inner] {
            scope.spawn(|| (0..100).for_each(|_| check(session)));
        }
    });
}

#[test]
fn wrong_inputs_are_named() {
    let mut session = session(&crate::support::symbolic_model(), 1);
    let (_, a) = floats(3);
    let (_, longer) = floats(4);
    let integers = Tensor::from_slice(&[3], &[1_i64, 2, 3]).expect("three");
    let square = Tensor::zeros(DType::F32, &[3, 3]).expect("small");
    let empty = Tensor::zeros(DType::F32, &[0]).expect("small");
    let mut message = |inputs: &[(&str, TensorView)]| session.run(inputs).expect_err("wrong input").to_string();
    assert_eq!(message(&[("a", a.view())]), "input \"b\" (f32[n]) is missing; give it");
    assert_eq!(
        message(&[("a", a.view()), ("c", a.view())]),
        "the model has no input \"c\"; its inputs are [\"a\", \"b\"]"
    );
    assert_eq!(message(&[("a", a.view()), ("a", a.view())]), "\"a\" is given twice; give it once");
    assert_eq!(message(&[("a", integers.view()), ("b", a.view())]), "input \"a\" must be f32, got i64; convert it");
    assert_eq!(
        message(&[("a", a.view()), ("b", square.view())]),
        "input \"b\" must have shape [n], got [3, 3]; give 1 dimensions"
    );
    assert_eq!(
        message(&[("a", a.view()), ("b", longer.view())]),
        "input \"b\" must have shape [n], got [4]: dimension 0 must be 3"
    );
    assert_eq!(
        message(&[("a", empty.view()), ("b", empty.view())]),
        "n is 0, must be in 1..=100000; change the input's shape or compile with a wider range"
    );
}

#[test]
fn levels_are_chosen_and_forced() {
    let bytes = crate::support::fixed_model();
    let open = |level: &str| {
        let options = LoadOptions { verify: Verify::Structure, level: Some(level.into()) };
        Program::from_bytes(&bytes, &options).map(|program| program.level().map(str::to_owned))
    };
    assert_eq!(open("base").expect("there"), Some("base".into()));
    assert!(matches!(open("future"), Err(Error::MissingFeature { feature, .. }) if feature == "flux-capacitor"));
    assert!(matches!(open("past"), Err(Error::NoSuchLevel { .. })));
}

#[test]
fn absurd_numbers_of_threads_are_errors() {
    let options = Options { threads: 100_000, ..Options::default() };
    let fault = Session::new(&open(&crate::support::symbolic_model()), options).err().expect("too many");
    assert!(matches!(fault, Error::TooManyThreads { threads: 100_000, most: 1024 }), "{fault}");
}

#[test]
fn memory_limits_hold() {
    let options = Options { threads: 1, memory_limit: Some(10_000) };
    let mut session = Session::new(&open(&crate::support::symbolic_model()), options).expect("no memory yet");
    session.bind(&[("a", &[100]), ("b", &[100])]).expect("fits");
    let fault = session.bind(&[("a", &[1000]), ("b", &[1000])]).expect_err("does not fit");
    assert!(matches!(fault, Error::MemoryLimit { limit: 10_000, .. }), "{fault}");
    session.bind(&[("a", &[100]), ("b", &[100])]).expect("fits again");
    assert_eq!(session.output_shapes(), Some(&[vec![100], vec![100]][..]));
}
