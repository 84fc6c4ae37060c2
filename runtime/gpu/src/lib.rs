//! # drupe-runtime-gpu: the steps of a plan that are a GPU's
