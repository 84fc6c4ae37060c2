//! A conversation: messages, and what the model has read of them.

use std::ops::ControlFlow;

use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::generate::{GenerateOptions, Generation, generate};
use crate::template::Message;

/// A conversation with a model. Each turn is the whole conversation by the chat template, of which only what is new is
/// read.
#[derive(Debug)]
pub struct Chat {
    messages: Vec<Message>,
    context: Context,
}

impl Chat {
    /// A new conversation; `system` tells the model how to behave.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(engine: &Engine, system: Option<&str>) -> Result<Chat, Error> {
        Ok(Chat { messages: system.map(Message::system).into_iter().collect(), context: engine.context()? })
    }

    /// The conversation that went so far; `context` may be one that was saved, or a new one.
    pub fn resume(messages: Vec<Message>, context: Context) -> Chat {
        Chat { messages, context }
    }

    /// What was said.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What the model has read of it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// A copy that goes its own way from here.
    ///
    /// # Errors
    /// When memory is short.
    pub fn fork(&self) -> Result<Chat, Error> {
        Ok(Chat { messages: self.messages.clone(), context: self.context.fork()? })
    }

    /// Says something, and gives `on_text` the answer as it comes, as [`generate`] does. Then both are part of the
    /// conversation; after an error neither is.
    ///
    /// # Errors
    /// As for [`generate`], and when the model has no chat template or it refuses the conversation.
    pub fn say(
        &mut self,
        engine: &mut Engine,
        text: &str,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, Error> {
        self.messages.push(Message::user(text));
        let answered = self.answer(engine, options, on_text);
        match &answered {
            Ok(answer) => self.messages.push(Message::assistant(answer.text.clone())),
            Err(_) => drop(self.messages.pop()),
        }
        answered
    }

    fn answer(
        &mut self,
        engine: &mut Engine,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation, Error> {
        let text = engine.model().template()?.render(&self.messages, true)?;
        // The template writes what frames a text.
        let prompt = engine.model().tokenizer()?.encode(&text, false)?;
        generate(engine, &mut self.context, &prompt, options, on_text)
    }
}
