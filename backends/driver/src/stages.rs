//! The stages of a compilation, each a function from one representation to the next.

use crate::emit::Kernels;
pub use crate::emit::{CodeForm, EmittedCode, LevelCode, ShaderCode};

use crate::{Assets, CompileOptions, QuantizeReport, WebModel, emit, plan, quantize, self_test, web};
use drupe_entries::{ChunkEstimate, Entry};
use drupe_format::Plan;
use drupe_format::plan::Code;
use drupe_ir::{DType, Diagnostic, Module};
use drupe_lower::{Placement, Program};
use drupe_target::{Arch, Os, Target};
use std::borrow::Cow;
use std::path::Path;

/// Reads the model at `path`: `.onnx`, a folder with `config.json` and safetensors, `.gguf`, or `.ir` for textual IR.
pub fn import(path: &Path, options: &CompileOptions) -> Result<Module, Diagnostic> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let stored = options.quantize.is_some_and(|scheme| scheme.stored);
    let language = drupe_language::Options { context: options.context, stored };
    options.watch.stage("import", || match extension.as_deref() {
        _ if path.is_dir() => drupe_safetensors::import(path, &language),
        Some("onnx") => {
            let (shapes, values) = (options.shapes.clone(), options.values.clone());
            drupe_onnx::import(path, &drupe_onnx::Options { shapes, values })
        }
        Some("gguf") => drupe_gguf::import(path, &language),
        Some("ir") => import_text(path),
        _ => Err(Diagnostic::new("file", format!("{}: not a model", path.display()))
            .help("drupe compiles .onnx files, .gguf files, folders of safetensors and .ir files (textual IR)")),
    })
}

/// Stores the weights of linear layers in fewer bits, and computes with them in integers, and stores states in fewer
/// bits, if the options say so.
pub fn quantize(module: &Module, options: &CompileOptions) -> Result<Module, Diagnostic> {
    Ok(quantize_with_report(module, options)?.0)
}

/// [`quantize`], and what was done to which layers.
pub fn quantize_with_report(module: &Module, options: &CompileOptions) -> Result<(Module, QuantizeReport), Diagnostic> {
    options.watch.stage("quantise", || {
        let (module, report) = quantize::quantize(module, options)?;
        match options.cache {
            Some(dtype) if dtype != DType::F32 => Ok((drupe_quantize::narrow_states(&module, dtype)?, report)),
            _ => Ok((module, report)),
        }
    })
}

/// What comes with the language model at `path`, for `CompileOptions::assets`: the files of its folder that its tokens
/// and templates are in, or the same made from the metadata of a GGUF file; nothing for other models.
pub fn assets(path: &Path) -> Result<Assets, Diagnostic> {
    crate::assets::assets(path)
}

/// Adds the [`assets`] of the model at `path` that `options` do not have by name.
pub fn add_assets(options: &mut CompileOptions, path: &Path) -> Result<(), Diagnostic> {
    for (name, contents) in assets(path)? {
        if options.assets.iter().all(|(known, _)| *known != name) {
            options.assets.push((name, contents));
        }
    }
    Ok(())
}

/// The programs that `module` is compiled to: one, or for a language model several (see `drupe-entries`).
pub fn split(module: &Module, options: &CompileOptions) -> Result<Vec<Entry>, Diagnostic> {
    options.watch.stage("split", || {
        let asked = !options.chunks.is_empty();
        let estimates = if asked { Vec::new() } else { estimate_chunks(module, options)? };
        let chunks = choose_chunks(&estimates, options);
        drupe_entries::split(module, &drupe_entries::Options { chunks, score: options.score })
    })
}

/// The lengths of chunks that `options` ask for, or those that are the fastest by estimate; but one where there is a plan
/// for a GPU, which would have as many shaders more to prepare at every start.
pub fn choose_chunks(estimates: &[ChunkEstimate], options: &CompileOptions) -> Vec<u64> {
    if !options.chunks.is_empty() {
        return options.chunks.clone();
    }
    let mut chosen = drupe_entries::choose_chunks(estimates);
    if options.gpu.is_some() || options.target.os == Os::Browser {
        chosen.truncate(1);
    }
    chosen
}

