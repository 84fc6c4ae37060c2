//! Products of matrices by subgroups: on devices that have such, to the bit; everywhere, whether the shader is valid.

use crate::support::{case, check_tiles};
use drupe_gpu::{Options, Shader, emit};
use drupe_kernel_cases::Case;

/// `out = x y`, matrices of `2 * side` rows and columns, each workgroup its own, through shared memory. A subgroup has
/// two tiles side by side at a time.
fn product(side: usize, tasks: usize) -> Case {
    let wide = 2 * side;
    let (pitch, all) = (wide + 8, wide * wide);
    let text = format!(
        "kernel @product_{side}(read x: f16, read y: f16, write out: f32) dims 0 task %0 workgroup 64 {{
          shared0: f16[{rows}]
          shared1: f16[{all}]
          shared2: f32[{all}]
          tile0: {side}
          tile1: {side}
          %1: i64 = 0
          %2: i64 = {all}
          %3: i64 = mul %0, %2
          %4: i64 = invocation
          %5: i64 = 4
          %6: i64 = mul %4, %5
          %7: i64 = {wide}
          %8: i64 = {pitch}
          for %9 = %6 to %2 step 256 {{
            %10: i64 = add %3, %9
            %11: f16x4 = load x[%10]
            %12: i64 = floor_div %9, %7
            %13: i64 = mod %9, %7
            %14: i64 = mul %12, %8
            %15: i64 = add %14, %13
            store shared0[%15], %11
            %16: f16x4 = load y[%10]
            store shared1[%9], %16
          }}
          barrier
          %17: i64 = 2
          %18: i64 = 1
          %19: i64 = {side}
          %20: i64 = subgroup
          %21: i64 = subgroups
          %22: i64 = add %21, %18
          %23: i64 = floor_div %22, %21
          for %24 = %1 to %23 step 1 {{
            %25: i64 = mul %24, %21
            %26: i64 = add %25, %20
            %27: bool = lt %26, %17
            if %27 {{
              %28: i64 = mul %26, %19
              %29: i64 = mul %28, %8
              clear tile0
              clear tile1
              for %30 = %1 to %7 step {side} {{
                %31: i64 = add %29, %30
                %32: i64 = mul %30, %7
                %33: i64 = add %32, %19
                multiply tile0, shared0[%31] stride {pitch}, shared1[%32] stride {wide}
                multiply tile1, shared0[%31] stride {pitch}, shared1[%33] stride {wide}
              }}
              %34: i64 = mul %28, %7
              %35: i64 = add %34, %19
              values tile0, shared2[%34] stride {wide}
              values tile1, shared2[%35] stride {wide}
            }} else {{
            }}
          }}
          barrier
          for %36 = %6 to %2 step 256 {{
            %37: f32x4 = load shared2[%36]
            %38: i64 = add %3, %36
            store out[%38], %37
          }}
        }}",
        rows = wide * pitch,
    );
    // Small numbers, so that sums in any order are exact.
    let matrix = |factor: usize| -> Vec<u8> {
        let number = |index: usize| ((index * factor % 29) as f32 - 14.0) / 8.0;
        (0..tasks * all).map(number).flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect()
    };
    case(&text, vec![matrix(17), matrix(23), vec![0; 4 * tasks * all]], &[], tasks)
}

fn shader(case: &Case) -> Shader {
    emit(&case.kernel, &Options::default()).unwrap_or_else(|error| panic!("{error}\n{}", case.kernel))
}

/// The kernels here.
pub fn every_kernel() -> Vec<drupe_kernel::Kernel> {
    [8, 16].map(|side| product(side, 1).kernel).to_vec()
}

#[test]
fn products() {
    check_tiles(&[8, 16].map(|side| product(side, 3)));
}

#[test]
fn who_is_given_them() {
    for side in [8, 16] {
        let shader = shader(&product(side, 1));
        assert_eq!(shader.needs.cooperative, Some(side as u32));
        assert!(shader.needs.subgroups && shader.needs.f16);
        // Metal has tiles of eight rows, browsers none.
        assert_eq!((shader.msl.is_some(), shader.wgsl.is_some()), (side == 8, false));
    }
}

/// Neighbouring products share a factor, and it is read once.
#[test]
fn factors_are_read_once() {
    let msl = shader(&product(8, 1)).msl.expect("Metal has tiles of eight rows");
    let count = |what: &str| msl.lines().filter(|line| line.contains("= ") && line.contains(what)).count();
    assert_eq!((count("NagaCooperativeLoad("), count("NagaCooperativeMultiplyAdd(")), (3, 2), "{msl}");
    insta::assert_snapshot!("msl_of_tiles", msl);
}
