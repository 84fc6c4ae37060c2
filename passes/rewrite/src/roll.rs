//! Rolling: a block that a module repeats is rewritten once and used for all of its instances.
//!
//! The layers of a transformer, the blocks of a stage of a convolutional network: the same operators on the same types
//! over and over, with other weights. [`in_blocks`] finds such [`run::Run`]s, takes the module apart into one block for
//! each run and the rest, has every part rewritten on its own, and puts the instances back with their own constants.
//! So neither time nor the size of the e-graph grows with the number of layers, and all layers come out the same.
//!
//! ```text
//! x -> layer(a) -> layer(b) -> layer(c) -> head    the module, with weights a, b and c
//! input -> layer(?) -> output                      the block, with an opaque constant
//! x -> output, input -> head                       the rest
//! ```
//!
//! **A run** is at least three instances of at least eight nodes each. Nodes at the same place have equal operators and
//! types, and each of their operands is, for all instances alike, of the same instance at the same place; or of the
//! instance before (the first reads anything of that type); or a constant of the same type; or a value outside, one for
//! all (a mask) or one for each (a cache). What is read outside is read of every instance, or handed on to the next.
//!
//! **Soundness.** The block stands for every instance, so rules may use only what is the same in all of them. Types
//! are. Constants that are equal in all instances keep their contents. All others are *opaque*: a `const` whose contents
//! the block does not have. To the e-graph it is a constant that can be scaled, merged and folded like any other, but
//! no uniform value is known of it, and rules see contents in no other way ([`crate::node::Facts`]). A value that enters
//! the block is an input, whatever is known of it outside.
//!
//! **Where to cut.** Rules do not see across the cut between two instances, nor across that between a run and the rest.
//! Cuts are where the fewest values are alive; and everything is done twice, the second time with cuts away from the
//! first ones, so that what the first time parts is together the second time.
//!
//! **When.** Where it keeps at least [`crate::Options::least_rolled`] nodes out of the e-graph. A module that has no
//! such run is rewritten whole.

mod cut;
mod find;
mod outline;
mod repetitions;
mod run;
mod stamp;

#[cfg(test)]
mod tests;

pub use find::find;

use crate::Rolled;
use drupe_ir::{Diagnostic, Module, ValueId};
use outline::Outline;

/// A module with every node's position in the module it was made of.
pub struct Rewritten {
    /// The module: the inputs in their order, then what the outputs need.
    pub module: Module,
    /// For each of its nodes the position of the node it is, or was made of.
    pub sources: Vec<usize>,
}

/// `module` rewritten part by part, and where its instances begin now; `None` if nothing in it is worth rolling, or the
/// rewritten parts need each other in a circle. `rewrite` is told how often the part occurs.
pub fn in_blocks(
    module: &Module,
    least: usize,
    avoid: &[ValueId],
    rewrite: &mut dyn FnMut(&Module, usize) -> Result<Rewritten, Diagnostic>,
) -> Result<Option<Stitched>, Diagnostic> {
    let runs = find(module, least, avoid);
    if runs.is_empty() {
        return Ok(None);
    }
    let outline = Outline::new(module, &runs)?;
    let rest = rewrite(&outline.rest, 1)?;
    let mut blocks = Vec::new();
    for (block, run) in outline.blocks.iter().zip(&runs) {
        blocks.push(rewrite(&block.module, run.instances.len())?);
    }
    let rolled =
        runs.iter().map(|run| Rolled { instances: run.instances.len(), nodes: run.instances[0].len() }).collect();
    let stitched = stamp::stitch(module, &runs, &outline, &rest.module, &blocks)?;
    Ok(stitched.map(|(module, seams)| Stitched { module, seams, rolled }))
}

/// A module put together from its rewritten parts.
pub struct Stitched {
    /// The module.
    pub module: Module,
    /// The first node of each instance.
    pub seams: Vec<ValueId>,
    /// What was rolled.
    pub rolled: Vec<Rolled>,
}
