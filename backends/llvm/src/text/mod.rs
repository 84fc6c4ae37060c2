//! Kernel IR as MLIR text.
//!
//! A kernel becomes two functions: the exported one loads the buffers' addresses and calls the other, whose
//! parameters say which buffers cannot overlap, and which runs the tasks.

mod arith;
mod convert;
mod divide;
mod dot;
mod flow;
mod memory;

use crate::{LlvmError, Machine};
use dot::DotForm;
use drupe_ir::DType;
use drupe_kernel::{Access, Inst, Kernel, Type, Value};
use std::fmt::{self, Write as _};

/// `kernels` as one module.
pub(crate) fn module(kernels: &[Kernel], machine: &Machine) -> Result<String, LlvmError> {
    let mut text = String::new();
    write_attributes(machine, &mut text);
    for kernel in kernels {
        let symbol = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
        if !kernel.name.chars().all(symbol) || kernel.name.chars().next().is_none_or(|c| c.is_ascii_digit()) {
            return Err(LlvmError::Symbol { kernel: kernel.name.clone() });
        }
        write_entry(kernel, &mut text);
        Writer::new(kernel, machine, &mut text).tasks()?;
    }
    Ok(text)
}

/// The exported function.
fn write_entry(kernel: &Kernel, text: &mut String) {
    let name = &kernel.name;
    let mut line = |args: fmt::Arguments| {
        text.push_str(&args.to_string());
        text.push('\n');
    };
    line(format_args!(
        "llvm.func @{name}(%buffers: !llvm.ptr, %dims: !llvm.ptr, %scratch: !llvm.ptr, %begin: i64, %end: i64) \
         attributes {{passthrough = #entry}} {{"
    ));
    let (mut arguments, mut types) = (String::new(), String::new());
    for number in 0..kernel.buffers.len() {
        line(format_args!(
            "  %slot{number} = llvm.getelementptr inbounds %buffers[{number}] : (!llvm.ptr) -> !llvm.ptr, !llvm.ptr"
        ));
        line(format_args!("  %buffer{number} = llvm.load %slot{number} : !llvm.ptr -> !llvm.ptr"));
        arguments += &format!("%buffer{number}, ");
        types += "!llvm.ptr, ";
    }
    line(format_args!(
        "  llvm.call @{name}.tasks({arguments}%dims, %begin, %end) : ({types}!llvm.ptr, i64, i64) -> ()"
    ));
    line(format_args!("  llvm.return\n}}"));
}

/// The attributes of the two kinds of functions, by the names `#entry` and `#tasks`.
fn write_attributes(machine: &Machine, text: &mut String) {
    let width = machine.vector_bits;
    for (name, inlining) in [("entry", ""), ("tasks", "\"noinline\", ")] {
        text.push_str(&format!(
            "#{name} = [{inlining}\"nounwind\", \"no-builtins\", \"no-stack-arg-probe\", \
             [\"prefer-vector-width\", \"{width}\"], [\"min-legal-vector-width\", \"{width}\"]]\n"
        ));
    }
}

/// A value of the MLIR text.
#[derive(Clone, Copy)]
struct Ssa(u32);

impl fmt::Display for Ssa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// Writes one function.
struct Writer<'a> {
    kernel: &'a Kernel,
    text: &'a mut String,
    depth: usize,
    next: u32,
    /// What each kernel value is called.
    names: Vec<Ssa>,
    /// The number that an integer value is known to be in every lane.
    ints: Vec<Option<i64>>,
    buffers: Vec<Ssa>,
    locals: Vec<Ssa>,
    dims: Vec<Ssa>,
    dot_form: DotForm,
    has_smmla: bool,
    vector_bits: u32,
}

