//! The commands about language models, on a toy with a tokenizer of bytes.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::command_line::{Workshop, fastest, text};
use crate::toy;

/// A folder with the toy and its artifact.
fn workshop() -> Workshop {
    let shop = Workshop::new();
    shop.write("toy.ir", toy::TOY.as_bytes());
    let assets = toy::assets();
    let mut arguments =
        vec!["compile", "toy.ir", "-o", "toy.drupe", "--backend", fastest(), "--chunk", "16", "--score"];
    for (name, contents) in &assets {
        shop.write(name, contents);
        arguments.extend(["--asset", name]);
    }
    shop.ok(&arguments);
    shop
}

#[test]
fn language_models_generate() {
    let shop = workshop();
    let how = ["--max-tokens", "12", "--temperature", "1", "--threads", "1"];
    let generate = |rest: &[&str]| shop.drupe(&[&["generate", "toy.drupe"], &how[..], rest].concat());
    let plain = generate(&["--prompt", "hello"]);
    assert!(plain.status.success(), "{}", text(&plain.stderr));
    let report = text(&plain.stderr);
    assert!(report.contains("prompt 8 tokens (0 known)") && report.contains("--max-tokens"), "{report}");
    assert_eq!(generate(&["--prompt", "hello"]).stdout, plain.stdout);
    assert_ne!(generate(&["--prompt", "hello", "--seed", "1"]).stdout, plain.stdout);
    assert!(text(&generate(&["--prompt", "hello", "--raw"]).stderr).contains("prompt 5 tokens"));
    assert!(text(&generate(&["--prompt", "hello", "--system", "be"]).stderr).contains("prompt 12 tokens"));
    shop.write("schema.json", br#"{"enum": ["yes", "no"]}"#);
    let json = text(&generate(&["--prompt", "hello", "--json-schema", "schema.json"]).stdout);
    assert!(["\"yes\"\n", "\"no\"\n"].contains(&json.as_str()), "{json}");
    let error = shop.fails(&["generate", "toy.drupe", "--prompt", "x", "--temperature=-1"]);
    assert!(error.contains("temperature is -1"), "{error}");
    let error = shop.fails(&["generate", "toy.drupe", "--raw", "--prompt", &"x".repeat(200)]);
    assert!(error.contains("200 tokens do not fit the context of 97"), "{error}");
    let error = shop.fails(&["generate", "model.ir", "--prompt", "x", "--backend", fastest()]);
    assert!(error.contains("no entry \"decode\""), "{error}");
    let error = shop.fails(&["generate", "toy.ir", "--prompt", "x", "--backend", fastest()]);
    assert!(error.contains("no asset \"tokenizer.json\""), "{error}");
}

#[test]
fn conversations_go_on_line_by_line() {
    let shop = workshop();
    let mut command = Command::new(env!("CARGO_BIN_EXE_drupe"));
    command.args(["chat", "toy.drupe", "--max-tokens", "4", "--verbose", "--threads", "1"]);
    command.current_dir(shop.path(".")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(b"hello\n\nagain\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let reports = text(&output.stderr);
    let reports: Vec<&str> = reports.lines().filter(|line| line.starts_with("prompt")).collect();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].contains("(0 known)") && !reports[1].contains("(0 known)"), "{reports:?}");
}

#[test]
fn language_models_are_measured() {
    let shop = workshop();
    let letters: String = (0..300).map(|at| char::from(b'a' + (at * at % 26) as u8)).collect();
    shop.write("text.txt", letters.as_bytes());
    let found = shop.ok(&["perplexity", "toy.drupe", "text.txt", "--window", "60", "--chunks", "3"]);
    assert!(found.starts_with("perplexity ") && found.contains("(87 tokens counted, 3 windows of 60)"), "{found}");
    let json = shop.ok(&["bench", "toy.drupe", "--prompt", "40", "--gen", "8", "--rounds", "2", "--json"]);
    let figures: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for key in ["prompt_tokens_per_second", "generated_tokens_per_second", "first_token_ms"] {
        assert!(figures[key].as_f64().expect("a number") > 0.0, "{key} in {json}");
    }
    assert!(shop.ok(&["bench", "toy.drupe", "--prompt", "40", "--gen", "8"]).contains("prompt of 40"));
    let tokens = shop.ok(&["tokenize", "toy.drupe", "a\u{e9}<|end|>"]);
    assert!(tokens.contains("97") && tokens.contains("257") && tokens.contains("<|end|>"), "{tokens}");
}

#[test]
fn entries_states_and_assets_are_shown() {
    let shop = workshop();
    let shown = shop.ok(&["inspect", "toy.drupe"]);
    for part in [
        "\nentry decode: ",
        "\nentry prefill: ",
        "\nentry score: ",
        "tokens: i32[16]",
        "logits: f32[1, 260]",
        "states\n  2 of f32[1 + past, 2, 8]\n  128 B a row, 97 rows at most: 12.4 kB\n",
        "tokenizer.json",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let error = shop.fails(&["run", "toy.drupe"]);
    assert!(error.contains("[\"decode\", \"prefill\", \"score\"]") && error.contains("drupe generate"), "{error}");
    let error = shop.fails(&["run", "toy.drupe", "--entry", "sing"]);
    assert!(error.contains("no entry \"sing\""), "{error}");
}

/// The number before `what` in a report.
fn number_before(report: &str, what: &str) -> f64 {
    let (before, _) = report.split_once(what).unwrap_or_else(|| panic!("{what} in\n{report}"));
    before.split_whitespace().last().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn bits_are_chosen_within_a_budget() {
    let shop = workshop();
    let letters: String = (0..2000u32).map(|at| char::from(b'a' + (at.wrapping_mul(at) / 7 % 26) as u8)).collect();
    shop.write("text.txt", letters.as_bytes());
    let compile = |rest: &[&str]| {
        let how = ["compile", "toy.ir", "-o", "quantized.drupe", "--backend", fastest(), "--asset", "tokenizer.json"];
        let output = shop.drupe(&[&how[..], &["--report", "--calibrate", "text.txt"], rest].concat());
        (output.status.success(), text(&output.stderr))
    };
    let bits = |rest: &[&str]| {
        let (done, report) = compile(rest);
        assert!(done, "{report}");
        (number_before(&report, " bits a weight"), report)
    };
    let (least, report) = bits(&["--quant", "w4a8-row"]);
    assert!(report.contains("wq + 2") && report.contains("w4a8-row"), "{report}");
    assert!(!report.contains("perplexity"), "nothing was judged: {report}");
    let (wide, report) = bits(&["--quant", "w4a8-row", "--error-budget", "50%"]);
    assert!(number_before(&report, " % +/-") <= 50.0, "{report}");
    let (narrow, report) = bits(&["--quant", "w4a8-row", "--error-budget", "0.5%"]);
    assert!(number_before(&report, " % +/-") <= 0.5, "{report}");
    assert!(least <= wide && wide < narrow, "{least} {wide} {narrow}");
    // A random model's perplexity may well fall: only what is impossible for sure is asked for.
    let (done, error) = compile(&["--error-budget", "1%"]);
    assert!(!done && error.contains("needs a scheme"), "{error}");
    for wrong in ["1", "0%", "-1%", "x%", "200%"] {
        let (done, error) = compile(&["--quant", "w4a8", &format!("--error-budget={wrong}")]);
        assert!(!done && error.contains("such as 1%"), "{wrong}: {error}");
    }
}

/// A random model's perplexity may fall a little by chance: not for all of some texts.
#[test]
fn a_budget_that_nothing_keeps_is_an_error() {
    let shop = workshop();
    let mut kept = Vec::new();
    for seed in 3..13u32 {
        let letters: String =
            (0..1200u32).map(|at| char::from(b'a' + (at.wrapping_mul(at) / seed % 26) as u8)).collect();
        shop.write("text.txt", letters.as_bytes());
        let how = ["compile", "toy.ir", "-o", "none.drupe", "--backend", fastest(), "--asset", "tokenizer.json"];
        let budget = ["--calibrate", "text.txt", "--quant", "w4a8-row", "--error-budget", "0.0001%"];
        let output = shop.drupe(&[&how[..], &budget].concat());
        let said = text(&output.stderr);
        if !output.status.success() {
            assert!(said.contains("no plan of w4a8-row keeps perplexity within 0.00010 %: the best"), "{said}");
            assert!(said.contains("allow at least ") && said.contains("or start from a scheme of more bits"), "{said}");
            return;
        }
        kept.push(said);
    }
    panic!("all were kept: {kept:?}");
}
