//! Output that must be of a form is of that form.

use std::ops::ControlFlow;

use drupe_runtime_llm::{Constraint, Error, GenerateOptions, Generation, Sampling, generate};

use crate::toy::{engine, model, noise};

fn run(constraint: Constraint, seed: u64) -> Result<Generation, Error> {
    let mut engine = engine();
    let mut context = engine.context()?;
    let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
    let options = GenerateOptions { sampling, constraint: Some(constraint), ..GenerateOptions::of(&model()) };
    generate(&mut engine, &mut context, &noise(8), &options, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn outputs_follow_a_schema() {
    let schema = r#"{"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"enum": [1, 22]}},
        "required": ["ok", "n"], "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}"#;
    for seed in 0..5 {
        let text = run(Constraint::JsonSchema(schema.into()), seed).expect("a schema").text;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(value["ok"].is_boolean() && [1, 22].iter().any(|n| value["n"] == *n), "{text}");
    }
}

#[test]
fn outputs_match_an_expression() {
    let text = run(Constraint::Regex("(yes|no), [0-9]{3}é".into()), 1).expect("an expression").text;
    assert!((text.starts_with("yes, ") || text.starts_with("no, ")) && text.ends_with('é'), "{text}");
}

#[test]
fn what_is_no_grammar_is_an_error() {
    for constraint in [
        Constraint::JsonSchema("{".into()),
        Constraint::JsonSchema("{\"type\": \"thing\"}".into()),
        Constraint::Regex("(".into()),
        Constraint::Lark("start: nothing".into()),
    ] {
        let error = run(constraint, 0).unwrap_err().to_string();
        assert!(error.starts_with("the grammar fails: "), "{error}");
    }
}
