//! The kinds of filetests that need the tensor IR and the interpreter only.

use crate::{FileTest, random};
use drupe_ir::{Module, TensorData, parse};
use indexmap::IndexMap;

fn module(test: &FileTest) -> Result<Module, String> {
    let file = test.name.rsplit('/').next().unwrap_or(&test.name);
    parse(&test.text, file).map_err(|error| error.to_string())
}

/// `print`: the module as it prints; which reads back as the same.
pub fn print(test: &FileTest) -> Result<String, String> {
    let text = module(test)?.to_string();
    let again = parse(&text, "printed").map_err(|error| format!("what is printed does not parse: {error}\n{text}"))?;
    if again.to_string() == text { Ok(text) } else { Err(format!("printed, read and printed, it differs: {again}")) }
}

/// `verify-error`: the error that the text gives.
pub fn verify_error(test: &FileTest) -> Result<String, String> {
    match module(test) {
        Ok(module) => Err(format!("no error, but\n{module}")),
        Err(error) => Ok(error),
    }
}

/// `eval`: the outputs on the inputs that `// input NAME = LITERAL` lines give, made-up ones for the others.
pub fn eval(test: &FileTest) -> Result<String, String> {
    let module = module(test)?;
    let mut inputs = random::random_inputs(&module, 0);
    for line in test.lines("input") {
        let (name, data) = literal(line)?;
        inputs.insert(name, data);
    }
    let outputs = drupe_eval::eval(&module, &inputs).map_err(|error| error.to_string())?;
    Ok(outputs.iter().map(|(name, data)| format!("{name} = {}\n", data.literal())).collect())
}

/// `x = [1.0] : f32[1]`, as the contents of a constant are written.
fn literal(line: &str) -> Result<(String, TensorData), String> {
    let text = format!("const @{line}\nfunc @literal() {{ return }}");
    let constants: IndexMap<_, _> = parse(&text, "input").map_err(|error| error.to_string())?.constants;
    constants.into_iter().next().map(|(name, data)| (name.to_string(), data)).ok_or("no input".into())
}
