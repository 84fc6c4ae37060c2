//! What [`emit`] writes, and what it refuses.

use crate::support::{case, check};
use drupe_gpu::{GpuError, Needs, Options, emit};
use drupe_ir::{DType, UnaryOp};
use drupe_kernel::{Inst, Kernel, Type, Value, parse};
use drupe_kernel_cases::{SpirvVal, functions, instructions, random};
use std::path::Path;

/// A tile of a matrix product: 16 invocations, each with 4 columns; the left side through shared memory.
const GEMM: &str = "kernel @gemm(read a: f32, read b: f32, write c: f32) dims 1 task %0 workgroup 16 {
  shared0: f32[64]
  %1: i64 = invocation
  %2: i64 = dim 0
  %3: i64 = 4
  %4: i64 = 64
  %5: i64 = 0
  %6: i64 = mul %1, %3
  %7: i64 = mul %0, %2
  %8: f32x4 = 0.0
  for %9 = %5 to %2 step 64 carrying (%10: f32x4) = (%8) {
    %11: i64 = add %7, %9
    %12: i64 = mul %11, %3
    %13: i64 = add %9, %6
    %14: i64 = mul %0, %4
    %15: f32x4 = load a[%13]
    store shared0[%6], %15
    barrier
    for %16 = %5 to %4 step 1 carrying (%17: f32x4) = (%10) {
      %18: f32 = load shared0[%16]
      %19: f32x4 = splat %18
      %20: i64 = add %9, %16
      %21: i64 = mul %20, %4
      %22: i64 = add %21, %6
      %23: f32x4 = load b[%22]
      %24: f32x4 = fma %19, %23, %17
      yield %24
    } -> %25: f32x4
    barrier
    yield %25
  } -> %26: f32x4
  %27: i64 = mul %0, %4
  %28: i64 = add %27, %6
  %29: f32x4 = 0.0
  %30: f32x4 = max %26, %29
  store c[%28], %30
}";

fn kernel(text: &str) -> Kernel {
    parse(text, "test").unwrap_or_else(|error| panic!("{error}"))
}

/// Kernels of every kind.
fn all() -> Vec<Kernel> {
    let cases = [1, 2, 4, 16].into_iter().flat_map(instructions).chain(functions(4)).chain((0..100).map(random));
    cases.map(|case| case.kernel).chain([kernel(GEMM)]).collect()
}

#[test]
fn wgsl_of_a_matrix_product() {
    insta::assert_snapshot!(emit(&kernel(GEMM), &Options::default()).unwrap().wgsl.unwrap());
}

#[test]
fn msl_of_a_matrix_product() {
    insta::assert_snapshot!(emit(&kernel(GEMM), &Options::default()).unwrap().msl.unwrap());
}

/// No Metal compiler is here: what can be seen is that each kernel has its entry point, and that nothing but buffers has
/// to be bound.
#[test]
fn msl_is_whole() {
    for kernel in all().into_iter().chain(crate::workgroups::every_kernel()).chain(crate::tiles::every_kernel()) {
        let shader =
            emit(&kernel, &Options { subgroups: true, read_only: false, int8_dot: true, ..Options::default() })
                .unwrap();
        let Some(text) = shader.msl else { continue };
        let parameters = text.split_once("kernel void main_(").expect("there is an entry point").1;
        let parameters = parameters.split_once(") {").expect("it has a body").0;
        assert!(!parameters.contains("threadgroup ") && !parameters.contains("_mslBufferSizes"), "{text}");
        let bound = parameters.matches("[[buffer(").count();
        assert!(bound <= kernel.buffers.len() + usize::from(kernel.dims > 0), "{text}");
    }
}

#[test]
fn a_matrix_product() {
    let numbers = |count: usize| (0..count).flat_map(|index| ((index * 31 % 17) as f32 - 8.0).to_le_bytes());
    let buffers = vec![numbers(128).collect(), numbers(128 * 64).collect(), vec![0; 256]];
    check(&[case(GEMM, buffers, &[128], 1)], &Options::default());
    let shader = emit(&kernel(GEMM), &Options::default()).unwrap();
    assert_eq!((shader.workgroup, shader.dims, shader.needs), (16, 1, Needs::default()));
    assert_eq!(shader.writes, [false, false, true]);
    let count = |opcode: u32| instructions_of(&shader.spirv).filter(|inst| inst[0] & 0xffff == opcode).count();
    // Two control barriers, and strides only of the buffers (which have one type) and the dimensions.
    let strides = instructions_of(&shader.spirv).filter(|inst| inst[0] & 0xffff == 71 && inst[2] == 6).count();
    assert_eq!((count(224), strides), (2, 2));
}

fn instructions_of(words: &[u32]) -> impl Iterator<Item = &[u32]> {
    let mut rest = &words[5..];
    std::iter::from_fn(move || {
        let (inst, others) = rest.split_at_checked((*rest.first()? >> 16) as usize)?;
        rest = others;
        Some(inst)
    })
}

#[test]
fn the_same_kernel_gives_the_same_shader() {
    for kernel in all() {
        let shader = || {
            emit(&kernel, &Options { subgroups: true, read_only: true, int8_dot: true, ..Options::default() }).unwrap()
        };
        assert!(shader() == shader(), "{kernel}");
    }
}

