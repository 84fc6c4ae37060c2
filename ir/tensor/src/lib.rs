//! # drupe-ir: the tensor IR
//!
//! A model is a [`Module`]: symbols with ranges, named constants, and one [`Graph`] of nodes in SSA form, each
//! an [`Op`] applied to earlier values, with exactly one result of a known [`Type`]. Every operator is one row
//! of the table in [`ops`] and two functions, `infer` (result type) and `body` ([`Body`]: what each element
//! is). Everything else about an operator is derived.
//!
//! ```
//! use drupe_ir::{Module, Type, DType, Dim, Op, ops};
//! let mut module = Module::new("tiny");
//! let x = module.input("x", Type::new(DType::F32, [Dim::symbol("B"), Dim::from(4)])).unwrap();
//! let y = module.add(Op::Exp(ops::Exp {}), &[x], &Default::default()).unwrap();
//! module.output("y", y);
//! module.verify().unwrap();
//! println!("{module}");
//! ```
//!
//! Invariants: nodes are in topological order; a node's type is what `infer` says; names of inputs, outputs
//! and constants are unique. This crate knows no frontend, pass, backend or runtime.

mod body;
mod dim;
mod graph;
mod literal;
pub mod ops;
mod origin;
mod parse;
mod print;
mod tensor;
mod types;

pub use body::{BinaryOp, Body, Fold, FoldOp, Scalar, ScalarId, UnaryOp};
pub use dim::{Atom, Dim, DimError, floor_div};
pub use graph::{Graph, Module, Node, SymbolRange, ValueId};
pub use ops::{AttrValue, Op, OpError};
pub use origin::{Diagnostic, Origin};
pub use parse::{Parsed, Scanner, parse, parse_text};
pub use tensor::TensorData;
pub use types::{DType, Float, Scale, Type};
