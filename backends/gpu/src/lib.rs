//! # drupe-gpu: kernels as shaders
