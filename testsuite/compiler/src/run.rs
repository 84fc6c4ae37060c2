//! Artifacts, run by the runtime.

use crate::Tensors;
use drupe::{Backend, CompileOptions};
use drupe_conformance::run_session;
use drupe_runtime::{LoadOptions, Options, Program, Session};
use drupe_target::Target;

/// The ways to compile: each backend (or the one in `DRUPE_TEST_BACKEND`), rewritten for every level of this machine,
/// and as it is for the best.
pub fn ways() -> Vec<CompileOptions> {
    let all = Target::host();
    let best = all.with_level(&all.best_level().name).expect("a target has its best level");
    let both = [(true, all), (false, best)];
    let of = |backend| both.clone().map(|(rewrite, target)| (backend, rewrite, target));
    let way = |(backend, rewrite, target)| CompileOptions { backend, rewrite, target, ..CompileOptions::default() };
    backends().flat_map(of).map(way).collect()
}

/// Each backend, or the one in `DRUPE_TEST_BACKEND`.
pub fn backends() -> impl Iterator<Item = Backend> {
    let only = std::env::var("DRUPE_TEST_BACKEND").ok();
    let wanted = move |backend: &Backend| only.as_ref().is_none_or(|only| only == backend.name());
    Backend::AVAILABLE.iter().copied().filter(wanted)
}

/// The outputs of `artifact` on `inputs`, by the code of level `level` (the best, if none is named) and `threads`
/// threads.
pub fn outputs(artifact: &[u8], level: Option<&str>, threads: usize, inputs: &Tensors) -> Result<Tensors, String> {
    let how = LoadOptions { level: level.map(str::to_owned), ..LoadOptions::default() };
    let program = Program::from_bytes(artifact, &how).map_err(|error| error.to_string())?;
    let options = Options { threads, ..Options::default() };
    let mut session = Session::new(&program, options).map_err(|error| error.to_string())?;
    run_session(&mut session, inputs).map_err(|error| error.to_string())
}
