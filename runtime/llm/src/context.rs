//! What a model has read: tokens, and the rows that they have left in its states.

use std::io::{self, Read, Write};

use drupe_runtime::State;

use crate::error::Error;

/// The first bytes of a saved context.
const MAGIC: [u8; 8] = *b"DRUPECX\0";

/// The memory of one conversation. An [`crate::Engine`] reads into it, and may serve any number of them in turn.
///
/// Invariant: the states have one row for each token.
#[derive(Debug)]
pub struct Context {
    tokens: Vec<u32>,
    pub(crate) state: State,
}

impl Context {
    pub(crate) fn new(state: State) -> Context {
        Context { tokens: Vec::new(), state }
    }

    /// The tokens that were read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes of their rows.
    pub fn bytes(&self) -> u64 {
        self.state.bytes()
    }

    /// The number of tokens that `prompt` starts with and that need not be read again. None, where a layer sees a window
    /// only and what the window saw behind them was dropped: see [`Context::truncate`].
    pub fn shared(&self, prompt: &[u32]) -> usize {
        let count = self.tokens.iter().zip(prompt).take_while(|(known, token)| known == token).count();
        if count < self.state.least_rows() { 0 } else { count }
    }

    /// Forgets all but the first `count` tokens.
    ///
    /// Where layers see a window only, rows further back are dropped in time: then at least the last quarter of the window
    /// can be forgotten, or everything.
    ///
    /// # Errors
    /// When what they are behind was dropped.
    pub fn truncate(&mut self, count: usize) -> Result<(), Error> {
        let count = count.min(self.tokens.len());
        self.state.set_rows(count)?;
        self.tokens.truncate(count);
        Ok(())
    }

    /// Takes over tokens whose rows were written behind the others.
    pub(crate) fn extend(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.state.set_rows(self.tokens.len() + tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// A copy that goes its own way from here.
    ///
    /// # Errors
    /// When memory is short.
    pub fn fork(&self) -> Result<Context, Error> {
        Ok(Context { tokens: self.tokens.clone(), state: self.state.fork()? })
    }

    /// Writes tokens and rows, for [`Context::load`] with the same model.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn save(&self, sink: &mut dyn Write) -> Result<(), Error> {
        let mut head = MAGIC.to_vec();
        head.extend((self.tokens.len() as u64).to_le_bytes());
        head.extend(self.tokens.iter().flat_map(|token| token.to_le_bytes()));
        sink.write_all(&head)?;
        Ok(self.state.save(sink)?)
    }

    /// Takes over what [`Context::save`] has written. When it fails nothing was read.
    ///
    /// # Errors
    /// Those of the source, and when it holds no context, or another model's.
    pub fn load(&mut self, source: &mut dyn Read) -> Result<(), Error> {
        self.truncate(0)?;
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut head = [[0; 8]; 2];
        for part in &mut head {
            source.read_exact(part)?;
        }
        if head[0] != MAGIC {
            return Err(invalid("this is no conversation saved by drupe").into());
        }
        let count = usize::try_from(u64::from_le_bytes(head[1])).unwrap_or(usize::MAX);
        if count > self.state.capacity() {
            return Err(invalid("it has more tokens than the model's context").into());
        }
        let mut bytes = vec![0; 4 * count];
        source.read_exact(&mut bytes)?;
        self.state.load(source)?;
        if self.state.rows() != count {
            self.truncate(0)?;
            return Err(invalid("it has not one row for each token").into());
        }
        let token = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        self.tokens = bytes.chunks_exact(4).map(token).collect();
        Ok(())
    }
}
