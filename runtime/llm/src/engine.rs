//! The engine: runs a model's entries over contexts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drupe_runtime::{Crossed, Options, OutputView, Program, Session, StepReport, Tensor};

use crate::context::Context;
use crate::error::Error;
use crate::model::LanguageModel;

/// A chunk takes about as long as it would for so many tokens more: the weights are read, whatever for.
const START: usize = 16;

/// The tokens of a chunk that take as long as a token by itself.
const SINGLE: usize = 11;

/// Sees the name of an entry, and a step of it that was run.
type Observer<'a> = &'a mut dyn FnMut(&str, StepReport<'_>);

/// A model with the threads and memory to run it; one run at a time.
pub struct Engine {
    model: LanguageModel,
    decode: Session,
    /// One for each length of chunks.
    prefills: Vec<Session>,
    score: Option<Session>,
    logits: Vec<f32>,
}

/// A flag that ends what is going on after the step that is being done. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends what is going on, and what is started with the same flag from now on.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes it back.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// An engine for `model` on the CPU, with threads of its own.
    ///
    /// # Errors
    /// As for [`Session::new`].
    pub fn new(model: &LanguageModel, options: Options) -> Result<Engine, Error> {
        Engine::with_sessions(model, Session::new_all(&model.programs(), options)?)
    }

    /// An engine for `model` that runs it in `sessions`, one for each of [`LanguageModel::programs`], on the CPU or on a
    /// device. `drupe_runtime_gpu::open_sessions` makes such ones; contexts are then in the GPU's memory.
    ///
    /// # Errors
    /// When they are sessions of other programs.
    pub fn with_sessions(model: &LanguageModel, sessions: Vec<Session>) -> Result<Engine, Error> {
        let same = |(program, session): (&Program, &Session)| {
            let other = session.program();
            program.fingerprint() == other.fingerprint() && program.plan().entry == other.plan().entry
        };
        let programs = model.programs();
        if programs.len() != sessions.len() || !programs.into_iter().zip(&sessions).all(same) {
            return Err(Error::OtherSessions);
        }
        let mut sessions = sessions.into_iter();
        let decode = sessions.next().ok_or(Error::OtherSessions)?;
        let prefills = sessions.by_ref().take(model.chunks().len()).collect();
        Ok(Engine { decode, prefills, score: sessions.next(), model: model.clone(), logits: Vec::new() })
    }

    /// The model.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// The number of threads, with the calling one.
    pub fn threads(&self) -> usize {
        self.decode.threads()
    }

    /// A context in which nothing was read.
    ///
    /// # Errors
    /// When memory is short.
    pub fn context(&self) -> Result<Context, Error> {
        Ok(Context::new(self.decode.state(&self.model.programs())?))
    }

    /// Bytes that were copied between the host's memory and a GPU's; none on the CPU.
    pub fn crossed(&self) -> Crossed {
        let sessions = std::iter::once(&self.decode).chain(&self.prefills).chain(&self.score);
        sessions.map(Session::crossed).fold(Crossed::default(), |sum, one| Crossed {
            to_device: sum.to_device + one.to_device,
            from_device: sum.from_device + one.from_device,
        })
    }

    /// Makes `context` one in which exactly `tokens` were read, and gives the logits of what comes next. Tokens that
    /// it starts with already are not read again, but for the last.
    ///
    /// All but the last token go through `prefill`, in chunks of the lengths that there are, so that few runs are needed
    /// and little is filled up; where no chunk fits the context any more, and where few tokens are left, they go through
    /// `decode` one by one, as the last does.
    ///
    /// # Errors
    /// When there are no tokens, unknown ones, or more than fit; when cancelled. What was read by then stays.
    pub fn read(&mut self, context: &mut Context, tokens: &[u32], cancel: &Cancel) -> Result<&mut [f32], Error> {
        self.read_with(context, tokens, cancel, &mut None)
    }

    /// [`Engine::read`] that shows `observer` the name of the entry, and every step of it as soon as it is done.
    ///
    /// # Errors
    /// As for [`Engine::read`].
    pub fn read_observed(
        &mut self,
        context: &mut Context,
        tokens: &[u32],
        cancel: &Cancel,
        observer: &mut dyn FnMut(&str, StepReport<'_>),
    ) -> Result<&mut [f32], Error> {
        self.read_with(context, tokens, cancel, &mut Some(observer))
    }

    fn read_with(
        &mut self,
        context: &mut Context,
        tokens: &[u32],
        cancel: &Cancel,
        observer: &mut Option<Observer<'_>>,
    ) -> Result<&mut [f32], Error> {
        let (last, before) = tokens.split_last().ok_or(Error::EmptyPrompt)?;
        self.check(tokens)?;
        context.truncate(context.shared(before))?;
        self.prefill(context, before, cancel, observer)?;
        self.step_with(context, *last, observer)
    }

    /// Reads on to the end of `tokens`, which `context` holds the first of.
    fn prefill(
        &mut self,
        context: &mut Context,
        tokens: &[u32],
        cancel: &Cancel,
        observer: &mut Option<Observer<'_>>,
    ) -> Result<(), Error> {
        while context.tokens().len() < tokens.len() {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let rest = &tokens[context.tokens().len()..];
            let room = self.model.context_length().saturating_sub(context.tokens().len());
            let chunks = self.model.chunks();
            let first = chunks.partition_point(|length| *length > room);
            match next_run(&chunks[first..], rest.len()) {
                Some(index) => {
                    let length = chunks[first + index];
                    let part = &rest[..rest.len().min(length)];
                    run(&mut self.prefills[first + index], &self.model, context, part, length, observer)?;
                }
                None => _ = self.step_with(context, rest[0], observer)?,
            }
        }
        Ok(())
    }

    /// Reads one more token, and gives the logits of what comes next; the caller may change them.
    ///
    /// # Errors
    /// When the token is unknown, or does not fit.
    pub fn step(&mut self, context: &mut Context, token: u32) -> Result<&mut [f32], Error> {
        self.step_with(context, token, &mut None)
    }

    fn step_with(
        &mut self,
        context: &mut Context,
        token: u32,
        observer: &mut Option<Observer<'_>>,
    ) -> Result<&mut [f32], Error> {
        self.check_room(context.tokens().len() + 1)?;
        self.check(&[token])?;
        let outputs = run(&mut self.decode, &self.model, context, &[token], 1, observer)?;
        copy_logits(&outputs, &mut self.logits)?;
        Ok(&mut self.logits)
    }

    /// Reads `tokens` behind those that were read, and shows `visit` the position of each of them in the context, with
    /// the logits of what comes after it. Positions before `from` are not shown, and cost less.
    ///
    /// # Errors
    /// As for [`Engine::read`], and when the artifact has no entry `score`.
    pub fn score(
        &mut self,
        context: &mut Context,
        tokens: &[u32],
        from: usize,
        cancel: &Cancel,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        self.check_room(context.tokens().len() + tokens.len())?;
        self.check(tokens)?;
        let score = self.score.as_mut().ok_or(Error::NoScore)?;
        let chunk = self.model.chunks()[0];
        let mut left = tokens;
        while !left.is_empty() {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let start = context.tokens().len();
            let fits = start + chunk <= self.model.context_length();
            let (part, rest) = left.split_at(if fits { left.len().min(chunk) } else { 1 });
            let (session, length) = match fits {
                false => (&mut self.decode, 1),
                true if start + part.len() <= from => (&mut self.prefills[0], chunk),
                true => (&mut *score, chunk),
            };
            let outputs = run(session, &self.model, context, part, length, &mut None)?;
            let all = outputs.first().map(|output| output.tensor.as_slice::<f32>()).transpose();
            let all = all.map_err(drupe_runtime::Error::from)?.unwrap_or_default();
            let rows = all.chunks_exact(self.model.vocabulary()).take(part.len());
            let shown = rows.enumerate().filter(|(row, _)| start + row >= from);
            shown.for_each(|(row, logits)| visit(start + row, logits));
            left = rest;
        }
        Ok(())
    }

    fn check(&self, tokens: &[u32]) -> Result<(), Error> {
        self.check_room(tokens.len())?;
        let vocabulary = self.model.vocabulary();
        match tokens.iter().find(|token| **token as usize >= vocabulary) {
            Some(&token) => Err(Error::UnknownToken { token, vocabulary }),
            None => Ok(()),
        }
    }

    fn check_room(&self, tokens: usize) -> Result<(), Error> {
        let most = self.model.context_length();
        if tokens <= most { Ok(()) } else { Err(Error::ContextFull { tokens, most }) }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({} threads)", self.threads())
    }
}

/// Runs an entry that takes `length` tokens on `tokens`, which are no more, and takes these over.
fn run<'a>(
    session: &'a mut Session,
    model: &LanguageModel,
    context: &mut Context,
    tokens: &[u32],
    length: usize,
    observer: &mut Option<Observer<'_>>,
) -> Result<Vec<OutputView<'a>>, Error> {
    let mut values: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    // Nobody sees what fills the chunk up.
    values.resize(length, 0);
    let values = Tensor::from_slice(&[length], &values).map_err(drupe_runtime::Error::from)?;
    let inputs = [(model.tokens_input(), values.view())];
    let outputs = match observer {
        None => session.run_with_state(&mut context.state, &inputs)?,
        Some(observer) => {
            let entry = session.program().plan().entry.to_string();
            session.run_with_state_observed(&mut context.state, &inputs, &mut |step| observer(&entry, step))?
        }
    };
    context.extend(tokens)?;
    Ok(outputs)
}

