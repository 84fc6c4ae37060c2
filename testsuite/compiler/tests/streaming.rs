//! A model whose weights do not fit: they are read anew in each run, and nothing else changes.
#![cfg(unix)]

use drupe::compile;
use drupe_compiler_tests::ways;
use drupe_ir::parse;
use drupe_runtime::{Error, LoadOptions, Options, Program, Session, Tensor};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Bytes of each layer's weights.
const LAYER: u64 = 512 * 512 * 4;

/// Twelve layers, the fourth of which comes again at the end, and a table that rows are taken of.
fn artifact() -> Vec<u8> {
    let mut text = String::from("const @table = random : f32[512, 512]\n");
    (0..12).for_each(|layer| writeln!(text, "const @w{layer} = random : f32[512, 512]").expect("a string"));
    text += "func @deep(%tokens: i32[3]) {\n  %table = const @table : f32[512, 512]\n";
    (0..12).for_each(|layer| writeln!(text, "  %w{layer} = const @w{layer} : f32[512, 512]").expect("a string"));
    text += "  %x0 = gather(%table, %tokens) axis=0\n";
    for (layer, weights) in (0..12).chain([3]).enumerate() {
        let next = layer + 1;
        writeln!(text, "  %y{layer} = matmul(%x{layer}, %w{weights})\n  %x{next} = tanh(%y{layer})").expect("a string");
    }
    text += "  return \"y\" %x13\n}";
    let module = parse(&text, "deep").expect("a module");
    compile(&module, &ways().remove(0)).expect("compiles")
}

fn file(name: &str, artifact: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("drupe-streaming-{name}-{}.drupe", std::process::id()));
    std::fs::write(&path, artifact).expect("temporary folder");
    path
}

fn run(session: &mut Session, tokens: [i32; 3]) -> Vec<f32> {
    let tokens = Tensor::from_slice(&[3], &tokens).expect("three");
    let outputs = session.run(&[("tokens", tokens.view())]).expect("runs");
    outputs[0].1.as_slice::<f32>().expect("floats").to_vec()
}

/// Bytes of the mapped file that are in this process's memory.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn resident(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
    let (name, mut inside, mut bytes) = (path.to_str().expect("a plain name"), false, 0);
    for line in maps.lines() {
        match line.split_once(' ') {
            Some((range, _)) if range.contains('-') => inside = line.ends_with(name),
            Some(("Rss:", rest)) if inside => {
                bytes += rest.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024;
            }
            _ => {}
        }
    }
    bytes
}

#[test]
fn few_weights_are_in_memory_and_results_are_the_same() {
    let bytes = artifact();
    let path = file("same", &bytes);
    let whole = Program::from_bytes(&bytes, &LoadOptions::default()).expect("valid");
    let program = Program::open(&path).expect("valid");
    program.limit_weights(5 * LAYER).expect("a layer fits");
    let mut expected = Session::new(&whole, Options::default()).expect("enough memory");
    for threads in [1, 3] {
        let mut session = Session::new(&program, Options { threads, memory_limit: None }).expect("enough memory");
        for first in 0..4 {
            let tokens = [first, 511 - first, 7];
            assert_eq!(run(&mut session, tokens), run(&mut expected, tokens));
            #[cfg(any(target_os = "linux", target_os = "android"))]
            {
                // Code and plan are beside the weights.
                let (held, beside) = (resident(&path), bytes.len() as u64 - 13 * LAYER);
                assert!(held <= 5 * LAYER + beside + 64 * 4096, "{held} bytes are in memory");
                assert!(held >= LAYER, "smaps does not show the file");
            }
        }
    }
    std::fs::remove_file(&path).expect("just written");
}

#[test]
fn sessions_take_turns() {
    let path = file("turns", &artifact());
    let program = Program::open(&path).expect("valid");
    program.limit_weights(3 * LAYER).expect("a layer fits");
    let run_often = |first: i32| {
        let mut session = Session::new(&program, Options { threads: 2, memory_limit: None }).expect("enough memory");
        let expected = run(&mut session, [first, 1, 2]);
        (0..5).for_each(|_| assert_eq!(run(&mut session, [first, 1, 2]), expected));
    };
    std::thread::scope(|scope| (0..3).for_each(|first| drop(scope.spawn(move || run_often(first)))));
    std::fs::remove_file(&path).expect("just written");
}

#[test]
fn limits_that_cannot_be_kept_are_errors() {
    let bytes = artifact();
    let path = file("errors", &bytes);
    let program = Program::open(&path).expect("valid");
    let error = program.limit_weights(LAYER - 1).expect_err("less than a layer");
    assert!(matches!(error, Error::WeightsLimit { need: LAYER, limit } if limit == LAYER - 1), "{error}");
    let in_memory = Program::from_bytes(&bytes, &LoadOptions::default()).expect("valid");
    assert!(matches!(in_memory.limit_weights(5 * LAYER), Err(Error::NotMapped)));
    // Nothing has changed.
    let mut session = Session::new(&program, Options::default()).expect("enough memory");
    assert_eq!(run(&mut session, [1, 2, 3]).len(), 3 * 512);
    std::fs::remove_file(&path).expect("just written");
}
