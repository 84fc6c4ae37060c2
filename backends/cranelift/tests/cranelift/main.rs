//! Kernels through Cranelift: what is written, and what it computes.

mod emit;
mod instructions;
mod support;
