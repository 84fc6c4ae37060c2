//! Kernels that are printed and read back are the same.

use drupe_kernel::parse;
use drupe_kernel_cases::random;

#[test]
fn printed_kernels_read_back_as_the_same_text_and_do_the_same() {
    for seed in 0..200 {
        let case = random(seed);
        let text = case.kernel.to_string();
        let kernel = parse(&text, "printed").unwrap_or_else(|error| panic!("{error}\n{text}"));
        kernel.verify().unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(kernel.to_string(), text);
        let mut buffers = case.buffers.clone();
        kernel.interpret(&mut buffers, &case.dims, 0..case.tasks).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(case.difference(&buffers).is_none(), "{text}");
    }
}

#[test]
fn edited_texts_never_panic() {
    let text = random(3).kernel.to_string();
    let mut state = 1usize;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for _ in 0..2000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(3) {
                0 => bytes[at] = b"%{}[]()=,:->x0 \n"[below(16)],
                1 => drop(bytes.remove(at)),
                _ => {
                    let from = below(bytes.len());
                    let piece = bytes[from..(from + below(20)).min(bytes.len())].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        if let Ok(kernel) = parse(&String::from_utf8_lossy(&bytes), "edited") {
            let _ = kernel.verify();
            assert!(!kernel.to_string().is_empty());
        }
    }
    let deep = "kernel @k() dims 1 task %t {\n%c: bool = true\n".to_owned() + &"if %c {".repeat(100_000);
    assert!(parse(&deep, "deep").is_err());
}
