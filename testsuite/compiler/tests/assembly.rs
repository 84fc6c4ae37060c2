//! What matters of emitted code: an inner loop does its multiply-adds in registers, and nothing else that costs.
//!
//! Raw assembly changes with every version of LLVM; these counts must not. That the code is right is for the
//! `compile` filetests to say, and for the emulator.
#![cfg(feature = "llvm")]

use drupe::stages::{self, CodeForm};
use drupe::{Backend, CompileOptions};
use drupe_ir::parse;
use drupe_kernel::{Block, Inst, Kernel, Type};
use drupe_target::Target;

/// What the rows of a quantised product are scaled by.
#[derive(Clone, Copy)]
enum RowScales {
    /// Each by its own.
    Own,
    /// All by one number, which is known.
    Same,
}

/// The assembly of a quantised product of `rows` rows, for `level` of a phone: 8 bits, one scale a row.
fn quantized(rows: i64, level: &str, scales: RowScales) -> String {
    let (input, scale) = match scales {
        RowScales::Own => (format!(", %xs: f32[{rows}, 1]"), String::new()),
        RowScales::Same => (String::new(), format!("%xs = splat() value=0.5 : f32[{rows}, 1]")),
    };
    let text = format!(
        "const @w = random seed=1 : i8[256, 128]
        const @s = random seed=2 : f32[256, 1]
        func @quantized(%x: i8[{rows}, 128]{input}) {{
          {scale}
          %w = const @w : i8[256, 128]
          %s = const @s : f32[256, 1]
          %y = quantized_linear(%x, %xs, %w, %s)
          return \"y\" %y
        }}"
    );
    let module = parse(&text, "quantized").expect("a valid module");
    let target = Target::find("pixel-8").expect("a built-in target").with_level(level).expect("a level");
    let options = CompileOptions { backend: Backend::Llvm, target, ..CompileOptions::default() };
    let program = stages::lower(&module, &options).expect("a product is lowered");
    let assembly = stages::emit_form(&program, &options, 0, CodeForm::Assembly).expect("assembly");
    String::from_utf8(assembly).expect("assembly is text")
}

/// Checks that the hottest loop has at least `least` times `instruction` and moves no vector to or from the stack.
fn check_quantized(rows: i64, level: &str, scales: RowScales, instruction: &str, least: usize) {
    let hottest = hottest_loop(&quantized(rows, level, scales), instruction);
    let found = hottest.iter().filter(|line| line.starts_with(instruction)).count();
    assert!(found >= least, "{found} times {instruction} in the hottest loop:\n{}", hottest.join("\n"));
    let vector = |line: &&String| line.contains("[sp") && line.split_whitespace().any(|word| word.starts_with('q'));
    let spills: Vec<&String> = hottest.iter().filter(vector).collect();
    assert!(spills.is_empty(), "the loop moves vectors to the stack, {spills:?}:\n{}", hottest.join("\n"));
}

/// The kernel of a product of 96 rows by 256 columns, for the best level of `target`, and its assembly.
fn gemm(target: &str) -> (Kernel, String) {
    let text = "func @gemm(%x: f32[96, 128]) {
      %w = const @w : f32[128, 256]
      %y = matmul(%x, %w) : f32[96, 256]
      return \"y\" %y
    }";
    let module = parse(text, "gemm").expect("a valid module");
    let target = Target::find(target).expect("a built-in target");
    let options = CompileOptions { backend: Backend::Llvm, target, ..CompileOptions::default() };
    let program = stages::lower(&module, &options).expect("a matrix product is lowered");
    let [kernel] = program.kernels.as_slice() else { panic!("one kernel expected:\n{program}") };
    let assembly = stages::emit_form(&program, &options, 0, CodeForm::Assembly).expect("assembly");
    (kernel.levels[0].clone(), String::from_utf8(assembly).expect("assembly is text"))
}

