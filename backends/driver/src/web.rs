//! Models as folders that a browser runs: `model.json` and `model.bin` for `drupe.js`, which lies beside, and with a
//! language model what its page needs.
//!
//! docs/gpu.md has the format. Every entry is a device plan of which only the shaders' steps are left: the page writes the
//! inputs and reads the outputs itself. Entries share constants, shaders, states and the arena.

mod checks;
mod entry;
mod narrow;

pub(crate) use checks::{check_has_code, check_shapes, check_steps};
pub(crate) use narrow::narrow_integers;

use crate::options::Assets;
use crate::plan;
use crate::shaders::ShaderCode;
use checks::{check_state, too_wide};
use drupe_ir::Diagnostic;
use drupe_lower::Program;
use drupe_target::Target;
use entry::{Entry, StateShape};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The version of `model.json` that `drupe.js` reads.
const VERSION: u32 = 2;

/// The files of every folder.
const PAGE: [(&str, &[u8]); 2] =
    [("drupe.js", include_bytes!("../web/drupe.js")), ("index.html", include_bytes!("../web/index.html"))];

/// Those of a language model's besides.
const LANGUAGE_PAGE: [(&str, &[u8]); 3] = [
    ("language.js", include_bytes!("../web/language.js")),
    ("sampling.js", include_bytes!("../web/sampling.js")),
    ("language-page.js", include_bytes!("../web/language-page.js")),
];

/// What a folder for browsers has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebModel {
    /// `model.json`: the plan, with the shaders' texts.
    pub plan: String,
    /// `model.bin`: the constants.
    pub constants: Vec<u8>,
    /// Files that come with the model: a tokenizer, say.
    pub assets: Assets,
    /// Whether it is a language model: it has states, and entries `decode` and `prefill`.
    pub is_language_model: bool,
}

impl WebModel {
    /// The folder's files: names and contents.
    pub fn files(&self) -> Vec<(&str, &[u8])> {
        let mut files: Vec<(&str, &[u8])> = vec![("model.json", self.plan.as_bytes()), ("model.bin", &self.constants)];
        files.extend(PAGE);
        if self.is_language_model {
            files.extend(LANGUAGE_PAGE);
        }
        files.extend(self.assets.iter().map(|(name, contents)| (name.as_str(), contents.as_ref())));
        files
    }
}

/// The folder of `programs`, the entries of a model, which are lowered for the GPU alone; `shaders` are those of each.
/// `assets` come with the model.
pub(crate) fn write(
    programs: &[Program],
    shaders: &[Vec<ShaderCode>],
    assets: &Assets,
    target: &Target,
) -> Result<WebModel, Diagnostic> {
    let gpu = target.gpu.as_ref().ok_or_else(|| internal("the target has no GPU".into()))?;
    let (plans, constants) = plan::plan_for_gpu(programs)?;
    let entries: Vec<Entry> = plans.iter().map(Entry::new).collect::<Result<_, _>>()?;
    let states = states(&entries, target)?;
    let state_bytes: Vec<i64> = states.iter().map(|(_, state)| state.bytes()).collect();
    let mut features: BTreeSet<&str> = BTreeSet::new();
    let mut texts = Texts::default();
    let (mut storage_buffers, mut workgroup_bytes) = (0, 0);
    let mut described = Vec::new();
    for ((program, shaders), entry) in programs.iter().zip(shaders).zip(&entries) {
        let mut numbers = Vec::new();
        for (number, code) in shaders.iter().enumerate() {
            let shader = &code.variants[0];
            let wgsl = shader.wgsl.as_ref().ok_or_else(|| too_wide(program, number))?;
            numbers.push(texts.number(&program.entry, shader, wgsl));
            let needs = [(shader.needs.f16, "shader-f16"), (shader.needs.subgroups, "subgroups")];
            features.extend(needs.into_iter().filter_map(|(needed, name)| needed.then_some(name)));
        }
        let needs = crate::shaders::needs(program, shaders, target, gpu);
        storage_buffers = storage_buffers.max(needs.storage_buffers);
        workgroup_bytes = workgroup_bytes.max(needs.workgroup_bytes);
        described.push(entry.json(&numbers, &state_bytes)?);
    }
    let first = plans.first().ok_or_else(|| internal("there is no program".into()))?;
    let mut document = json!({
        "version": VERSION,
        "producer": first.producer,
        "model": first.model,
        "features": features,
        "limits": {
            "maxStorageBuffersPerShaderStage": storage_buffers,
            "maxComputeWorkgroupStorageSize": workgroup_bytes,
        },
        "arena": entries.iter().map(Entry::arena).max(),
        "constants": constants.len(),
        "states": states.iter().map(|(name, state)| state.json(name)).collect::<Vec<_>>(),
        "shaders": texts.rows,
        "entries": described,
        "assets": assets.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    if let Some((_, state)) = states.first() {
        document["rows"] = json!(state.symbol);
    }
    let is_language_model = ["decode", "prefill"].iter().all(|wanted| plans.iter().any(|plan| plan.entry == *wanted));
    let model = WebModel { plan: document.to_string(), constants, assets: assets.clone(), is_language_model };
    let mut names = BTreeSet::new();
    match model.files().into_iter().find(|(name, _)| !names.insert(*name)) {
        Some((name, _)) => {
            Err(Diagnostic::new("arguments", format!("the folder has its own {name}"))
                .help("give the asset another name"))
        }
        None => Ok(model),
    }
}

/// The states that all entries have, each with as many rows as every entry can make of them.
fn states(entries: &[Entry], target: &Target) -> Result<IndexMap<String, StateShape>, Diagnostic> {
    let mut states: IndexMap<String, StateShape> = IndexMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let own = entry.states()?;
        if number > 0 && !own.keys().eq(states.keys()) {
            return Err(internal("entries differ in their states".into()));
        }
        for (name, state) in own {
            let rows = states.get(&name).map_or(state.rows, |known| known.rows.min(state.rows));
            states.insert(name, StateShape { rows, ..state });
        }
    }
    let counted: BTreeSet<&str> = states.values().map(|state| state.symbol.as_str()).collect();
    if counted.len() > 1 {
        return Err(Diagnostic::new("unsupported", format!("the states' rows are counted by {counted:?}"))
            .help("a browser's plan has one number for the rows of all states"));
    }
    states.iter().try_for_each(|(name, state)| check_state(name, state.rows, state.row_bytes(), target))?;
    Ok(states)
}

/// The shaders of all entries, equal ones once.
#[derive(Default)]
struct Texts {
    rows: Vec<Value>,
    seen: IndexMap<String, usize>,
}

impl Texts {
    /// The number of `shader`, of the entry called `entry`.
    fn number(&mut self, entry: &str, shader: &drupe_gpu::Shader, wgsl: &str) -> usize {
        let name = if entry.is_empty() { shader.name.clone() } else { format!("{entry}.{}", shader.name) };
        *self.seen.entry(wgsl.into()).or_insert_with(|| {
            self.rows.push(json!({
                "name": name, "wgsl": wgsl, "workgroup": shader.workgroup, "buffers": shader.writes.len(),
                "dims": shader.dims,
            }));
            self.rows.len() - 1
        })
    }
}

fn internal(what: String) -> Diagnostic {
    Diagnostic::new("internal", format!("a plan for browsers: {what}"))
}