impl<'a> Writer<'a> {
    fn new(kernel: &'a Kernel, machine: &Machine, text: &'a mut String) -> Writer<'a> {
        let (names, ints) = (vec![Ssa(0); kernel.types.len()], vec![None; kernel.types.len()]);
        let (buffers, locals, dims) = (Vec::new(), Vec::new(), Vec::new());
        let (dot_form, vector_bits) = (DotForm::of(machine), machine.vector_bits);
        let has_smmla = dot_form == DotForm::Sdot && machine.has("+i8mm");
        Writer { kernel, text, depth: 1, next: 0, names, ints, buffers, locals, dims, dot_form, has_smmla, vector_bits }
    }

    /// The function that runs the tasks.
    fn tasks(&mut self) -> Result<(), LlvmError> {
        let kernel = self.kernel;
        // An in-place buffer may overlap any other: then no parameter can promise that nothing overlaps it.
        let apart = kernel.buffers.iter().all(|buffer| buffer.access != Access::ReadWrite);
        let mut parameters = String::new();
        for buffer in &kernel.buffers {
            let name = self.fresh();
            self.buffers.push(name);
            let read_only = if buffer.access == Access::Read { ", llvm.readonly" } else { "" };
            parameters += &match apart {
                true => format!("{name}: !llvm.ptr {{llvm.noalias{read_only}}}, "),
                false => format!("{name}: !llvm.ptr, "),
            };
        }
        let [dims, begin, end] = [self.fresh(), self.fresh(), self.fresh()];
        self.text.push_str(&format!(
            "llvm.func internal @{}.tasks({parameters}{dims}: !llvm.ptr, {begin}: i64, {end}: i64) \
             attributes {{passthrough = #tasks}} {{\n",
            kernel.name
        ));
        for dim in 0..kernel.dims {
            let at =
                self.temp(format_args!("llvm.getelementptr inbounds {dims}[{dim}] : (!llvm.ptr) -> !llvm.ptr, i64"));
            let value = self.temp(format_args!("llvm.load {at} : !llvm.ptr -> i64"));
            self.dims.push(value);
        }
        let one = self.temp(format_args!("arith.constant 1 : i64"));
        for local in &kernel.locals {
            let element = memory_type(local.dtype);
            let name = self.temp(format_args!(
                "llvm.alloca {one} x !llvm.array<{} x {element}> {{alignment = 64 : i64}} : (i64) -> !llvm.ptr",
                local.length
            ));
            self.locals.push(name);
        }
        let task = self.define(kernel.task);
        self.line(format_args!("scf.for {task} = {begin} to {end} step {one} : i64 {{"));
        self.block(&kernel.body, "scf.yield")?;
        self.line(format_args!("}}"));
        self.line(format_args!("llvm.return"));
        self.text.push_str("}\n");
        Ok(())
    }

    fn line(&mut self, args: fmt::Arguments) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
        self.text.write_fmt(args).expect("strings take all text");
        self.text.push('\n');
    }

    fn fresh(&mut self) -> Ssa {
        self.next += 1;
        Ssa(self.next - 1)
    }

    /// A new value, computed by an operation given as text.
    fn temp(&mut self, operation: fmt::Arguments) -> Ssa {
        let name = self.fresh();
        self.line(format_args!("{name} = {operation}"));
        name
    }

    /// A new name for a kernel value.
    fn define(&mut self, value: Value) -> Ssa {
        let name = self.fresh();
        self.names[value.0 as usize] = name;
        name
    }

    fn name(&self, value: Value) -> Ssa {
        self.names[value.0 as usize]
    }

    fn ty(&self, value: Value) -> Type {
        self.kernel.ty(value)
    }

    /// A constant of MLIR type `ty`, in every lane.
    fn int(&mut self, ty: Type, value: i64) -> Ssa {
        let ty = Mlir(ty);
        match ty.0.lanes {
            1 => self.temp(format_args!("arith.constant {value} : {ty}")),
            _ => self.temp(format_args!("arith.constant dense<{value}> : {ty}")),
        }
    }

    /// A float constant of type `f32` or `f64` (or `f16`), in every lane.
    fn float(&mut self, ty: Type, value: f64) -> Ssa {
        let (digits, ty) = (float_literal(ty.dtype, value), Mlir(ty));
        match ty.0.lanes {
            1 => self.temp(format_args!("arith.constant {digits} : {ty}")),
            _ => self.temp(format_args!("arith.constant dense<{digits}> : {ty}")),
        }
    }

    /// Writes `inst`, and names its result.
    fn inst(&mut self, inst: &Inst) -> Result<(), LlvmError> {
        let (out, name) = match inst {
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                return self.branch(results, *condition, then, otherwise);
            }
            Inst::Store { place, offset, value } => {
                self.store(*place, *offset, *value);
                return Ok(());
            }
            Inst::Prefetch { place, offset } => {
                self.prefetch(*place, *offset);
                return Ok(());
            }
            // One invocation waits for no other.
            Inst::Barrier => return Ok(()),
            Inst::Invocation { out } | Inst::Subgroup { out } => (out, self.int_constant(self.ty(*out), 0)),
            Inst::Subgroups { out } => (out, self.int_constant(self.ty(*out), 1)),
            Inst::Tile { .. } => unreachable!("verify_for_cpu allows no tiles"),
            Inst::Across { out, a, .. } => {
                self.names[out.0 as usize] = self.name(*a);
                return Ok(());
            }
            Inst::Float { out, value } => (out, self.float_constant(self.ty(*out), *value)),
            Inst::Int { out, value } => {
                self.ints[out.0 as usize] = Some(*value);
                (out, self.int_constant(self.ty(*out), *value))
            }
            Inst::Iota { out } => (out, self.iota(self.ty(*out))),
            Inst::Dim { out, index } => (out, self.dims[*index]),
            Inst::Unary { out, op, a } => (out, self.unary(*op, *a)?),
            Inst::Binary { out, op, a, b } => (out, self.binary(*op, *a, *b)),
            Inst::Fma { out, a, b, c } => (out, self.fma(*a, *b, *c)),
            Inst::Dot { out, a, b, c } => (out, self.dot(*a, *b, *c)),
            Inst::DotPairs { out, a, b, c } => (out, self.dot_pairs(*a, *b, *c)),
            Inst::Select { out, condition, a, b } => (out, self.select(*condition, *a, *b)),
            Inst::Cast { out, a } => (out, self.cast(self.name(*a), self.ty(*a), self.ty(*out).dtype)),
            Inst::Bitcast { out, a } => (out, self.bitcast(*a, self.ty(*out))),
            Inst::Splat { out, a } => {
                self.ints[out.0 as usize] = self.ints[a.0 as usize];
                (out, self.splat(*a, self.ty(*out)))
            }
            Inst::Extract { out, a, lane } => (out, self.extract(self.name(*a), self.ty(*a), *lane)),
            Inst::Reduce { out, op, a } => (out, self.reduce(*op, *a)),
            Inst::Shuffle { out, a, b, lanes } => (out, self.shuffle(*a, *b, lanes, self.ty(*out))),
            Inst::Load { out, place, offset } => (out, self.load(*place, *offset, self.ty(*out))),
        };
        self.names[out.0 as usize] = name;
        Ok(())
    }
}