/// The most multiply-adds of vectors in one innermost loop of `block`, and their type.
fn multiply_adds(kernel: &Kernel, block: &Block) -> Option<(usize, Type)> {
    let mut best = None;
    for inst in &block.insts {
        let found = match inst {
            Inst::For(inner) => multiply_adds(kernel, &inner.body).or_else(|| {
                let fma = |inst: &Inst| if let Inst::Fma { out, .. } = inst { Some(kernel.ty(*out)) } else { None };
                let all: Vec<Type> = inner.body.insts.iter().filter_map(fma).collect();
                all.first().map(|ty| (all.len(), *ty))
            }),
            Inst::If { then, otherwise, .. } => multiply_adds(kernel, then).max(multiply_adds(kernel, otherwise)),
            _ => None,
        };
        best = best.max(found);
    }
    best
}

/// The innermost loop (from a label to the jump back to it) that has most lines with `instruction`.
fn hottest_loop(assembly: &str, instruction: &str) -> Vec<String> {
    let lines: Vec<&str> = assembly.lines().map(|line| line.split("//").next().unwrap_or(line).trim()).collect();
    let (mut best, mut most) = (Vec::new(), 0);
    for (start, line) in lines.iter().enumerate() {
        let Some(label) = line.split_once(':').map(|(label, _)| label).filter(|label| label.contains("LBB")) else {
            continue;
        };
        let next_label = lines[start + 1..].iter().position(|line| line.contains("LBB") && line.contains(':'));
        let end = next_label.map_or(lines.len(), |length| start + 1 + length);
        let jumps_back = |line: &&&str| line.split_whitespace().last() == Some(label) && !line.ends_with(':');
        if lines[start + 1..end].iter().find(jumps_back).is_none() {
            continue;
        }
        let body: Vec<String> = lines[start + 1..end].iter().map(|line| line.to_string()).collect();
        let count = body.iter().filter(|line| line.starts_with(instruction)).count();
        if count > most {
            (best, most) = (body, count);
        }
    }
    best
}

/// Checks that the hottest loop has one `instruction` for each `bits` of the kernel's multiply-adds, and touches the
/// stack (`stack`) nowhere.
fn check(target: &str, instruction: &str, bits: u32, stack: &str) {
    let (kernel, assembly) = gemm(target);
    let (count, ty) = multiply_adds(&kernel, &kernel.body).expect("a loop of multiply-adds");
    let expected = count * (32 * u32::from(ty.lanes) / bits).max(1) as usize;
    let hottest = hottest_loop(&assembly, instruction);
    let found = hottest.iter().filter(|line| line.starts_with(instruction)).count();
    assert!(expected >= 8, "a tile of {expected} accumulators is too small:\n{kernel}");
    assert_eq!(found, expected, "{instruction} in the hottest loop:\n{}", hottest.join("\n"));
    let spills: Vec<&String> = hottest.iter().filter(|line| line.contains(stack)).collect();
    assert!(spills.is_empty(), "the loop touches the stack, {spills:?}:\n{}", hottest.join("\n"));
}

#[test]
fn a_gemm_tile_of_aarch64_is_fmla_in_registers() {
    check("pixel-8", "fmla", 128, "[sp");
}

#[test]
fn a_gemm_tile_of_x86_64_is_fmadd_in_registers() {
    check("x86-64", "vfmadd", 512, "(%rsp");
}

#[test]
fn quantised_products_of_many_rows_are_smmla_in_registers() {
    check_quantized(96, "i8mm", RowScales::Own, "smmla", 16);
    check_quantized(96, "dotprod", RowScales::Own, "sdot", 16);
    check_quantized(96, "dotprod", RowScales::Same, "sdot", 16);
}

#[test]
fn quantised_products_of_one_row_are_sdot_in_registers() {
    check_quantized(1, "i8mm", RowScales::Own, "sdot", 4);
    check_quantized(1, "dotprod", RowScales::Own, "sdot", 4);
    check_quantized(1, "dotprod", RowScales::Same, "sdot", 4);
}
