//! Kernels to machine code, by the backend and for the levels that were asked for.

pub use crate::shaders::ShaderCode;
use crate::{Backend, CompileOptions, shaders, web};
use drupe_ir::Diagnostic;
use drupe_kernel::Kernel;
use drupe_lower::Program;
use drupe_target::{Arch, IsaLevel, Target};
use indexmap::IndexMap;

/// The code of some programs.
#[derive(Clone, Debug)]
pub struct EmittedCode {
    /// The objects of every level of the target, best first: all programs' kernels, equal ones once.
    pub levels: Vec<LevelCode>,
    /// By program, in the order of its shaders.
    pub shaders: Vec<Vec<ShaderCode>>,
}

/// The objects of one level.
#[derive(Clone, Debug)]
pub struct LevelCode {
    /// What the code needs.
    pub level: IsaLevel,
    /// ELF objects that together define every kernel.
    pub objects: Vec<Vec<u8>>,
}

/// What code can be looked at as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeForm {
    /// An object for the platform's own linker.
    Object,
    /// MLIR, as the LLVM backend gets it.
    Mlir,
    /// Assembly.
    Assembly,
}

/// The target as the backend needs it: Cranelift has 128-bit vectors only, so its one level is the target's least
/// demanding one with vectors of that width.
pub(crate) fn backend_target(options: &CompileOptions) -> Target {
    let target = &options.target;
    match (options.backend, target.levels.last()) {
        (Backend::Cranelift, Some(least)) => {
            let vector_registers = match target.arch {
                Arch::X86_64 | Arch::Wasm32 => 16,
                Arch::Aarch64 => 32,
            };
            let level = IsaLevel { vector_bits: 128, vector_registers, int8_dot: None, ..least.clone() };
            Target { levels: vec![level], ..target.clone() }
        }
        (Backend::Llvm | Backend::Cranelift, _) => target.clone(),
    }
}

/// Objects for all levels, and shaders.
pub(crate) fn emit(programs: &[&Program], options: &CompileOptions) -> Result<EmittedCode, Diagnostic> {
    web::check_has_code(&options.target)?;
    let target = backend_target(options);
    let mut levels = Vec::new();
    for (index, level) in target.levels.iter().enumerate() {
        let objects = objects(&Kernels::of(programs, index).distinct, &target, level, options.backend)?;
        levels.push(LevelCode { level: level.clone(), objects });
    }
    let shaders = programs.iter().map(|program| shaders::emit(program, &target)).collect::<Result<_, _>>()?;
    Ok(EmittedCode { levels, shaders })
}

/// All kernels of level `level` in `form`, as one file.
pub(crate) fn emit_form(
    program: &Program,
    options: &CompileOptions,
    level: usize,
    form: CodeForm,
) -> Result<Vec<u8>, Diagnostic> {
    web::check_has_code(&options.target)?;
    let target = backend_target(options);
    let kernels: Vec<Kernel> = program.kernels.iter().map(|variants| variants.levels[level].clone()).collect();
    match options.backend {
        Backend::Llvm => llvm::form(&kernels, &target, &target.levels[level], form),
        Backend::Cranelift => cranelift::form(&kernels, &target, &target.levels[level], form),
    }
}

/// The kernels of some programs at one level: what is equal in two of them is there once.
pub(crate) struct Kernels {
    /// No two are equal but for their names, which differ.
    pub distinct: Vec<Kernel>,
    /// For every kernel, program by program, which of them it is.
    pub numbers: Vec<usize>,
}

impl Kernels {
    pub(crate) fn of(programs: &[&Program], level: usize) -> Kernels {
        let (mut seen, mut numbers) = (IndexMap::new(), Vec::new());
        for (number, program) in programs.iter().enumerate() {
            for kernel in program.kernels.iter().map(|variants| &variants.levels[level]) {
                let nameless = Kernel { name: String::new(), ..kernel.clone() };
                let entry = seen.entry(format!("{nameless:?}"));
                numbers.push(entry.index());
                entry.or_insert_with(|| {
                    let name = if number == 0 { kernel.name.clone() } else { format!("{}_plan{number}", kernel.name) };
                    Kernel { name, ..nameless }
                });
            }
        }
        Kernels { distinct: seen.into_values().collect(), numbers }
    }
}

fn objects(
    kernels: &[Kernel],
    target: &Target,
    level: &IsaLevel,
    backend: Backend,
) -> Result<Vec<Vec<u8>>, Diagnostic> {
    match backend {
        _ if kernels.is_empty() => Ok(Vec::new()),
        Backend::Llvm => llvm::objects(kernels, target, level),
        Backend::Cranelift => Ok(vec![cranelift::object(kernels, target, level)?]),
    }
}

mod cranelift {
    use super::*;
    use drupe_cranelift::{Kind, Machine};

    pub(super) fn object(kernels: &[Kernel], target: &Target, level: &IsaLevel) -> Result<Vec<u8>, Diagnostic> {
        write(kernels, &Machine::for_images(target, level), Kind::Object)
    }

    pub(super) fn form(
        kernels: &[Kernel],
        target: &Target,
        level: &IsaLevel,
        form: CodeForm,
    ) -> Result<Vec<u8>, Diagnostic> {
        let kind = match form {
            CodeForm::Object => Kind::Object,
            CodeForm::Assembly => Kind::Assembly,
            CodeForm::Mlir => {
                return Err(Diagnostic::new("backend", "the Cranelift backend writes no MLIR")
                    .help("--emit asm, or --backend llvm"));
            }
        };
        write(kernels, &Machine::for_objects(target, level), kind)
    }

    fn write(kernels: &[Kernel], machine: &Machine, kind: Kind) -> Result<Vec<u8>, Diagnostic> {
        drupe_cranelift::emit(kernels, machine, kind).map_err(|error| Diagnostic::new("cranelift", error))
    }
}

#[cfg(feature = "llvm")]
mod llvm {
    use super::*;
    use drupe_llvm::{Kind, Machine};

    pub(super) fn objects(kernels: &[Kernel], target: &Target, level: &IsaLevel) -> Result<Vec<Vec<u8>>, Diagnostic> {
        drupe_llvm::emit(kernels, &Machine::for_images(target, level), Kind::Object)
            .map_err(|error| Diagnostic::new("llvm", error))
    }

    pub(super) fn form(
        kernels: &[Kernel],
        target: &Target,
        level: &IsaLevel,
        form: CodeForm,
    ) -> Result<Vec<u8>, Diagnostic> {
        let kind = match form {
            CodeForm::Object => Kind::Object,
            CodeForm::Mlir => Kind::Mlir,
            CodeForm::Assembly => Kind::Assembly,
        };
        drupe_llvm::emit_module(kernels, &Machine::for_objects(target, level), kind)
            .map_err(|error| Diagnostic::new("llvm", error))
    }
}

#[cfg(not(feature = "llvm"))]
mod llvm {
    use super::*;

    pub(super) fn objects(_: &[Kernel], _: &Target, _: &IsaLevel) -> Result<Vec<Vec<u8>>, Diagnostic> {
        Backend::find("llvm").map(|_| Vec::new())
    }

    pub(super) fn form(_: &[Kernel], _: &Target, _: &IsaLevel, _: CodeForm) -> Result<Vec<u8>, Diagnostic> {
        Backend::find("llvm").map(|_| Vec::new())
    }
}
