//! # drupe-lower: from tensor IR to kernels and steps
//!
//! ```text
//! check     what no kernel can do is an error
//! fuse      nodes -> regions: one contraction or reduction each, with what is cheap around it
//! place     values -> buffers: views (reshape, concat, halo) share them, the rest get their own
//! widen     for a GPU: half floats are computed with as f32
//! nest      region -> loops over addresses; constant operands of contractions are packed
//! schedule  nest -> tiles, vectors, unrolling, for each level of the target
//! emit      nest + schedule -> kernel
//! units     each step on the CPU or the GPU, and copies between their memories
//! ```
//!
//! [`lower`] takes a rewritten [`drupe_ir::Module`] and gives a [`Program`]. Constant operands of contractions are
//! packed here, in exactly the order their kernels read them.
//!
//! Invariants: all levels' kernels of a step take the same arguments and the same number of tasks; every address
//! a kernel computes lies in its buffers, given the sizes the program states; equal kernels are emitted once. This
//! crate knows no backend: schedules come from the numbers of a [`Target`].

mod affine;
mod attention;
mod check;
mod emit;
mod fuse;
mod halo;
mod nest;
mod pack;
mod place;
mod print;
mod program;
mod quantized;
mod schedule;
mod steps;
mod units;
mod widen;

pub use program::{
    Arg, Buffer, BufferId, KernelId, KernelVariants, Place, Port, Program, ShaderId, ShaderVariants, State, Step, Unit,
    Work,
};

use drupe_ir::{Diagnostic, Module};
use drupe_target::Target;
use fuse::{Role, assign_roles, compose};
use steps::Builder;

/// How to lower.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Keep every node's result in a dense buffer of its own: no fusion and no views, so that each can be
    /// compared with another engine's.
    pub observe: bool,
    /// Lower for the target's GPU: steps are placed on it or on the CPU.
    pub gpu: Option<Placement>,
}

/// Which steps of a program for a GPU are placed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Those that make the program fastest, by the target's numbers: copies between the units count.
    Fastest,
    /// All that the GPU can run.
    Gpu,
}

/// Lowers `module` for `target`. For a GPU, the target has one.
pub fn lower(module: &Module, target: &Target, options: &Options) -> Result<Program, Diagnostic> {
    check::check(module)?;
    let program = lower_with(module, target, options, true)?;
    if program.states_stay() { Ok(program) } else { lower_with(module, target, options, false) }
}

/// [`lower`] with states that keep their place in memory, or without.
fn lower_with(module: &Module, target: &Target, options: &Options, in_place: bool) -> Result<Program, Diagnostic> {
    let roles = assign_roles(module, options.observe);
    let graph = &module.graph;
    let kernels = graph.values().filter(|value| roles[value.index()] == Role::Kernel);
    let mut regions: Vec<_> = kernels.map(|value| compose(module, &roles, value)).collect();
    let mut builder = Builder::new(module, target, options, &roles, &mut regions, in_place);
    let mut next = regions.iter().peekable();
    for value in graph.values() {
        builder.extras(value)?;
        if next.peek().is_some_and(|region| region.result == value) {
            builder.region(next.next().expect("peeked"))?;
        }
        if roles[value.index()] == Role::Builtin {
            builder.builtin(value)?;
        }
    }
    Ok(builder.finish())
}
