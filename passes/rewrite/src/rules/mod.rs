//! The rules, by family. To add one: an entry in its family's table, with a law and an example; the tests do the
//! rest.

mod activation;
mod algebra;
mod channel;
mod contraction;
mod movement;
mod norm;
mod parallel;
mod piecewise;
mod reduction;
mod scale;

use crate::rule::Rule;

/// Every family and its rules, in the order in which they are tried.
pub static TABLE: &[(&str, &[Rule])] = &[
    ("algebra", algebra::RULES),
    ("piecewise", piecewise::RULES),
    ("movement", movement::RULES),
    ("reduction", reduction::RULES),
    ("activation", activation::RULES),
    ("norm", norm::RULES),
    ("scale", scale::RULES),
    ("contraction", contraction::RULES),
    ("parallel", parallel::RULES),
];
