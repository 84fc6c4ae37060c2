//! The kinds of filetests that need the tensor IR and the interpreter only.

use crate::random::{Random, inputs_of, symbols_of};
use crate::{FileTest, Kind};
use drupe_ir::{Module, TensorData, parse};
use indexmap::IndexMap;
use std::sync::Arc;

/// The kinds that need the tensor IR and the interpreter only.
pub const KINDS: &[Kind] = &[("print", print), ("verify-error", verify_error), ("eval", eval)];

/// The module that the test is.
pub fn module(test: &FileTest) -> Result<Module, String> {
    parse(&test.text, test.file()).map_err(|error| error.to_string())
}

/// `print`: the module as it prints; which reads back as the same.
fn print(test: &FileTest) -> Result<String, String> {
    let text = module(test)?.to_string();
    let again = parse(&text, "printed").map_err(|error| format!("what is printed does not parse: {error}\n{text}"))?;
    if again.to_string() == text { Ok(text) } else { Err(format!("printed, read and printed, it differs: {again}")) }
}

/// `verify-error`: the error that the text gives.
fn verify_error(test: &FileTest) -> Result<String, String> {
    match module(test) {
        Ok(module) => Err(format!("no error, but\n{module}")),
        Err(error) => Ok(error),
    }
}

/// `eval`: the outputs on the inputs of every run.
fn eval(test: &FileTest) -> Result<String, String> {
    let module = module(test)?;
    let mut text = String::new();
    for run in runs(test, &module, 0)? {
        let outputs = drupe_eval::eval(&module, &run.inputs).map_err(|error| error.to_string())?;
        text += &run.heading();
        outputs.iter().for_each(|(name, data)| text += &format!("{name} = {}\n", data.literal()));
    }
    Ok(text)
}

/// One set of inputs.
#[derive(Clone, Debug)]
pub struct Run {
    /// The line that asks for it: `B=2 H=3`; empty where the test has none.
    pub with: String,
    /// The values of the module's symbols.
    pub symbols: IndexMap<Arc<str>, i64>,
    /// The inputs, by name.
    pub inputs: IndexMap<String, TensorData>,
}

impl Run {
    /// What stands above the run's outputs.
    pub fn heading(&self) -> String {
        if self.with.is_empty() { String::new() } else { format!("with {}\n", self.with) }
    }
}

/// A run for each line `// with SYMBOL=NUMBER ...` of the test, one if there is none. Inputs are as the lines
/// `// input NAME = LITERAL` say; `seed` makes up the others, and the values of other symbols.
pub fn runs(test: &FileTest, module: &Module, seed: u64) -> Result<Vec<Run>, String> {
    let mut given = Vec::new();
    for line in test.lines("input") {
        given.push(literal(line)?);
    }
    let mut lines: Vec<&str> = test.lines("with").collect();
    if lines.is_empty() {
        lines.push("");
    }
    let run = |with: &str| {
        let mut random = Random::new(seed);
        let mut symbols = symbols_of(module, &mut random);
        for word in with.split_whitespace() {
            let set = word.split_once('=').and_then(|(name, value)| {
                *symbols.get_mut(name)? = value.parse().ok()?;
                Some(())
            });
            set.ok_or_else(|| format!("`{word}` in a line `// with` is no SYMBOL=NUMBER of a symbol of the module"))?;
        }
        let mut inputs = inputs_of(module, &symbols, &mut random);
        inputs.extend(given.iter().cloned());
        Ok(Run { with: with.into(), symbols, inputs })
    };
    lines.into_iter().map(run).collect()
}

/// `x = [1.0] : f32[1]`, as the contents of a constant are written.
pub fn literal(line: &str) -> Result<(String, TensorData), String> {
    let text = format!("const @{line}\nfunc @literal() {{ return }}");
    let constants: IndexMap<_, _> = parse(&text, "input").map_err(|error| error.to_string())?.constants;
    constants.into_iter().next().map(|(name, data)| (name.to_string(), data)).ok_or("no input".into())
}
