//! Chat templates: from a conversation to the text that the model was trained on.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest};
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::calendar;
use crate::error::Error;
use crate::settings;

/// Instructions of a rendering: long conversations need thousands.
const MOST_STEPS: u64 = 20_000_000;
/// Bytes of a rendered conversation.
const MOST_TEXT: usize = 64 << 20;
/// The template's name in errors.
const NAME: &str = "chat template";

/// What somebody says in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who: `system`, `user` or `assistant`, and what else the template knows.
    pub role: String,
    /// What.
    pub content: String,
}

impl Message {
    /// Of anyone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    /// Of the user.
    pub fn user(content: impl Into<String>) -> Message {
        Message::new("user", content)
    }

    /// Of the system: how the model is to behave.
    pub fn system(content: impl Into<String>) -> Message {
        Message::new("system", content)
    }

    /// Of the model.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message::new("assistant", content)
    }
}

/// A model's chat template, in Jinja as `transformers` has it: blocks are trimmed, loops may `break` and `continue`,
/// Python's methods of strings work, and there are `raise_exception`, `strftime_now` (in UTC) and a `tojson` that
/// escapes nothing for HTML.
///
/// A template is bounded in its steps and in what it writes, not in the memory of its variables: it is to be trusted
/// like the artifact that it is in.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// `template` with the special tokens (`bos_token`) that it may write.
    ///
    /// # Errors
    /// When it is no template; the error names the asset.
    pub(crate) fn new(
        template: &settings::Template,
        special: &BTreeMap<String, String>,
    ) -> Result<ChatTemplate, Error> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MOST_STEPS));
        environment.set_recursion_limit(100);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let fault = |error: minijinja::Error| Error::Asset { name: template.asset, message: describe(&error) };
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fault)?;
        environment.set_syntax(syntax);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, without_training_marks(&template.text)).map_err(fault)?;
        Ok(ChatTemplate { environment, special: special.clone() })
    }

    /// The text of a conversation; with `answer` it ends where the model's answer starts.
    ///
    /// # Errors
    /// When the template refuses the conversation, or does not end.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, Error> {
        let fault = |error: minijinja::Error| Error::Template { message: describe(&error) };
        let message = |message: &Message| {
            let pairs = [("role", &message.role), ("content", &message.content)];
            Value::from_pairs(pairs.map(|(key, text)| (key, text.clone())))
        };
        let given = context! {
            messages => messages.iter().map(message).collect::<Vec<_>>(), add_generation_prompt => answer, tools => (), documents => (),
            ..Value::from_pairs(self.special.clone())
        };
        let template = self.environment.get_template(NAME).map_err(fault)?;
        let mut text = Bounded(Vec::new());
        template.render_captured_to(given, &mut text).map_err(fault)?;
        String::from_utf8(text.0).map_err(|_| Error::Template { message: "it writes no text".into() })
    }
}

/// Memory that takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_TEXT {
            return Err(io::Error::other(format!("it writes more than {MOST_TEXT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error on one line, with the line of the template and what it is from.
fn describe(error: &minijinja::Error) -> String {
    let mut text = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it does not end".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    if let Some(line) = error.line() {
        text += &format!(" (line {line})");
    }
    if let Some(source) = std::error::Error::source(error) {
        text += &format!(": {source}");
    }
    text
}

/// `{% generation %}` and its end mark what is trained on; they write nothing.
fn without_training_marks(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        text += before;
        text += "{%";
        let (inside, after) = tag.split_once("%}").map_or((tag, None), |(inside, after)| (inside, Some(after)));
        match inside.trim_matches(['-', '+']).trim() {
            "generation" => text += &inside.replace("generation", "if true"),
            "endgeneration" => text += &inside.replace("endgeneration", "endif"),
            _ => text += inside,
        }
        let Some(after) = after else { return text };
        text += "%}";
        rest = after;
    }
    text + rest
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    calendar::format(now, format)
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`. Its other arguments are accepted and change nothing.
fn to_json(value: &Value, _others: Rest<Value>, options: Kwargs) -> Result<Value, minijinja::Error> {
    let fault = |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let format = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonFormat)),
    };
    written.map_err(fault)?;
    Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()))
}

/// JSON on one line as Python writes it: a space behind commas and colons.
struct PythonFormat;

impl serde_json::ser::Formatter for PythonFormat {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Result<String, Error> {
        let template = settings::Template { asset: "chat_template.jinja", text: text.into() };
        let special = [("bos_token".to_owned(), "<s>".to_owned())].into_iter().collect();
        ChatTemplate::new(&template, &special)?.render(&[Message::system("be <brief>"), Message::user("\"hé\" ")], true)
    }

    #[test]
    fn templates_are_jinja_as_transformers_has_it() {
        let text = "{{ bos_token }}\n{% for message in messages %}\n  {% if loop.index0 > 5 %}\n{% break %}{% endif %}\n\
                    [{{ message['role'] }}] {{ message.content.strip() | tojson }}\n{% generation %}!{% endgeneration %}\
                    {% endfor %}\n{% if add_generation_prompt and tools is none %}[assistant]{% endif %}";
        assert_eq!(render(text).unwrap(), "<s>\n[system] \"be <brief>\"\n![user] \"\\\"hé\\\"\"\n![assistant]");
        assert_eq!(render("{{ {'a': [1, 2.5, none, true]} | tojson }}").unwrap(), "{\"a\": [1, 2.5, null, true]}");
        assert_eq!(render("{{ [1] | tojson(indent=2) }}").unwrap(), "[\n  1\n]");
        assert_eq!(render("{{ strftime_now('%Y')|length }}{{ undefined_thing }}").unwrap(), "4");
    }

    #[test]
    fn hostile_templates_are_errors() {
        for (text, expected) in [
            ("{{ raise_exception('only <users>') }}", "only <users>"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not end"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "the chat template fails"),
            ("{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "more than"),
            ("{{ messages[9].content.nothing }}", "the chat template fails"),
            ("{% include 'other' %}", "the chat template fails"),
        ] {
            let error = render(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = render("{% for %}").unwrap_err().to_string();
        assert!(error.starts_with("asset \"chat_template.jinja\": "), "{error}");
    }
}
