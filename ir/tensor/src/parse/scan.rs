//! Reading characters: where we are, what is next, and errors that say so.

use crate::{Diagnostic, Origin};

/// A text of one of the textual IRs, and a position in it.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    file: &'a str,
    /// How deep nested expressions are.
    pub depth: usize,
}

impl<'a> Scanner<'a> {
    /// The start of `text`, which errors call `file`.
    pub fn new(text: &'a str, file: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0, file, depth: 0 }
    }

    /// What is left, after spaces and `// comments`.
    pub fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return trimmed;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// The position of what is next.
    pub fn position(&mut self) -> usize {
        self.rest();
        self.at
    }

    /// An error at `position`.
    pub fn error_at(&self, position: usize, message: impl std::fmt::Display) -> Diagnostic {
        Diagnostic::new("parse", message).at(&self.origin(position))
    }

    /// The file with line and column of `position`.
    pub fn origin(&self, position: usize) -> Origin {
        let before = &self.text[..position];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        Origin { file: Some(format!("{}:{line}:{column}", self.file).into()), ..Origin::default() }
    }

    /// The error that something else than `expected` is next.
    pub fn expected(&mut self, expected: &str) -> Diagnostic {
        let rest = self.rest();
        let found = match (rest.chars().next(), word_len(rest, is_word)) {
            (None, _) => "the end".to_string(),
            (Some(c), 0) => format!("`{c}`"),
            (Some(_), len) => format!("`{}`", &rest[..len]),
        };
        self.error_at(self.at, format!("{expected} expected, {found} found"))
    }

    /// Whether the word `word` is next; it is not taken.
    pub fn next_is(&mut self, word: &str) -> bool {
        self.rest().strip_prefix(word).is_some_and(|after| !after.starts_with(is_word))
    }

    /// Whether `token` is next; if so it is taken. A token of letters must end where a word ends.
    pub fn eat(&mut self, token: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(token) else { return false };
        if token.ends_with(is_word) && after.starts_with(is_word) {
            return false;
        }
        self.at += token.len();
        true
    }

    /// Takes `token`, which must be next.
    pub fn expect(&mut self, token: &str) -> Result<(), Diagnostic> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// A non-empty word of characters that `belongs` holds for, if one is next.
    pub fn word(&mut self, belongs: fn(char) -> bool) -> Option<&'a str> {
        let rest = self.rest();
        let len = word_len(rest, belongs);
        self.at += len;
        (len > 0).then(|| &rest[..len])
    }

    /// An identifier (a letter or `_`, then letters, digits, `_`), if one is next.
    pub fn identifier(&mut self) -> Option<&'a str> {
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if self.rest().starts_with(starts) { self.word(is_word) } else { None }
    }

    /// The name after `@` or `%`: bare, or quoted.
    pub fn name(&mut self, what: &str) -> Result<String, Diagnostic> {
        match self.word(is_name) {
            Some(word) => Ok(word.into()),
            None if self.rest().starts_with('"') => self.quoted(),
            None => Err(self.expected(what)),
        }
    }

    /// A text in quotes, escaped as Rust's `{:?}` does.
    pub fn quoted(&mut self) -> Result<String, Diagnostic> {
        if !self.eat("\"") {
            return Err(self.expected("a text in quotes"));
        }
        let start = self.at;
        let mut text = String::new();
        let mut chars = self.text[start..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(text);
                }
                '\\' => text.push(match chars.next().map(|(_, c)| c) {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('u') => {
                        let digits: String = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').take(8).collect();
                        let code = u32::from_str_radix(digits.trim_start_matches('{'), 16).ok();
                        let escaped = code.and_then(char::from_u32);
                        escaped.ok_or_else(|| self.error_at(start + offset, "no such character"))?
                    }
                    Some(c @ ('"' | '\'' | '\\')) => c,
                    _ => return Err(self.error_at(start + offset, "no such escape")),
                }),
                c => text.push(c),
            }
        }
        Err(self.error_at(start, "a text without its closing quote"))
    }

    /// A number without its sign: digits, perhaps with point and exponent.
    pub fn number(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let digits = |from: usize| from + word_len(&rest[from..], |c| c.is_ascii_digit());
        let mut end = digits(0);
        if end == 0 {
            return None;
        }
        if rest[end..].starts_with('.') && !rest[end..].starts_with("..") {
            end = digits(end + 1);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
        self.at += end;
        Some(&rest[..end])
    }

    /// Runs `parse` one level deeper; too many levels are an error.
    pub fn nested<T>(&mut self, parse: fn(&mut Self) -> Result<T, Diagnostic>) -> Result<T, Diagnostic> {
        const MOST: usize = 64;
        if self.depth == MOST {
            return Err(self.error_at(self.at, "nested too deep"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }
}

fn word_len(text: &str, belongs: fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// What a bare name after `@`, `%` or `via` is made of.
pub fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.$-".contains(c)
}