/// What a language model's prompts are expected to take by the length of chunks; nothing for other models.
pub fn estimate_chunks(module: &Module, options: &CompileOptions) -> Result<Vec<ChunkEstimate>, Diagnostic> {
    drupe_entries::estimate_chunks(module, &target(options))
}

/// [`rewrite`] for every entry.
pub fn rewrite_all(entries: Vec<Entry>, options: &CompileOptions) -> Result<Vec<Entry>, Diagnostic> {
    let rewritten = |entry: Entry| Ok(Entry { module: rewrite(&entry.module, options)?, ..entry });
    entries.into_iter().map(rewritten).collect()
}

/// Makes the graph cheaper without changing what it computes.
pub fn rewrite(module: &Module, options: &CompileOptions) -> Result<Module, Diagnostic> {
    if !options.rewrite {
        return Ok(module.clone());
    }
    options.watch.stage("rewrite", || Ok(drupe_rewrite::rewrite(module, &target(options), &Default::default())?.0))
}

/// Fuses, places and schedules, for the CPU.
pub fn lower(module: &Module, options: &CompileOptions) -> Result<Program, Diagnostic> {
    let how = drupe_lower::Options { observe: options.observe, gpu: None };
    options.watch.stage("lower", || drupe_lower::lower(module, &target(options), &how))
}

/// Every entry's program for the CPU and then, if the GPU's are asked for, every entry's for that.
pub fn lower_for_all(entries: &[Entry], options: &CompileOptions) -> Result<Vec<Program>, Diagnostic> {
    let named = |entry: &Entry, program| Program { entry: entry.name.as_str().into(), ..program };
    let for_cpu = |entry: &Entry| Ok(named(entry, lower(&entry.module, options)?));
    let mut programs: Vec<Program> = entries.iter().map(for_cpu).collect::<Result<_, Diagnostic>>()?;
    if let Some(placement) = options.gpu {
        let target = target(options);
        if target.gpu.is_none() {
            return Err(Diagnostic::new("target", format!("{} has no GPU", target.name))
                .help("compile for its CPU, or describe a GPU in a section [gpu] of a target file"));
        }
        let how = drupe_lower::Options { observe: options.observe, gpu: Some(placement) };
        for entry in entries {
            let program = options.watch.stage("lower for the GPU", || {
                drupe_lower::lower(&*with_gpu_floats(&entry.module, options)?, &target, &how)
            })?;
            programs.push(named(entry, program));
        }
    }
    Ok(programs)
}

/// `module` with its floats in the type in which the GPU's plan stores them.
fn with_gpu_floats<'a>(module: &'a Module, options: &CompileOptions) -> Result<Cow<'a, Module>, Diagnostic> {
    match options.stored_floats() {
        DType::F16 => drupe_quantize::halve_floats(module).map(Cow::Owned),
        _ => Ok(Cow::Borrowed(module)),
    }
}

/// Every entry's program for a browser, which has a GPU only. Inputs of i64 become inputs of i32.
pub fn lower_for_web(entries: &[Entry], options: &CompileOptions) -> Result<Vec<Program>, Diagnostic> {
    entries.iter().map(|entry| lower_entry_for_web(entry, options)).collect()
}

fn lower_entry_for_web(entry: &Entry, options: &CompileOptions) -> Result<Program, Diagnostic> {
    web::check_shapes(&entry.module)?;
    let how = drupe_lower::Options { observe: options.observe, gpu: Some(Placement::Gpu) };
    options.watch.stage("lower", || {
        let module = web::narrow_integers(&*with_gpu_floats(&entry.module, options)?)?;
        let program = drupe_lower::lower(&module, &target(options), &how)?;
        if program.states.len() != module.states.len() && !options.observe {
            // A step that touches one is no shader's.
            web::check_steps(&program, &options.target)?;
            return Err(Diagnostic::new("webgpu", "the states cannot stay in the GPU's memory"));
        }
        Ok(Program { entry: entry.name.clone(), ..program })
    })
}