/// Browsers read WGSL by rules of their own; naga's are close.
#[test]
fn wgsl_reads_back() {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let across = "kernel @across(read x: f32, write y: f16) dims 0 task %0 workgroup 64 {
      %1: i64 = invocation
      %2: f32 = load x[%1]
      %3: f32 = across_max %2
      %4: f16 = cast %3
      store y[%1], %4
    }";
    let mut read = 0;
    for kernel in all().into_iter().chain([kernel(across)]) {
        let Some(text) =
            emit(&kernel, &Options { subgroups: true, read_only: false, int8_dot: true, ..Options::default() })
                .unwrap()
                .wgsl
        else {
            continue;
        };
        // naga knows what this enables, and not the line.
        let text = text.replacen("enable subgroups;\n", "", 1);
        let capabilities =
            Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SUBGROUP;
        let mut options = naga::front::wgsl::Options::new();
        options.capabilities = capabilities;
        let module = naga::front::wgsl::Frontend::new_with_options(options).parse(&text);
        let module = module.unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        validator
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all());
        validator.validate(&module).unwrap_or_else(|error| panic!("{}\n{text}", error.emit_to_string(&text)));
        read += 1;
    }
    assert!(read > 1000, "only {read} kernels have WGSL");
}

/// Where spirv-val is, it agrees.
#[test]
fn spirv_is_valid() {
    let Some(tool) = SpirvVal::find() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spirv");
    std::fs::create_dir_all(&folder).unwrap();
    let across = crate::workgroups::every_kernel().into_iter().chain(crate::tiles::every_kernel());
    for (number, kernel) in all().into_iter().step_by(7).chain(across).enumerate() {
        for subgroups in [false, true] {
            let shader =
                emit(&kernel, &Options { subgroups, read_only: subgroups, int8_dot: subgroups, ..Options::default() })
                    .unwrap();
            let file = folder.join(format!("{number}.spv"));
            tool.check(&shader.spirv, &file).unwrap_or_else(|said| panic!("{said}\n{kernel}"));
            if kernel.workgroup == 1 {
                break;
            }
        }
    }
}

#[test]
fn what_cannot_be_is_an_error() {
    let add = |text: &str, inst: &dyn Fn(Value) -> Inst| {
        let mut kernel = kernel(text);
        let out = Value(kernel.types.len() as u32);
        kernel.types.push(Type::scalar(DType::F32));
        kernel.body.insts.push(inst(out));
        kernel
    };
    let unary = "kernel @unary(write y: f32) dims 0 task %0 {
      %1: f32 = 1.0
    }";
    let large = "kernel @large(write y: f32) dims 0 task %0 workgroup 2048 {
    }";
    let empty = "kernel @empty(write y: f32) dims 0 task %0 {
      shared0: f32[0]
    }";
    let parts = "kernel @parts(write y: u4) dims 0 task %0 {
    }";
    let kernels = [
        add(unary, &|out| Inst::Unary { out, op: UnaryOp::Exp, a: Value(1) }),
        add(unary, &|out| Inst::Unary { out, op: UnaryOp::Neg, a: out }),
        kernel(large),
        kernel(empty),
        kernel(parts),
    ];
    let errors: Vec<String> = kernels
        .iter()
        .map(|kernel| {
            let error: GpuError = emit(kernel, &Options::default()).unwrap_err();
            error.to_string()
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

/// Eight halves at a time, aligned, and one from anywhere.
const HALVES: &str = "kernel @halves(read a: f16, write b: f32) dims 1 task %0 {
  %1: i64 = dim 0
  %2: i64 = 8
  %3: i64 = mul %0, %2
  %4: f16x8 = load a[%3]
  %5: f32x8 = cast %4
  store b[%3], %5
  %6: i64 = add %3, %1
  %7: f16 = load a[%6]
  %8: f16x4 = splat %7
  %9: f32x4 = cast %8
  %10: i64 = 4
  %11: i64 = mul %0, %10
  %12: i64 = 32
  %13: i64 = add %11, %12
  store b[%13], %9
}";

#[test]
fn halves_that_are_only_read_need_no_half_floats() {
    // Of all sizes: the smallest, those that are not normal, the largest.
    let halves = [0x0001u16, 0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc01, 0x7bff, 0xfbff];
    let a = halves.iter().cycle().take(32).flat_map(|bits| bits.to_le_bytes()).collect();
    let options = Options { unpack_halves: true, ..Options::default() };
    check(&[case(HALVES, vec![a, vec![0; 192]], &[5], 4)], &options);
    let unpacked = emit(&kernel(HALVES), &options).unwrap();
    assert_eq!(unpacked.needs, Needs::default());
    assert!(unpacked.wgsl.unwrap().contains("unpack2x16float"));
    assert!(emit(&kernel(HALVES), &Options::default()).unwrap().needs.f16);
    // Sums of halves are halves.
    let sums = HALVES.replace("%5: f32x8 = cast %4", "%14: f16x8 = add %4, %4\n  %5: f32x8 = cast %14");
    assert!(emit(&kernel(&sums), &options).unwrap().needs.f16);
}
