//! E-graph rewriting of tensor IR: rules by family, extraction.
