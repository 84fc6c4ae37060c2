//! Stop strings across pieces, and characters across tokens.

use drupe_runtime_llm::{StopStrings, TextStream};

use crate::toy::model;

/// What is said of `text`, in pieces of `size` characters.
fn said(stops: &[&str], text: &str, size: usize) -> (String, Option<String>) {
    let mut stop = StopStrings::new(stops.iter().copied());
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for piece in letters.chunks(size) {
        out += &stop.push(&piece.iter().collect::<String>());
    }
    out += &stop.finish();
    (out, stop.found().map(str::to_owned))
}

#[test]
fn the_first_stop_string_ends_the_text_however_it_is_cut() {
    for size in 1..12 {
        let found = |stops: &[&str], text| said(stops, text, size);
        assert_eq!(found(&["END"], "one ENEND two"), ("one EN".into(), Some("END".into())));
        assert_eq!(found(&["END"], "one ENE"), ("one ENE".into(), None));
        assert_eq!(found(&["", "xyz"], "xyxyxyz"), ("xyxy".into(), Some("xyz".into())));
        assert_eq!(found(&["été", "é!"], "l'été!"), ("l'".into(), Some("été".into())));
        assert_eq!(found(&[], "all of it"), ("all of it".into(), None));
    }
}

#[test]
fn no_more_is_held_back_than_may_be_a_stop_string() {
    let mut stop = StopStrings::new(["<stop>"]);
    assert_eq!(stop.push("a <st"), "a ");
    assert_eq!(stop.push("r"), "<str");
    assert_eq!(stop.push("<<"), "<");
    assert_eq!(stop.finish(), "<");
}

#[test]
fn text_comes_in_whole_characters() {
    let model = model();
    let text = "né 日本 🙂!";
    let mut stream = TextStream::after(model.tokenizer().expect("it has one"), &[]);
    let mut out = String::new();
    for byte in text.bytes() {
        let piece = stream.push(u32::from(byte)).expect("tokens");
        assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{piece:?}");
        out += &piece;
    }
    assert_eq!(out + &stream.finish().expect("tokens"), text);
    // Half a character, and what is none.
    let mut stream = TextStream::after(model.tokenizer().expect("it has one"), &[u32::from(b'a')]);
    assert_eq!(stream.push(0xe6).expect("tokens"), "");
    assert_eq!(stream.finish().expect("tokens"), "\u{fffd}");
    let broken: String = (0..40).map(|_| stream.push(0xff).expect("tokens")).collect();
    assert!(broken.starts_with('\u{fffd}'), "{broken:?}");
}
