//! Generation and conversations: from a prompt to an end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use drupe_runtime_llm::{
    Cancel, Chat, ContextShift, Error, GenerateOptions, Generation, Message, Sampling, StopReason, generate,
};

use crate::toy::{CONTEXT, END, engine, model, noise};

/// Chooses ASCII letters only.
fn letters() -> Sampling {
    let others = (0..260).filter(|token| !(97..123).contains(token));
    let logit_bias: BTreeMap<u32, f32> = others.map(|token| (token, f32::NEG_INFINITY)).collect();
    Sampling { temperature: 1.0, logit_bias, ..Sampling::default() }
}

fn options() -> GenerateOptions {
    GenerateOptions { max_tokens: Some(20), sampling: letters(), ..GenerateOptions::of(&model()) }
}

fn run(prompt: &[u32], options: &GenerateOptions) -> Result<(Generation, String), Error> {
    let mut engine = engine();
    let mut context = engine.context()?;
    let mut said = String::new();
    let generated = generate(&mut engine, &mut context, prompt, options, &mut |text| {
        said += text;
        ControlFlow::Continue(())
    })?;
    Ok((generated, said))
}

#[test]
fn text_is_streamed_and_the_same_each_time() {
    let (generated, said) = run(&noise(20), &options()).expect("it fits");
    assert_eq!(generated.stop, StopReason::MaxTokens);
    assert_eq!((generated.text.len(), &generated.text), (20, &said));
    assert_eq!(run(&noise(20), &options()).expect("it fits").0.text, said);
    let timings = generated.timings;
    assert_eq!((timings.prompt_tokens, timings.reused_tokens, timings.generated_tokens), (20, 0, 20));
    assert!(timings.prompt_rate() > 0.0 && timings.generation_rate() > 0.0);
    assert!(timings.first_token >= timings.prompt);
}

#[test]
fn generation_stops_where_it_should() {
    let (whole, text) = run(&noise(20), &options()).expect("it fits");
    let stop = text[7..10].to_owned();
    let at = text.find(&stop).expect("it is there");
    let (cut, said) = run(&noise(20), &GenerateOptions { stop: vec![stop.clone()], ..options() }).expect("it fits");
    assert_eq!((said.as_str(), cut.stop), (&text[..at], StopReason::Text(stop)));
    let token = whole.tokens[5];
    let first = whole.tokens.iter().position(|&other| other == token).expect("it is there");
    let (cut, said) = run(&noise(20), &GenerateOptions { stop_tokens: vec![token], ..options() }).expect("it fits");
    assert_eq!((said.as_str(), cut.stop), (&text[..first], StopReason::Token(token)));
    let none = run(&noise(20), &GenerateOptions { max_tokens: Some(0), ..options() }).expect("it fits").0;
    assert_eq!((none.text.as_str(), none.stop), ("", StopReason::MaxTokens));
}

#[test]
fn a_generation_can_be_ended_from_elsewhere() {
    let cancel = Cancel::default();
    let options = GenerateOptions { cancel: cancel.clone(), ..options() };
    let mut engine = engine();
    let mut context = engine.context().expect("memory");
    let mut pieces = 0;
    let generated = generate(&mut engine, &mut context, &noise(20), &options, &mut |_| {
        pieces += 1;
        if pieces == 3 {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    });
    let generated = generated.expect("it fits");
    assert_eq!((generated.tokens.len(), generated.stop), (3, StopReason::Cancelled));
    let nothing = generate(&mut engine, &mut context, &noise(90), &options, &mut |_| ControlFlow::Continue(()));
    assert_eq!(nothing.expect("no error").stop, StopReason::Cancelled);
    cancel.reset();
    let broken = generate(&mut engine, &mut context, &noise(20), &options, &mut |_| ControlFlow::Break(()));
    assert_eq!(broken.expect("it fits").tokens.len(), 1);
}

#[test]
fn a_full_context_ends_the_output_or_forgets() {
    let endless = GenerateOptions { max_tokens: None, ..options() };
    let (generated, _) = run(&noise(80), &endless).expect("it fits");
    assert_eq!(generated.stop, StopReason::ContextFull);
    assert_eq!(generated.tokens.len(), CONTEXT - 80 + 1);
    let shifting = GenerateOptions { max_tokens: Some(120), shift: ContextShift::DropOldest, ..options() };
    let (generated, _) = run(&noise(80), &shifting).expect("it forgets");
    assert_eq!((generated.tokens.len(), generated.stop), (120, StopReason::MaxTokens));
    assert!(matches!(run(&noise(200), &endless), Err(Error::ContextFull { tokens: 200, most: CONTEXT })));
    run(&noise(200), &shifting).expect("it forgets");
}

#[test]
fn a_conversation_reads_only_what_is_new() {
    let mut engine = engine();
    let mut chat = Chat::new(&engine, Some("be brief")).expect("memory");
    let options = GenerateOptions { max_tokens: Some(5), ..options() };
    let mut quiet = |_: &str| ControlFlow::Continue(());
    let first = chat.say(&mut engine, "hello", &options, &mut quiet).expect("it fits");
    let read = "be brief".len() + "hello".len() + 5;
    assert_eq!((first.timings.prompt_tokens, first.timings.reused_tokens), (read, 0));
    let mut fork = chat.fork().expect("memory");
    let second = chat.say(&mut engine, "more", &options, &mut quiet).expect("it fits");
    // All but the last token of the answer were read.
    assert_eq!(second.timings.reused_tokens, read + 4);
    assert_eq!(second.timings.prompt_tokens, 1 + 1 + 1 + "more".len() + 2);
    assert_eq!(chat.messages()[2], Message::assistant(first.text));
    assert_eq!(fork.say(&mut engine, "more", &options, &mut quiet).expect("it fits").text, second.text);
    let long = "x".repeat(CONTEXT);
    assert!(chat.say(&mut engine, &long, &options, &mut quiet).is_err());
    assert_eq!(chat.messages().len(), 5);
    chat.say(&mut engine, "on", &options, &mut quiet).expect("the conversation is as it was");
}

#[test]
fn the_model_says_when_it_ends() {
    assert_eq!(model().ends(), [END]);
    let certain = Sampling { logit_bias: BTreeMap::from([(END, f32::INFINITY)]), ..Sampling::default() };
    let (generated, said) = run(&noise(5), &GenerateOptions { sampling: certain, ..options() }).expect("it fits");
    assert_eq!((generated.stop, said.as_str()), (StopReason::Token(END), ""));
}
