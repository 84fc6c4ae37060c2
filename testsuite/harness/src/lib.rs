//! Filetests, differential tests and conformance.
