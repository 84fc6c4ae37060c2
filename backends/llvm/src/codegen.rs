//! LLVM IR to optimised IR, assembly or an object: the room where LLVM's C interface is spoken.

use crate::{Kind, Machine, Stage};
use llvm_sys::core::*;
use llvm_sys::error::{LLVMDisposeErrorMessage, LLVMGetErrorMessage};
use llvm_sys::prelude::*;
use llvm_sys::target::*;
use llvm_sys::target_machine::*;
use llvm_sys::transforms::pass_builder::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Once;

/// What pays for code that has been scheduled already: no vectoriser, no unrolling, no inlining.
const PASSES: &CStr = c"function(sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,\
    loop-mssa(loop-rotate,licm),early-cse,simplifycfg)";

type Failure = (Stage, String);

/// An LLVM context; its modules live no longer than it.
pub(crate) struct LlvmContext {
    raw: LLVMContextRef,
}

impl LlvmContext {
    /// A module translated from an MLIR module of the LLVM dialect; `None` where MLIR says why not.
    pub(crate) fn import(&self, module: mlir_sys::MlirOperation) -> Option<LlvmModule<'_>> {
        // Safety: both handles are alive. mlir-sys and llvm-sys declare the same C types under their own names,
        // hence the casts; the module that comes back is ours to dispose of.
        let raw = unsafe { mlir_sys::mlirTranslateModuleToLLVMIR(module, self.raw.cast()) };
        (!raw.is_null()).then_some(LlvmModule { raw: raw.cast(), context: PhantomData })
    }
}

/// A module of LLVM IR.
pub(crate) struct LlvmModule<'c> {
    raw: LLVMModuleRef,
    context: PhantomData<&'c LlvmContext>,
}

impl Drop for LlvmModule<'_> {
    fn drop(&mut self) {
        // Safety: created by `import`, disposed of once, before its context.
        unsafe { LLVMDisposeModule(self.raw) }
    }
}

/// Runs `work` with a fresh context. What LLVM says while it works becomes part of the error.
pub(crate) fn with_context<R>(work: impl FnOnce(&LlvmContext) -> Result<R, Failure>) -> Result<R, Failure> {
    let mut errors: Vec<String> = Vec::new();
    // Safety: `errors` outlives the context, which is disposed of here, after its modules.
    let result = unsafe {
        let context = LlvmContext { raw: LLVMContextCreate() };
        LLVMContextSetDiagnosticHandler(context.raw, Some(hear), (&raw mut errors).cast());
        let result = work(&context);
        LLVMContextDispose(context.raw);
        result
    };
    match (result, errors.is_empty()) {
        (Ok(result), true) => Ok(result),
        (Ok(_), false) => Err((Stage::Emit, errors.join("; "))),
        (Err((stage, message)), _) => {
            errors.insert(0, message);
            Err((stage, errors.join("; ")))
        }
    }
}

/// Notes errors in the `Vec<String>` that `heard` points to.
extern "C" fn hear(diagnostic: LLVMDiagnosticInfoRef, heard: *mut c_void) {
    // Safety: LLVM calls this with its live diagnostic and the pointer that `with_context` gave, on the thread
    // that works in the context.
    unsafe {
        if LLVMGetDiagInfoSeverity(diagnostic) as i32 == llvm_sys::LLVMDiagnosticSeverity::LLVMDSError as i32 {
            let text = take_message(LLVMGetDiagInfoDescription(diagnostic));
            (*heard.cast::<Vec<String>>()).push(text);
        }
    }
}

/// Optimises `module` for `machine` and writes it as `kind` (not MLIR).
pub(crate) fn write(module: LlvmModule, machine: &Machine, kind: Kind) -> Result<Vec<u8>, Failure> {
    let target = TargetMachine::new(machine)?;
    target.prepare(&module);
    target.optimise(&module)?;
    match kind {
        // Safety: the module is alive; the string is LLVM's to free, which `take_message` does.
        Kind::Mlir | Kind::LlvmIr => Ok(unsafe { take_message(LLVMPrintModuleToString(module.raw)) }.into_bytes()),
        Kind::Assembly => target.emit(&module, LLVMCodeGenFileType::LLVMAssemblyFile),
        Kind::Object => target.emit(&module, LLVMCodeGenFileType::LLVMObjectFile),
    }
}

struct TargetMachine {
    raw: LLVMTargetMachineRef,
}

