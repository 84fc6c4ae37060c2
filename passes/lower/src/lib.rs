//! Fusion, layout, scheduling and memory planning: tensor IR to kernels and a plan.
