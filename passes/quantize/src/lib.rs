//! # drupe-quantize: fewer bits for values
//!
//! What this crate does to a module is only approximately equal, so it happens when it was asked for (a target that says
//! so asks too), and it is visible in the module's types.
//!
//! [`halve_floats`] stores values of 32 bits in 16. Where the module is lowered for a GPU they are widened again when
//! they are loaded: every sum and every function is computed in 32 bits, and a value is rounded once, when it is stored.
//!
//! ```
//! use drupe_ir::{DType, Module, Type, ops};
//! let mut module = Module::new("swish");
//! let x = module.input("x", Type::new(DType::F32, [4])).unwrap();
//! let y = module.add(ops::Silu {}.into(), &[x], &Default::default()).unwrap();
//! module.output("y", y);
//! let halved = drupe_quantize::halve_floats(&module)?;
//! assert!(halved.to_string().contains("silu(%1) : f16[4]"));
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! # Linear layers
//!
//! [`quantize_linears`] makes products with constant matrices products of integers. A [`Scheme`] says how, by a name on the
//! command line; [`choose`] makes of it a [`Choice`] for each input of linear layers, with its measured error. What
//! schemes need to know of values, the ranges of channels and some rows, comes from running [`with_observations`] of the
//! module on a text: the caller's business, since this crate runs no modules.
//!
//! # States
//!
//! [`narrow_states`] stores what a language model keeps from token to token, its cache of keys and values, in f16 or in
//! integers with scales.
//!
//! Invariants: inputs and outputs that are no states keep their types; integers stay as they are; no finite number becomes infinite.

mod allocate;
mod calibrate;
mod choose;
mod halve_floats;
mod linears;
mod measure;
mod narrow_states;
mod outliers;
mod quantize_linears;
mod quantize_states;
mod scheme;
mod stored;
mod transform;
mod weights;

pub use allocate::{Candidate, allocate};
pub use calibrate::{
    DIVERGENCE, LOG_PROBABILITIES, Observed, REFERENCE, range_output, rows_output, with_divergence, with_observations,
};
pub use choose::{Choice, choose, choose_among};
pub use halve_floats::halve_floats;
pub use linears::{Group, Linear, find_linears};
pub use narrow_states::narrow_states;
pub use outliers::hot_channels;
pub use quantize_linears::{GATES, quantize_by_gates, quantize_linears};
pub use quantize_states::{StateBits, quantize_states};
pub use scheme::{ACTIVATION_BLOCK, Activations, Scheme, WeightScheme};
pub use stored::{StoredForm, constant_name, with_numbers};
pub use transform::Transform;
pub use weights::{QuantizedWeights, quantize_weights};
