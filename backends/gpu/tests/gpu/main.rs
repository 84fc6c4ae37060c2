//! Kernels as shaders: what is written, and what software Vulkan computes of it.

mod instructions;
mod shaders;
mod support;
mod tiles;
mod workgroups;