/// The folder for browsers of `programs`, the entries of a model, which are lowered for one.
pub fn write_for_web(programs: &[Program], options: &CompileOptions) -> Result<WebModel, Diagnostic> {
    programs.iter().try_for_each(|program| web::check_steps(program, &options.target))?;
    let shaders: Vec<Vec<ShaderCode>> =
        programs.iter().map(|program| emit_shaders(program, options)).collect::<Result<_, _>>()?;
    options.watch.stage("write", || web::write(programs, &shaders, &options.assets, &options.target))
}

/// Turns the kernels of `programs` into machine code, for every level of the target, and their shaders into what GPUs
/// take, with tests.
pub fn emit(programs: &[&Program], options: &CompileOptions) -> Result<EmittedCode, Diagnostic> {
    let mut code = options.watch.stage("emit", || emit::emit(programs, options))?;
    if code.shaders.iter().any(|shaders| !shaders.is_empty()) {
        options.watch.stage("self-tests", || {
            programs.iter().zip(&mut code.shaders).for_each(|(program, shaders)| self_test::add(program, shaders));
        });
    }
    Ok(code)
}

/// The shaders of `program`, which is lowered for a GPU.
pub fn emit_shaders(program: &Program, options: &CompileOptions) -> Result<Vec<ShaderCode>, Diagnostic> {
    options.watch.stage("emit", || crate::shaders::emit(program, &target(options)))
}

/// The kernels of the target's level number `level` as one file to look at or to link.
pub fn emit_form(
    program: &Program,
    options: &CompileOptions,
    level: usize,
    form: CodeForm,
) -> Result<Vec<u8>, Diagnostic> {
    options.watch.stage("emit", || emit::emit_form(program, options, level, form))
}

/// Links and plans, and gives the artifact's bytes. `code` is that of `programs`, which are in the order of
/// [`lower_for_all`].
pub fn write(programs: &[&Program], code: &EmittedCode, options: &CompileOptions) -> Result<Vec<u8>, Diagnostic> {
    options.watch.stage("write", || {
        let (mut rows, mut images) = (Vec::new(), Vec::new());
        for (number, level) in code.levels.iter().enumerate() {
            let kernels = Kernels::of(programs, number);
            if kernels.numbers.is_empty() {
                // Programs of views and builtins have no code.
                continue;
            }
            let names: Vec<String> = kernels.distinct.into_iter().map(|kernel| kernel.name).collect();
            let objects: Vec<&[u8]> = level.objects.iter().map(Vec::as_slice).collect();
            let image = drupe_link::link(&objects, &names).map_err(|error| Diagnostic::new("link", error))?;
            rows.push(Code {
                level: level.level.name.clone(),
                arch: arch(options.target.arch).into(),
                features: level.level.features.iter().filter_map(|name| Some(name.strip_prefix('+')?.into())).collect(),
                entries: kernels.numbers.iter().map(|number| image.entries[*number]).collect(),
            });
            images.push(image.bytes);
        }
        let planned = plan::plan(programs, &rows, &code.shaders, &options.assets, &options.target)?;
        let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
        let (for_devices, for_cpu): (Vec<&Plan>, Vec<&Plan>) =
            planned.plans.iter().partition(|plan| plan.device.is_some());
        let [first, entries @ ..] = for_cpu.as_slice() else {
            return Err(Diagnostic::new("internal", "there is no program to write"));
        };
        let parts = drupe_format::Parts {
            constants: &planned.constants,
            code: &images,
            entries,
            device_plans: &for_devices,
            shaders: &planned.shaders,
            assets: &planned.assets,
            ..drupe_format::Parts::of(first)
        };
        drupe_format::write(&parts).map_err(|error| Diagnostic::new("plan", error))
    })
}

/// The target with the levels that the backend makes code for.
pub fn target(options: &CompileOptions) -> Target {
    emit::backend_target(options)
}

/// As `std::env::consts::ARCH` names it.
fn arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "aarch64",
        Arch::Wasm32 => "wasm32",
    }
}

fn import_text(path: &Path) -> Result<Module, Diagnostic> {
    let fail = |error: std::io::Error| Diagnostic::new("file", format!("{}: {error}", path.display()));
    drupe_ir::parse(&std::fs::read_to_string(path).map_err(fail)?, &path.display().to_string())
}
