//! Invocations that work together: shared arrays, barriers, combinations.

use crate::support::{case, check};
use drupe_gpu::Options;
use drupe_kernel_cases::Case;

const SIZES: [usize; 7] = [1, 2, 8, 32, 64, 100, 256];

const BOTH: [Options; 2] = {
    let plain = Options { subgroups: false, read_only: false, unpack_halves: false, int8_dot: false };
    [plain, Options { subgroups: true, int8_dot: true, ..plain }]
};

/// Small whole numbers, so that sums in any order are exact; `f32`, or `i32`.
fn numbers(count: usize, float: bool) -> Vec<u8> {
    let number = |index: usize| (index * 37 % 19) as i32 - 9;
    let octets = |index| if float { (number(index) as f32).to_le_bytes() } else { number(index).to_le_bytes() };
    (0..count).flat_map(octets).collect()
}

/// What all invocations have, and then what they have of that and their own, so that scratch memory is used again.
fn combination(op: &str, dtype: &str, lanes: usize, size: usize) -> Case {
    let ty = if lanes == 1 { dtype.to_owned() } else { format!("{dtype}x{lanes}") };
    let text = format!(
        "kernel @across_{op}_{dtype}_{lanes}_{size}(read x: {dtype}, write y: {dtype}) dims 0 task %0 workgroup {size} {{
          %1: i64 = invocation
          %2: i64 = {size}
          %3: i64 = {lanes}
          %4: i64 = mul %0, %2
          %5: i64 = add %4, %1
          %6: i64 = mul %5, %3
          %7: {ty} = load x[%6]
          %8: {ty} = across_{op} %7
          %9: {ty} = min %7, %8
          %10: i64 = 0
          %11: i64 = 3
          for %12 = %10 to %11 step 1 carrying (%13: {ty}) = (%9) {{
            %14: {ty} = across_max %13
            %15: {ty} = sub %14, %13
            yield %15
          }} -> %16: {ty}
          %17: {ty} = add %16, %8
          store y[%6], %17
        }}"
    );
    let tasks = 3;
    let count = tasks * size * lanes;
    case(&text, vec![numbers(count, dtype == "f32"), vec![0; 4 * count]], &[], tasks)
}

/// The kernels of all combinations here, and those with shared arrays.
pub fn every_kernel() -> Vec<drupe_kernel::Kernel> {
    let cases = combination_cases().into_iter().chain(typed_cases()).chain(shared_cases());
    cases.map(|case| case.kernel).collect()
}

fn combination_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES.into_iter().filter(|size| size.is_power_of_two()) {
        for dtype in ["f32", "i32"] {
            for op in ["sum", "max", "min"] {
                cases.push(combination(op, dtype, 1, size));
            }
            cases.push(combination("sum", dtype, 8, size));
            cases.push(combination("max", dtype, 2, size));
        }
        cases.push(combination("prod", "i32", 4, size));
    }
    cases
}

#[test]
fn combinations() {
    BOTH.iter().for_each(|options| check(&combination_cases(), options));
}

/// Every type, and NaN among the numbers.
fn typed_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in ["f16", "bf16", "i8", "u8", "i16", "u16", "u32", "i64", "u64", "f64", "bool"] {
        for op in ["sum", "prod", "max", "min"] {
            let text = format!(
                "kernel @across_{op}_{dtype}(read x: i32, write y: {dtype}) dims 0 task %0 workgroup 64 {{
                  %1: i64 = invocation
                  %2: i64 = 64
                  %3: i64 = mul %0, %2
                  %4: i64 = add %3, %1
                  %5: i32 = load x[%4]
                  %6: {dtype} = cast %5
                  %7: {dtype} = across_{op} %6
                  store y[%4], %7
                }}"
            );
            // A product of many numbers is exact where it wraps or is 0.
            cases.push(case(&text, vec![numbers(192, false), vec![0; 8 * 192]], &[], 3));
        }
    }
    for op in ["max", "min", "sum"] {
        let mut input = numbers(256, true);
        input[4 * 77..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        input[4 * 130..][..4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        let text = format!(
            "kernel @nan_{op}(read x: f32, write y: f32) dims 0 task %0 workgroup 64 {{
              %1: i64 = invocation
              %2: i64 = 64
              %3: i64 = mul %0, %2
              %4: i64 = add %3, %1
              %5: f32 = load x[%4]
              %6: f32 = across_{op} %5
              store y[%4], %6
            }}"
        );
        cases.push(case(&text, vec![input, vec![0; 1024]], &[], 4));
    }
    cases
}

#[test]
fn combinations_of_any_type() {
    BOTH.iter().for_each(|options| check(&typed_cases(), options));
}

