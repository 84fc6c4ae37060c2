//! Splitting a language model into entries.

use crate::same;
use drupe_entries::{Options, entry, split as split_entries};
use drupe_eval::eval;
use drupe_testsuite::{FileTest, module, runs};

/// `split`: the module of the entry that the header names first; chunks have as many tokens as it names second.
pub fn split(test: &FileTest) -> Result<String, String> {
    let [name, chunk] = test.arguments.as_slice() else {
        return Err("the header is `// test: split ENTRY TOKENS`".into());
    };
    let chunk = chunk.parse().map_err(|_| format!("`{chunk}` is no number of tokens"))?;
    let before = module(test)?;
    let entries = split_entries(&before, &Options { chunks: vec![chunk], score: true });
    let after = entry(entries.map_err(|error| error.to_string())?, name).map_err(|error| error.to_string())?.module;
    after.verify().map_err(|error| format!("{error}\n{after}"))?;
    for run in runs(test, &after, 0)? {
        let mut expected = eval(&before, &run.inputs).map_err(|error| error.to_string())?;
        let got = eval(&after, &run.inputs).map_err(|error| format!("the entry: {error}\n{after}"))?;
        expected.retain(|name, _| got.contains_key(name));
        same("the entry", &expected, &got)?;
    }
    Ok(after.to_string())
}
