//! Tiles: as text, broken ones, and products of matrices by subgroups of any size.

use drupe_kernel::{InterpretError, Kernel, parse};
use half::f16;

/// `out = x y`, matrices of `2 * side` rows and columns, by a workgroup of 32: each subgroup has every so-manieth of the
/// four tiles, and all go round as often as that takes.
fn product(side: usize) -> String {
    let wide = 2 * side;
    format!(
        "kernel @product(read x: f16, read y: f16, write out: f32) dims 0 task %0 workgroup 32 {{
  shared0: f32[{all}]
  tile0: {side}
  %1: i64 = 0
  %2: i64 = 1
  %3: i64 = 4
  %4: i64 = {side}
  %5: i64 = {wide}
  %6: i64 = subgroup
  %7: i64 = subgroups
  %8: i64 = sub %7, %2
  %9: i64 = add %3, %8
  %10: i64 = floor_div %9, %7
  for %11 = %1 to %10 step 1 {{
    %12: i64 = mul %11, %7
    %13: i64 = add %12, %6
    %14: bool = lt %13, %3
    if %14 {{
      %15: i64 = 2
      %16: i64 = floor_div %13, %15
      %17: i64 = mod %13, %15
      %18: i64 = mul %16, %4
      %19: i64 = mul %18, %5
      %20: i64 = mul %17, %4
      clear tile0
      for %21 = %1 to %5 step {side} {{
        %22: i64 = add %19, %21
        %23: i64 = mul %21, %5
        %24: i64 = add %23, %20
        multiply tile0, x[%22] stride {wide}, y[%24] stride {wide}
      }}
      %25: i64 = add %19, %20
      values tile0, shared0[%25] stride {wide}
    }} else {{
    }}
  }}
  barrier
  %26: i64 = invocation
  %27: i64 = {all}
  for %28 = %26 to %27 step 32 {{
    %29: f32 = load shared0[%28]
    store out[%28], %29
  }}
}}",
        all = wide * wide
    )
}

fn kernel(text: &str) -> Kernel {
    parse(text, "test").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn what_is_printed_reads_back() {
    let text = product(16);
    assert_eq!(kernel(&text).to_string(), text);
    kernel(&text).verify().unwrap();
}

#[test]
fn products_are_those_of_plain_loops() {
    for side in [8, 16] {
        let wide = 2 * side;
        let element = |index: usize, factor: usize| ((index * factor % 29) as f32 - 14.0) / 8.0;
        let matrix = |factor: usize| (0..wide * wide).map(|index| element(index, factor)).collect::<Vec<f32>>();
        let (x, y) = (matrix(17), matrix(23));
        let expected = (0..wide * wide).map(|index| {
            let (row, column) = (index / wide, index % wide);
            (0..wide).map(|k| x[row * wide + k] * y[k * wide + column]).sum::<f32>()
        });
        let expected: Vec<u8> = expected.flat_map(f32::to_le_bytes).collect();
        let octets = |matrix: &[f32]| matrix.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        // One subgroup, two, four and eight of them; and such as are no whole ones.
        for subgroup in [32, 16, 8, 4, 12] {
            let mut buffers = vec![octets(&x), octets(&y), vec![0; expected.len()]];
            let run = kernel(&product(side)).interpret_in_subgroups(subgroup, &mut buffers, &[0; 3], &[], 0..1);
            run.unwrap();
            assert!(buffers[2] == expected, "{side} rows, subgroups of {subgroup}");
        }
    }
}

#[test]
fn all_of_a_subgroup_come_together() {
    let run = |lines: &str| {
        let text = format!(
            "kernel @k(read x: f32) dims 0 task %0 workgroup 32 {{
               tile0: 8
               %1: i64 = invocation
               {lines}
             }}"
        );
        kernel(&text).interpret(&mut [vec![0; 4096]], &[], 0..1)
    };
    let some = "%2: i64 = 3\n %3: bool = lt %1, %2\n if %3 {\n clear tile0\n } else {\n }";
    assert_eq!(run(some), Err(InterpretError::Divergent { what: "clear", reached: 3, all: 16 }));
    let one = "%2: i64 = 16\n %3: bool = lt %1, %2\n if %3 {\n clear tile0\n } else {\n }";
    assert_eq!(run(one), Ok(()));
    let apart = "clear tile0\n multiply tile0, x[%1] stride 8, x[%0] stride 8";
    assert_eq!(run(apart), Err(InterpretError::Apart { what: "multiply" }));
    let beyond = "%2: i64 = 1000\n clear tile0\n multiply tile0, x[%2] stride 8, x[%0] stride 8";
    assert!(matches!(run(beyond), Err(InterpretError::OutOfBounds { .. })));
}

#[test]
fn broken_tiles_are_refused() {
    let error = |changes: &[(&str, &str)]| {
        let mut text = product(8);
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        match parse(&text, "test") {
            Ok(kernel) => kernel.verify().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        }
    };
    let errors = [
        error(&[("tile0: 8", "tile0: 12")]),
        error(&[("clear tile0", "clear tile1")]),
        error(&[("x[%22] stride 16", "x[%22] stride 7")]),
        error(&[("read y: f16", "read y: f32")]),
        error(&[("read x: f16", "read x: f32"), ("read y: f16", "read y: f32")]),
        error(&[("read x: f16", "write x: f16")]),
        error(&[("values tile0, shared0[%25]", "values tile0, x[%25]")]),
        error(&[("shared0: f32", "shared0: f16"), ("%29: f32", "%29: f16"), ("write out: f32", "write out: f16")]),
        error(&[("shared0", "local0")]),
        error(&[("x[%22] stride 16", "x[%14] stride 16")]),
    ];
    let alone = "kernel @k() dims 0 task %0 {\n  tile0: 8\n  clear tile0\n}";
    let cpu = [product(8), alone.into()].map(|text| kernel(&text).verify_for_cpu().unwrap_err().to_string());
    insta::assert_snapshot!([&errors[..], &cpu].concat().join("\n"));
}
