//! Reading the keys of a `config.json`, with errors that name key and file.

use drupe_ir::{Diagnostic, Origin};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// The largest extent of any tensor that is believed.
const LARGEST: u64 = 1 << 26;

/// An object of a configuration, and what holds where a key is missing.
pub(crate) struct Keys<'a> {
    /// The object.
    pub values: &'a Map<String, Value>,
    /// The family's defaults.
    pub defaults: &'a Map<String, Value>,
    /// The file it is from.
    pub file: &'a Arc<str>,
}

impl Keys<'_> {
    /// The error that `key` is not as it should be.
    pub fn wrong(&self, key: &str, why: impl fmt::Display) -> Diagnostic {
        Diagnostic::new("parse", format!("`{key}`: {why}")).at(&Origin::imported(self.file, key))
    }

    /// The error that what `key` says is legal but not supported.
    pub fn unsupported(&self, key: &str, what: impl fmt::Display) -> Diagnostic {
        Diagnostic::new("unsupported", format!("`{key}`: {what}")).at(&Origin::imported(self.file, key))
    }

    fn missing(&self, key: &str) -> Diagnostic {
        self.wrong(key, "missing").help("copy config.json as it is published with the weights")
    }

    /// The value of `key`, or its default; a null counts as none, whatever the default.
    pub fn find(&self, key: &str) -> Option<&Value> {
        self.values.get(key).or_else(|| self.defaults.get(key)).filter(|value| !value.is_null())
    }

    /// An extent, at least 1 and of a sane size, if there is one.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, Diagnostic> {
        let read = |value: &Value| match value.as_u64() {
            Some(size @ 1..=LARGEST) => Ok(size as usize),
            _ => Err(self.wrong(key, format!("an integer in 1..={LARGEST} expected, not {}", brief(value)))),
        };
        self.find(key).map(read).transpose()
    }

    /// An extent.
    pub fn size(&self, key: &str) -> Result<usize, Diagnostic> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number, if there is one.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, Diagnostic> {
        let read = |value: &Value| match value.as_f64() {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(self.wrong(key, format!("a number expected, not {}", brief(value)))),
        };
        self.find(key).map(read).transpose()
    }

    /// A number above 0, if there is one.
    pub fn optional_positive(&self, key: &str) -> Result<Option<f64>, Diagnostic> {
        match self.optional_number(key)? {
            Some(number) if number <= 0.0 => Err(self.wrong(key, format!("{number} is not above 0"))),
            number => Ok(number),
        }
    }

    /// A number above 0.
    pub fn positive(&self, key: &str) -> Result<f64, Diagnostic> {
        self.optional_positive(key)?.ok_or_else(|| self.missing(key))
    }

    /// A flag; not set where it is missing.
    pub fn flag(&self, key: &str) -> Result<bool, Diagnostic> {
        let read = |value: &Value| {
            value.as_bool().ok_or_else(|| self.wrong(key, format!("true or false expected, not {}", brief(value))))
        };
        self.find(key).map_or(Ok(false), read)
    }

    /// A word, if there is one.
    pub fn word(&self, key: &str) -> Result<Option<&str>, Diagnostic> {
        match self.find(key) {
            None => Ok(None),
            Some(Value::String(word)) => Ok(Some(word)),
            Some(other) => Err(self.wrong(key, format!("a text expected, not {}", brief(other)))),
        }
    }

    /// Positive numbers, exactly `count` of them.
    pub fn positives(&self, key: &str, count: usize) -> Result<Vec<f64>, Diagnostic> {
        let values = self.find(key).ok_or_else(|| self.missing(key))?;
        let numbers: Option<Vec<f64>> = values.as_array().and_then(|values| {
            values.iter().map(|value| value.as_f64().filter(|number| *number > 0.0 && number.is_finite())).collect()
        });
        match numbers {
            Some(numbers) if numbers.len() == count => Ok(numbers),
            Some(numbers) => Err(self.wrong(key, format!("{} numbers where {count} are needed", numbers.len()))),
            None => Err(self.wrong(key, "an array of positive numbers expected")),
        }
    }

    /// The object under `key`, if there is one; it has no defaults but `inherited`.
    pub fn object<'b>(&'b self, key: &str, inherited: &'b Map<String, Value>) -> Result<Option<Keys<'b>>, Diagnostic> {
        match self.find(key) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Keys { values, defaults: inherited, file: self.file })),
            Some(other) => Err(self.wrong(key, format!("an object expected, not {}", brief(other)))),
        }
    }
}

/// A value as messages show it: the beginning of its text.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
