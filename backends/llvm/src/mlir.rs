//! MLIR text to a module of LLVM IR.

use crate::Stage;
use crate::codegen::{LlvmContext, LlvmModule};
use melior::Context;
use melior::diagnostic::Diagnostic;
use melior::dialect::DialectRegistry;
use melior::ir::Module;
use melior::pass::{PassManager, conversion};
use melior::utility::{register_all_dialects, register_all_llvm_translations};
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// Making a context costs as much as compiling a kernel: each thread keeps one.
    static CONTEXT: Mlir = Mlir::new();
}

struct Mlir {
    context: Context,
    /// What MLIR complained about since the last look.
    complaints: Rc<RefCell<String>>,
}

impl Mlir {
    fn new() -> Mlir {
        let registry = DialectRegistry::new();
        // Also registers what the conversions attach to dialects.
        register_all_dialects(&registry);
        let context = Context::new_with_registry(&registry, false);
        register_all_llvm_translations(&context);
        let complaints = Rc::new(RefCell::new(String::new()));
        let heard = complaints.clone();
        context.attach_diagnostic_handler(move |diagnostic: Diagnostic| {
            let mut heard = heard.borrow_mut();
            if !heard.is_empty() {
                heard.push_str("; ");
            }
            heard.push_str(&format!("{}: {diagnostic}", diagnostic.location()));
            true
        });
        Mlir { context, complaints }
    }
}

/// Parses `text`, lowers it and makes LLVM IR of it in `context`.
pub(crate) fn translate<'c>(text: &str, context: &'c LlvmContext) -> Result<LlvmModule<'c>, (Stage, String)> {
    CONTEXT.with(|mlir| {
        let failed = |stage: Stage| (stage, std::mem::take(&mut *mlir.complaints.borrow_mut()));
        let mut module = Module::parse(&mlir.context, text).ok_or_else(|| failed(Stage::Parse))?;
        lower(&mlir.context, &mut module).map_err(|_| failed(Stage::Lower))?;
        context.import(module.as_operation().to_raw()).ok_or_else(|| failed(Stage::Translate))
    })
}

/// Everything to the LLVM dialect. LLVM itself simplifies better and faster, so nothing else runs here.
fn lower(context: &Context, module: &mut Module) -> Result<(), melior::Error> {
    let passes = PassManager::new(context);
    passes.enable_verifier(false);
    passes.add_pass(conversion::create_scf_to_control_flow());
    passes.add_pass(conversion::create_vector_to_llvm());
    passes.add_pass(conversion::create_arith_to_llvm());
    passes.add_pass(conversion::create_control_flow_to_llvm());
    passes.add_pass(conversion::create_reconcile_unrealized_casts());
    passes.run(module)
}
