//! What [`emit`] writes, and what it refuses.

use crate::support::{native, run_native};
use drupe_cranelift::{CraneliftError, Kind, Machine, emit};
use drupe_ir::{BinaryOp, DType, UnaryOp};
use drupe_kernel::{Access, Inst, Kernel, KernelBuilder, Place, Type};
use drupe_kernel_cases::{Case, differences, functions, instructions};
use drupe_target::Target;

/// y = max(x, 0) over rows of eight.
fn relu() -> Kernel {
    let mut b = KernelBuilder::new("relu");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let (task, eight, ty) = (b.task(), b.int(8), Type::vector(DType::F32, 8));
    let at = b.binary(BinaryOp::Mul, task, eight);
    let value = b.load(Place::Buffer(x), at, ty);
    let zero = b.number(ty, 0.0);
    let positive = b.binary(BinaryOp::Gt, value, zero);
    let result = b.select(positive, value, zero);
    b.store(Place::Buffer(y), at, result);
    b.finish()
}

fn machine(target: &str) -> Machine {
    let target = Target::find(target).unwrap();
    Machine::for_images(&target, target.levels.last().unwrap())
}

fn text(target: &str, kind: Kind) -> String {
    String::from_utf8(emit(&[relu()], &machine(target), kind).unwrap()).unwrap()
}

#[test]
fn clif() {
    insta::assert_snapshot!(text("x86-64", Kind::Clif));
}

#[test]
fn assembly_of_x86() {
    insta::assert_snapshot!(text("x86-64", Kind::Assembly));
}

#[test]
fn assembly_of_aarch64() {
    insta::assert_snapshot!(text("raspberry-pi-5", Kind::Assembly));
}

#[test]
fn every_target_gets_an_object_and_an_image() {
    for target in ["x86-64", "aarch64-linux", "aarch64-android", "aarch64-ios", "aarch64-macos", "pixel-8"] {
        let image = emit(&[relu()], &machine(target), Kind::Object).unwrap();
        drupe_link::link(&[&image], &["relu".into()]).unwrap();
        let target = Target::find(target).unwrap();
        let machine = Machine::for_objects(&target, target.best_level());
        emit(&[relu()], &machine, Kind::Object).unwrap();
    }
}

#[test]
fn the_same_kernels_give_the_same_bytes() {
    let machine = machine("x86-64");
    let object = || {
        let kernels: Vec<Kernel> = functions(4).into_iter().map(|case| case.kernel).collect();
        emit(&kernels, &machine, Kind::Object).unwrap()
    };
    assert!(object() == object());
}

#[test]
fn without_fused_multiply_add_nothing_is_imported() {
    let mut machine = machine("x86-64");
    machine.features.retain(|feature| feature != "+fma");
    let cases = functions(4);
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let object = emit(&kernels, &machine, Kind::Object).unwrap();
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    drupe_link::link(&[&object], &symbols).unwrap();
}

#[test]
fn the_oldest_vectors_do() {
    let Some(mut machine) = native() else { return };
    if machine.features.iter().all(|feature| feature != "+avx2") {
        return;
    }
    machine.features = vec!["+sse4.1".into()];
    // Without fused multiply-add, which rounds once.
    let once = |case: &Case| !case.kernel.name.contains("_fma_");
    let cases: Vec<_> = instructions(8).into_iter().filter(once).collect();
    differences(&cases, &run_native(&cases, &machine)).unwrap_or_else(|found| panic!("{found}"));
}

#[test]
fn what_cannot_be_is_an_error() {
    let refused = |kernels: &[Kernel], machine: &Machine| emit(kernels, machine, Kind::Object).unwrap_err();
    let x86 = machine("x86-64");
    let mut kernel = relu();
    kernel.dims = 3;
    let out = drupe_kernel::Value(kernel.types.len() as u32);
    kernel.types.push(Type::scalar(DType::F32));
    let mut broken = kernel.clone();
    broken.body.insts.push(Inst::Unary { out, op: UnaryOp::Neg, a: out });
    let constant = Inst::Float { out, value: 1.0 };
    kernel.body.insts.push(constant);
    kernel.types.push(Type::scalar(DType::F32));
    let exp = drupe_kernel::Value(out.0 + 1);
    kernel.body.insts.push(Inst::Unary { out: exp, op: UnaryOp::Exp, a: out });
    let plain = Machine { features: Vec::new(), ..x86.clone() };
    let errors: Vec<CraneliftError> = vec![
        refused(&[kernel], &x86),
        refused(&[broken], &x86),
        refused(&[relu(), relu()], &x86),
        refused(&[relu()], &plain),
    ];
    let errors: Vec<String> = errors.iter().map(CraneliftError::to_string).collect();
    insta::assert_snapshot!(errors.join("\n"));
}