/// A kernel type as MLIR writes it in registers: bools are `i1`, `bf16` is its bits.
struct Mlir(Type);

impl fmt::Display for Mlir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = match self.0.dtype {
            DType::Bool => "i1",
            dtype => memory_type(dtype),
        };
        match self.0.lanes {
            1 => f.write_str(element),
            lanes => write!(f, "vector<{lanes}x{element}>"),
        }
    }
}

/// An element type as MLIR writes it in memory.
fn memory_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::F16 => "f16",
        DType::Bf16 | DType::I16 | DType::U16 => "i16",
        DType::I8 | DType::U8 | DType::Bool | DType::I4 | DType::U4 => "i8",
        DType::I32 | DType::U32 => "i32",
        DType::I64 | DType::U64 => "i64",
    }
}

/// `value`, rounded to `dtype`, as an MLIR literal.
fn float_literal(dtype: DType, value: f64) -> String {
    let value = if dtype == DType::F32 { f64::from(value as f32) } else { value };
    if !value.is_finite() {
        let (sign, bits) = (u64::from(value.is_sign_negative()), if value.is_nan() { 3u64 } else { 2 });
        return match dtype {
            DType::F64 => format!("{:#018X}", (sign << 63) | (0x7FE << 52) | (bits << 51)).replace("0X", "0x"),
            DType::F16 => format!("{:#06X}", (sign << 15) | (0x1E << 10) | (bits << 9)).replace("0X", "0x"),
            _ => format!("{:#010X}", (sign << 31) | (0xFE << 23) | (bits << 22)).replace("0X", "0x"),
        };
    }
    let digits = format!("{value:?}");
    match digits.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0e{exponent}"),
        _ => digits,
    }
}
