//! What comes out for each kind, and what goes wrong how.

use drupe_ir::{BinaryOp, DType, UnaryOp};
use drupe_kernel::{Access, Inst, Kernel, KernelBuilder, Place, Type};
use drupe_llvm::{KERNELS_IN_MODULE, Kind, LlvmError, Machine, emit};
use drupe_target::{Os, Target};

fn machine(target: &str) -> Machine {
    let target = Target::find(target).unwrap();
    Machine::for_images(&target, target.best_level())
}

/// `y[i] = max(x[i], 0)`, eight at a time.
fn relu(name: &str) -> Kernel {
    let mut b = KernelBuilder::new(name);
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let (task, eight) = (b.task(), b.int(8));
    let at = b.binary(BinaryOp::Mul, task, eight);
    let vector = Type::vector(DType::F32, 8);
    let value = b.load(Place::Buffer(x), at, vector);
    let zero = b.number(vector, 0.0);
    let positive = b.binary(BinaryOp::Max, value, zero);
    b.store(Place::Buffer(y), at, positive);
    b.finish()
}

fn text(kernel: Kernel, target: &str, kind: Kind) -> String {
    String::from_utf8(emit(&[kernel], &machine(target), kind).unwrap().remove(0)).unwrap()
}

#[test]
fn mlir_says_what_the_kernel_says() {
    insta::assert_snapshot!(text(relu("relu"), "x86-64", Kind::Mlir));
}

#[test]
fn x86_64_clamps_in_one_instruction() {
    let assembly = text(relu("relu"), "x86-64", Kind::Assembly);
    assert_eq!(
        assembly.lines().filter(|line| line.contains("ymm") && !line.contains("vmovups")).count(),
        1,
        "{assembly}"
    );
    assert!(assembly.contains("vmaxps"), "{assembly}");
}

#[test]
fn aarch64_clamps_with_fmax() {
    let assembly = text(relu("relu"), "pixel-8", Kind::Assembly);
    assert_eq!(assembly.matches("fmax\t").count(), 2, "{assembly}");
}

#[test]
fn llvm_ir_is_optimised() {
    let ir = text(relu("relu"), "aarch64-linux", Kind::LlvmIr);
    assert!(ir.contains("@llvm.maximum.v8f32") && !ir.contains("alloca"), "{ir}");
}

#[test]
fn the_same_kernels_give_the_same_octets() {
    let kernels: Vec<Kernel> = (0..3 * KERNELS_IN_MODULE + 1).map(|number| relu(&format!("relu{number}"))).collect();
    let machine = machine("x86-64");
    let objects = emit(&kernels, &machine, Kind::Object).unwrap();
    assert_eq!(objects.len(), 4);
    assert_eq!(objects, emit(&kernels, &machine, Kind::Object).unwrap());
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    let image = drupe_link::link(&objects, &symbols).unwrap();
    assert!(image.entries.is_sorted_by(|a, b| a < b));
}

#[test]
fn every_built_in_level_compiles_and_links() {
    for name in drupe_target::names() {
        let target = Target::find(name).unwrap();
        // Browsers get shaders only.
        for level in target.levels.iter().filter(|_| target.os != Os::Browser) {
            let machine = Machine::for_images(&target, level);
            let object = emit(&[relu("relu")], &machine, Kind::Object).unwrap().remove(0);
            drupe_link::link(&[&object], &["relu".into()]).unwrap();
            emit(&[relu("relu")], &Machine::for_objects(&target, level), Kind::Object).unwrap();
        }
    }
}

#[test]
fn errors_name_the_kernel() {
    let error = emit(&[relu("no good")], &machine("x86-64"), Kind::Object).unwrap_err();
    assert!(matches!(error, LlvmError::Symbol { kernel } if kernel == "no good"));

    // What the builder would have expanded.
    let mut kernel = relu("exp");
    for inst in &mut kernel.body.insts {
        if let Inst::Binary { op: BinaryOp::Max, out, a, .. } = *inst {
            *inst = Inst::Unary { out, op: UnaryOp::Exp, a };
        }
    }
    let error = emit(&[kernel], &machine("x86-64"), Kind::Object).unwrap_err();
    assert_eq!(error.to_string(), "kernel exp: `exp` of f32 has no instruction: the builder expands it");

    // Two functions of one name: MLIR refuses.
    let error = emit(&[relu("twice"), relu("twice")], &machine("x86-64"), Kind::Object).unwrap_err();
    insta::assert_snapshot!(error);

    let mut nowhere = machine("x86-64");
    nowhere.triple = "toaster-unknown-none".into();
    let error = emit(&[relu("relu")], &nowhere, Kind::Object).unwrap_err();
    assert!(error.to_string().starts_with("kernels relu: finding the target: "), "{error}");
}