/// The first of the runs that read `rest` tokens soonest: the position of its length in `chunks`, which are longest first;
/// none for a token by itself.
fn next_run(chunks: &[usize], rest: usize) -> Option<usize> {
    let longest = chunks.first().copied().unwrap_or(1);
    // What so many tokens cost, and the run to begin with: of equal ones the longest.
    let mut soonest = vec![(0, chunks.len())];
    for tokens in 1..=rest.min(longest) {
        let run = |length: usize, cost: usize, index| (soonest[tokens.saturating_sub(length)].0 + cost, index);
        let chunk = |(index, length): (usize, &usize)| run(*length, START + length, index);
        let best = chunks.iter().enumerate().map(chunk).fold(run(1, SINGLE, chunks.len()), Ord::min);
        soonest.push(best);
    }
    let index = if rest > longest { 0 } else { soonest[rest].1 };
    (index < chunks.len()).then_some(index)
}

/// The first output's only row.
fn copy_logits(outputs: &[OutputView], logits: &mut Vec<f32>) -> Result<(), Error> {
    logits.clear();
    if let Some(output) = outputs.first() {
        logits.extend_from_slice(output.tensor.as_slice::<f32>().map_err(drupe_runtime::Error::from)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::next_run;

    /// The runs by which so many tokens are read.
    fn runs(chunks: &[usize], tokens: usize) -> Vec<usize> {
        let (mut left, mut lengths) = (tokens, Vec::new());
        while left > 0 {
            let length = next_run(chunks, left).map_or(1, |index| chunks[index]);
            left = left.saturating_sub(length);
            lengths.push(length);
        }
        lengths
    }

    #[test]
    fn prompts_are_read_in_few_runs_that_fill_little_up() {
        let chunks = [256, 64, 16];
        assert_eq!(runs(&chunks, 512), [256, 256]);
        assert_eq!(runs(&chunks, 300), [256, 64], "twenty tokens too many cost less than two runs");
        assert_eq!(runs(&chunks, 275), [256, 16, 16]);
        assert_eq!(runs(&chunks, 250), [256]);
        assert_eq!(runs(&chunks, 20), [16, 16]);
        assert_eq!(runs(&chunks, 2), [1, 1]);
        assert_eq!(runs(&[128], 130), [128, 1, 1]);
        assert_eq!(runs(&[128], 13), [1; 13], "not as long as a chunk");
        assert_eq!(runs(&[128], 14), [128]);
        assert_eq!(runs(&[], 3), [1; 3], "no chunk fits any more");
        assert!(runs(&chunks, 0).is_empty());
    }
}