impl Drop for TargetMachine {
    fn drop(&mut self) {
        // Safety: created by `new`, disposed of once.
        unsafe { LLVMDisposeTargetMachine(self.raw) }
    }
}

impl TargetMachine {
    fn new(machine: &Machine) -> Result<TargetMachine, Failure> {
        initialise();
        let string = |text: &str| CString::new(text).map_err(|error| (Stage::Target, error.to_string()));
        let (triple, cpu, features) = (string(&machine.triple)?, string(&machine.cpu)?, string(&machine.features)?);
        // Safety: the strings outlive the calls; targets belong to LLVM's registry.
        let raw = unsafe {
            let mut target = ptr::null_mut();
            let mut message: *mut c_char = ptr::null_mut();
            if LLVMGetTargetFromTriple(triple.as_ptr(), &mut target, &mut message) != 0 {
                return Err((Stage::Target, take_message(message)));
            }
            LLVMCreateTargetMachine(
                target,
                triple.as_ptr(),
                cpu.as_ptr(),
                features.as_ptr(),
                LLVMCodeGenOptLevel::LLVMCodeGenLevelAggressive,
                LLVMRelocMode::LLVMRelocPIC,
                LLVMCodeModel::LLVMCodeModelSmall,
            )
        };
        if raw.is_null() {
            return Err((Stage::Target, format!("no code generator for {}", machine.triple)));
        }
        Ok(TargetMachine { raw })
    }

    /// Tells `module` what it is for.
    fn prepare(&self, module: &LlvmModule) {
        // Safety: all handles are alive; the triple and the layout are freed after LLVM has copied them.
        unsafe {
            let triple = LLVMGetTargetMachineTriple(self.raw);
            LLVMSetTarget(module.raw, triple);
            LLVMDisposeMessage(triple);
            let layout = LLVMCreateTargetDataLayout(self.raw);
            LLVMSetModuleDataLayout(module.raw, layout);
            LLVMDisposeTargetData(layout);
        }
    }

    fn optimise(&self, module: &LlvmModule) -> Result<(), Failure> {
        // Safety: all handles are alive; the options and the error's message are disposed of once.
        unsafe {
            let options = LLVMCreatePassBuilderOptions();
            let error = LLVMRunPasses(module.raw, PASSES.as_ptr(), self.raw, options);
            LLVMDisposePassBuilderOptions(options);
            if error.is_null() {
                return Ok(());
            }
            let message = LLVMGetErrorMessage(error);
            let text = CStr::from_ptr(message).to_string_lossy().into_owned();
            LLVMDisposeErrorMessage(message);
            Err((Stage::Optimise, text))
        }
    }

    fn emit(&self, module: &LlvmModule, file: LLVMCodeGenFileType) -> Result<Vec<u8>, Failure> {
        // Safety: all handles are alive; the buffer is copied before it is disposed of.
        unsafe {
            let mut message: *mut c_char = ptr::null_mut();
            let mut buffer: LLVMMemoryBufferRef = ptr::null_mut();
            if LLVMTargetMachineEmitToMemoryBuffer(self.raw, module.raw, file, &mut message, &mut buffer) != 0 {
                return Err((Stage::Emit, take_message(message)));
            }
            let (start, size) = (LLVMGetBufferStart(buffer).cast::<u8>(), LLVMGetBufferSize(buffer));
            let bytes = std::slice::from_raw_parts(start, size).to_vec();
            LLVMDisposeMemoryBuffer(buffer);
            Ok(bytes)
        }
    }
}

/// Registers the targets we write code for, once.
fn initialise() {
    static ONCE: Once = Once::new();
    // Safety: these fill LLVM's global registry; `Once` keeps two threads from doing so together.
    ONCE.call_once(|| unsafe {
        LLVMInitializeX86TargetInfo();
        LLVMInitializeX86Target();
        LLVMInitializeX86TargetMC();
        LLVMInitializeX86AsmPrinter();
        LLVMInitializeAArch64TargetInfo();
        LLVMInitializeAArch64Target();
        LLVMInitializeAArch64TargetMC();
        LLVMInitializeAArch64AsmPrinter();
    });
}

/// The text of a string that LLVM allocated, which is freed.
///
/// # Safety
/// `message` is null or a NUL-terminated string from LLVM that nobody uses afterwards.
unsafe fn take_message(message: *mut c_char) -> String {
    if message.is_null() {
        return String::new();
    }
    // Safety: as the caller promises.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        LLVMDisposeMessage(message);
        text
    }
}