/// A row reversed through a shared array, a vector of four at a time and element by element.
fn shared_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in SIZES {
        let last = size - 1;
        for (dtype, octets) in [("f32", 4), ("i32", 4), ("f16", 2), ("u8", 1), ("bf16", 2), ("i64", 8), ("bool", 1)] {
            let text = format!(
                "kernel @reverse_{dtype}_{size}(read x: {dtype}, write y: {dtype}) dims 0 task %0 workgroup {size} {{
                  shared0: {dtype}[{size}]
                  %1: i64 = invocation
                  %2: i64 = {size}
                  %3: i64 = mul %0, %2
                  %4: i64 = add %3, %1
                  %5: {dtype} = load x[%4]
                  store shared0[%1], %5
                  barrier
                  %6: i64 = {last}
                  %7: i64 = sub %6, %1
                  %8: {dtype} = load shared0[%7]
                  store y[%4], %8
                }}"
            );
            let input = (0..2 * size * octets).map(|index| if dtype == "bool" { index as u8 & 1 } else { index as u8 });
            cases.push(case(&text, vec![input.collect(), vec![0; 2 * size * octets]], &[], 2));
        }
        let text = format!(
            "kernel @quads_{size}(read x: f32, write y: f32) dims 1 task %0 workgroup {size} {{
              shared0: f32[{floats}]
              %1: i64 = invocation
              %2: i64 = {floats}
              %3: i64 = 4
              %4: i64 = mul %0, %2
              %5: i64 = mul %1, %3
              %6: i64 = add %4, %5
              %7: f32x4 = load x[%6]
              store shared0[%5], %7
              barrier
              %8: i64 = {size}
              %9: i64 = 0
              %10: i64 = dim 0
              %11: f32x4 = 0.0
              for %12 = %9 to %10 step 1 carrying (%13: f32x4) = (%11) {{
                %14: i64 = add %12, %1
                %15: i64 = mod %14, %2
                %16: f32 = load shared0[%15]
                %17: f32x4 = splat %16
                %18: f32x4 = fma %7, %17, %13
                yield %18
              }} -> %19: f32x4
              store y[%6], %19
            }}",
            floats = 4 * size
        );
        cases.push(case(&text, vec![numbers(8 * size, true), vec![0; 32 * size]], &[7], 2));
    }
    cases
}

#[test]
fn shared_arrays() {
    check(&shared_cases(), &Options::default());
}

/// Neighbours in one word, stored by different invocations; other octets of the word stay.
#[test]
fn parts_of_words() {
    let mut cases = Vec::new();
    for (dtype, octets) in [("u8", 1), ("i8", 1), ("bool", 1), ("i16", 2), ("bf16", 2)] {
        for stride in [1, 3] {
            let text = format!(
                "kernel @scatter_{dtype}_{stride}(read x: {dtype}, read_write y: {dtype}) dims 0 task %0 workgroup 64 {{
                  %1: i64 = invocation
                  %2: i64 = 64
                  %3: i64 = mul %0, %2
                  %4: i64 = add %3, %1
                  %5: i64 = {stride}
                  %6: i64 = mul %4, %5
                  %7: {dtype} = load x[%4]
                  store y[%6], %7
                }}"
            );
            let input = (0..128 * octets).map(|index| if dtype == "bool" { index as u8 & 1 } else { index as u8 });
            cases.push(case(&text, vec![input.collect(), vec![1; 128 * stride * octets]], &[], 2));
        }
    }
    check(&cases, &Options::default());
}

/// Rows picked by indices that are loaded: those only choose addresses, and need no 64 bits.
#[test]
fn loaded_indices() {
    for choice in ["%7: i64 = select %5, %6, %3", "if %5 {\nyield %6\n} else {\nyield %3\n} -> %7: i64"] {
        loaded_indices_by(choice);
    }
}

fn loaded_indices_by(choice: &str) {
    let text = "kernel @gather(read x: f32, read at: i64, write y: f32, write where: i64) dims 6 task %0 workgroup 4 {
      %1: i64 = invocation
      %2: i64 = dim 5
      %3: i64 = load at[%0]
      %4: i64 = 0
      %5: bool = lt %3, %4
      %6: i64 = add %3, %2
      CHOICE
      %8: i64 = 9223372036854775807
      %9: i64 = min %7, %8
      %10: i64 = 4
      %11: i64 = mul %9, %10
      %12: i64 = add %11, %1
      %13: f32 = load x[%12]
      %14: i64 = mul %0, %10
      %15: i64 = add %14, %1
      store y[%15], %13
      %16: i64 = sub %1, %0
      store where[%15], %16
    }";
    let indices: Vec<u8> = [3i64, -1, 0, -6, 5, 1].iter().flat_map(|index| index.to_le_bytes()).collect();
    let buffers = vec![numbers(24, true), indices, vec![0; 96], vec![0; 192]];
    let case = case(&text.replace("CHOICE", choice), buffers, &[9, 9, 9, 9, 9, 6], 6);
    let shader = drupe_gpu::emit(&case.kernel, &Options::default()).unwrap();
    assert!(shader.needs == drupe_gpu::Needs::default() && shader.wgsl.is_some());
    check(&[case], &Options::default());
}
