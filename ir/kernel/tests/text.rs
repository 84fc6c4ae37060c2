//! Kernels as text, and what the verifier says of broken ones.

use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel::{Access, Block, Inst, Kernel, KernelBuilder, Place, Type, Value};

fn sum_of_rows() -> Kernel {
    let mut b = KernelBuilder::new("sum_of_rows");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let columns = b.dim(0);
    let (task, zero) = (b.task(), b.int(0));
    let row = b.binary(BinaryOp::Mul, task, columns);
    let four = Type::vector(DType::F32, 4);
    let start = b.number(four, 0.0);
    let sums = b.for_loop(zero, columns, 4, vec![start], |b, index, carried| {
        let at = b.binary(BinaryOp::Add, row, index);
        let loaded = b.load(Place::Buffer(x), at, four);
        vec![b.binary(BinaryOp::Add, carried[0], loaded)]
    });
    let sum = b.reduce(FoldOp::Sum, sums[0]);
    let limit = b.number(Type::scalar(DType::F32), 6.0);
    let over = b.binary(BinaryOp::Gt, sum, limit);
    let result = b.if_else(over, |_| vec![limit], |b| vec![b.unary(UnaryOp::Neg, sum)]);
    b.store(Place::Buffer(y), task, result[0]);
    b.finish()
}

#[test]
fn kernels_print() {
    let kernel = sum_of_rows();
    kernel.verify().unwrap();
    insta::assert_snapshot!(kernel);
}

#[test]
fn numbers_do_not_tell_how_a_kernel_was_built() {
    let mut b = KernelBuilder::new("k");
    b.number(Type::scalar(DType::F32), 1.0);
    let first = b.finish();
    let mut second = first.clone();
    second.types.insert(0, Type::scalar(DType::Bool));
    second.task = Value(1);
    second.body.insts = vec![Inst::Float { out: Value(2), value: 1.0 }];
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn exp_is_short() {
    let mut b = KernelBuilder::new("exp");
    let x = b.buffer("x", DType::F32, Access::ReadWrite);
    let value = b.load(Place::Buffer(x), b.task(), Type::vector(DType::F32, 8));
    let result = b.unary(UnaryOp::Exp, value);
    b.store(Place::Buffer(x), b.task(), result);
    insta::assert_snapshot!(b.finish());
}

fn interpreted(kernel: &Kernel, x: &[f32], rows: i64) -> Vec<f32> {
    let octets = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut buffers = vec![octets, vec![0; 4 * rows as usize]];
    kernel.interpret(&mut buffers, &[x.len() as i64 / rows], 0..rows).unwrap();
    buffers[1].as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

#[test]
fn kernels_are_interpreted() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 1.0];
    assert_eq!(interpreted(&sum_of_rows(), &x, 2), [6.0, -3.0]);
}

#[test]
fn accesses_out_of_bounds_are_errors() {
    let kernel = sum_of_rows();
    let error = kernel.interpret(&mut [vec![0; 12], vec![0; 4]], &[4], 0..1).unwrap_err();
    insta::assert_snapshot!(error);
}

/// The error of `sum_of_rows` after `spoil`.
fn error(spoil: impl FnOnce(&mut Kernel)) -> String {
    let mut kernel = sum_of_rows();
    spoil(&mut kernel);
    kernel.verify().unwrap_err().what
}

#[test]
fn broken_kernels_are_refused() {
    let first_loop = |kernel: &mut Kernel, change: fn(&mut drupe_kernel::Loop)| {
        for inst in &mut kernel.body.insts {
            if let Inst::For(inner) = inst {
                change(inner);
            }
        }
    };
    let errors = [
        error(|kernel| kernel.body.insts.reverse()),
        error(|kernel| kernel.body.insts.push(kernel.body.insts[0].clone())),
        error(|kernel| kernel.body.yields.push(kernel.task)),
        error(|kernel| kernel.buffers[0].access = Access::Write),
        error(|kernel| kernel.buffers[1].access = Access::Read),
        error(|kernel| kernel.buffers[0].dtype = DType::I32),
        error(|kernel| kernel.dims = 0),
        error(|kernel| kernel.types[0].lanes = 3),
        error(|kernel| kernel.types[0].dtype = DType::I4),
        error(|kernel| kernel.body.insts.push(Inst::Unary { out: Value(0), op: UnaryOp::Exp, a: kernel.task })),
        error(|kernel| kernel.body.insts.push(Inst::Extract { out: Value(0), a: kernel.task, lane: 1 })),
        error(|kernel| {
            kernel.body.insts.push(Inst::Select {
                out: Value(0),
                condition: kernel.task,
                a: kernel.task,
                b: kernel.task,
            })
        }),
        error(|kernel| kernel.body.insts.push(Inst::Int { out: Value(9999), value: 0 })),
        error(|kernel| first_loop(kernel, |inner| inner.step = 0)),
        error(|kernel| first_loop(kernel, |inner| inner.body.yields.clear())),
        error(|kernel| first_loop(kernel, |inner| inner.init.clear())),
        error(|kernel| {
            let inner = kernel.types.iter().rposition(|ty| ty.lanes == 4).unwrap() as u32;
            // The value loaded in the loop, or one beside it: out of scope after it.
            let out = Value(kernel.types.len() as u32);
            kernel.types.push(Type::vector(DType::F32, 4));
            kernel.body.insts.push(Inst::Unary { out, op: UnaryOp::Neg, a: Value(inner - 1) });
        }),
        error(|kernel| {
            kernel.body.insts.push(Inst::If {
                results: vec![],
                condition: kernel.task,
                then: Block::default(),
                otherwise: Block::default(),
            })
        }),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}
