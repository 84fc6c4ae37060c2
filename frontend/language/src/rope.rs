//! Rotations of queries and keys by their positions (RoPE, arXiv 2104.09864), as tables made at import.
//!
//! The formulas are those of transformers' `modeling_rope_utils.py`, whose function is named at each variant.

use crate::family::Family;
use crate::keys::Keys;
use drupe_ir::{Diagnostic, TensorData};
use serde_json::Map;
use std::f64::consts::PI;

/// A rotation: pair `i` of a head, elements `i` and `i + rotated / 2`, turns by `position * frequency[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Frequency `i` is `base^(-2 i / rotated)`, before scaling.
    pub base: f64,
    /// How many elements of a head are turned, from the first on; even.
    pub rotated: usize,
    /// How frequencies are changed for contexts longer than those of the training.
    pub scaling: Scaling,
}

/// A change of the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// None.
    Plain,
    /// Every frequency is divided by the factor: `_compute_linear_scaling_rope_parameters`.
    Linear(f64),
    /// Every frequency is divided by a number of its own: llama.cpp's `rope_freqs.weight`.
    Divided(Vec<f64>),
    /// Slow ones are divided, fast ones are kept, and those between are interpolated:
    /// `_compute_llama3_parameters`.
    Llama3 {
        /// What slow ones are divided by.
        factor: f64,
        /// Slow: fewer turns than this in the context of the training.
        low: f64,
        /// Fast: more turns than this.
        high: f64,
        /// The context of the training.
        original: f64,
    },
    /// The base grows with the context beyond `positions`: `_compute_dynamic_ntk_parameters`.
    Dynamic {
        /// How fast.
        factor: f64,
        /// The context of the training.
        positions: f64,
    },
    /// Divided by numbers for short contexts or by others for long ones: `_compute_longrope_parameters`.
    Long {
        /// For contexts up to `original`.
        short: Vec<f64>,
        /// For longer ones.
        long: Vec<f64>,
        /// The context of the training.
        original: f64,
        /// What sine and cosine are multiplied by.
        attention: f64,
    },
}

impl Rope {
    /// Cosines and sines, each f32 [rows, rotated / 2], for positions from 0 on in a model made for `context` of them.
    ///
    /// A transformers model changes the frequencies of [`Scaling::Dynamic`] and [`Scaling::Long`] when a text outgrows
    /// a limit. Here they are those of a text that fills the context, so that cached keys stay valid: a model compiled
    /// for a context within the limit is the same as there.
    ///
    /// Rounded as there: frequency and angle to f32, and the cosine of that; all else is computed in f64.
    pub fn tables(&self, context: usize, rows: usize) -> Result<(TensorData, TensorData), Diagnostic> {
        let (frequencies, attention) = self.frequencies(context);
        let table = |function: fn(f64) -> f64| {
            let row = |position: usize| {
                let turned = frequencies.iter().map(move |frequency| {
                    let angle = position as f32 * frequency;
                    function(f64::from(angle)) as f32
                });
                turned.flat_map(|value| (value * attention as f32).to_le_bytes()).collect::<Vec<u8>>()
            };
            let bytes = (0..rows).flat_map(row).collect();
            TensorData::from_bytes(drupe_ir::DType::F32, vec![rows, frequencies.len()], bytes)
                .map_err(|error| Diagnostic::new("parse", error))
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
    }

    /// The frequencies in radians a position, and what sines and cosines are multiplied by.
    fn frequencies(&self, context: usize) -> (Vec<f32>, f64) {
        let (rotated, context) = (self.rotated as f64, context as f64);
        let plain = |base: f64| (0..self.rotated / 2).map(move |i| base.powf(-2.0 * i as f64 / rotated));
        let rounded = |frequencies: &mut dyn Iterator<Item = f64>| frequencies.map(|f| f as f32).collect::<Vec<f32>>();
        let divided = |factors: &[f64]| rounded(&mut plain(self.base).zip(factors).map(|(f, factor)| f / factor));
        match &self.scaling {
            Scaling::Plain => (rounded(&mut plain(self.base)), 1.0),
            Scaling::Linear(factor) => (rounded(&mut plain(self.base).map(|f| f / factor)), 1.0),
            Scaling::Divided(factors) => (divided(factors), 1.0),
            Scaling::Llama3 { factor, low, high, original } => {
                let scaled = |frequency: f64| {
                    let turns = original * frequency / (2.0 * PI);
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                (rounded(&mut plain(self.base).map(scaled)), 1.0)
            }
            Scaling::Dynamic { factor, positions } => {
                let growth = factor * context.max(*positions) / positions - (factor - 1.0);
                (rounded(&mut plain(self.base * growth.powf(rotated / (rotated - 2.0)))), 1.0)
            }
            Scaling::Long { short, long, original, attention } => {
                (divided(if context > *original { long } else { short }), *attention)
            }
        }
    }
}

/// The rotations of a model: one, or one for layers without and one for layers with a window.
///
/// Both forms of config.json are read: `rope_theta`, `rope_scaling`, `partial_rotary_factor` and
/// `rope_local_base_freq`, and what transformers writes since version 5, `rope_parameters`, which has it all, of each
/// type of layer where they differ. The type `divided`, with an array `factors`, is drupe's own: [`Scaling::Divided`].
pub(crate) fn read_ropes(
    keys: &Keys,
    family: &Family,
    head_size: usize,
    positions: usize,
) -> Result<Vec<Rope>, Diagnostic> {
    let none = Map::new();
    let outer = Outer { keys, head_size, positions };
    let Some(parameters) = keys.object("rope_parameters", &none)? else {
        let scaling = keys.object("rope_scaling", &none)?.unwrap_or(Keys { values: &none, defaults: &none, ..*keys });
        let mut ropes = vec![outer.read(&scaling, "rope_theta")?];
        if family.local_rope {
            ropes.push(outer.read(&Keys { values: &none, ..scaling }, "rope_local_base_freq")?);
        }
        return Ok(ropes);
    };
    if !family.local_rope {
        return Ok(vec![outer.read(&parameters, "rope_theta")?]);
    }
    let rope = |layers: &str, base: &str| match parameters.object(layers, &none)? {
        Some(parameters) => outer.read(&parameters, base),
        None => Err(parameters.wrong(layers, "missing")),
    };
    Ok(vec![rope("full_attention", "rope_theta")?, rope("sliding_attention", "rope_local_base_freq")?])
}

/// What is outside of the object that has the parameters of a rotation.
struct Outer<'a> {
    keys: &'a Keys<'a>,
    head_size: usize,
    positions: usize,
}

impl Outer<'_> {
    /// The rotation by `parameters`; its base is their `rope_theta`, or `base` of the configuration.
    fn read(&self, parameters: &Keys, base: &str) -> Result<Rope, Diagnostic> {
        let part = |key| Ok(parameters.optional_positive(key)?.or(self.keys.optional_positive(key)?));
        let rotated = match part("partial_rotary_factor")?.unwrap_or(1.0) {
            part if part <= 1.0 => (self.head_size as f64 * part) as usize,
            part => return Err(self.keys.wrong("partial_rotary_factor", format!("{part} is above 1"))),
        };
        if rotated < 4 || rotated % 2 != 0 {
            let why = format!("{rotated} of {} elements of a head would be turned", self.head_size);
            return Err(self.keys.unsupported("partial_rotary_factor", why));
        }
        let base = match parameters.optional_positive("rope_theta")? {
            Some(base) => base,
            None => self.keys.optional_positive(base)?.unwrap_or(10000.0),
        };
        Ok(Rope { base, rotated, scaling: self.scaling(parameters, rotated / 2)? })
    }

    fn scaling(&self, parameters: &Keys, pairs: usize) -> Result<Scaling, Diagnostic> {
        let positions = self.positions as f64;
        let key = if parameters.find("rope_type").is_some() { "rope_type" } else { "type" };
        let original = || {
            let key = "original_max_position_embeddings";
            Ok(match parameters.optional_positive(key)? {
                Some(original) => original,
                None => self.keys.optional_positive(key)?.unwrap_or(positions),
            })
        };
        match parameters.word(key)?.unwrap_or("default") {
            "default" => Ok(Scaling::Plain),
            "linear" => Ok(Scaling::Linear(parameters.positive("factor")?)),
            "divided" => Ok(Scaling::Divided(parameters.positives("factors", pairs)?)),
            "llama3" => {
                let (low, high) = (parameters.positive("low_freq_factor")?, parameters.positive("high_freq_factor")?);
                if low >= high {
                    return Err(parameters.wrong("high_freq_factor", format!("{high} is not above {low}")));
                }
                Ok(Scaling::Llama3 { factor: parameters.positive("factor")?, low, high, original: original()? })
            }
            "dynamic" => Ok(Scaling::Dynamic { factor: parameters.positive("factor")?, positions }),
            // Phi-3 was first published with the other names for this.
            "longrope" | "su" | "yarn" if parameters.find("long_factor").is_some() => {
                let original = original()?;
                if original < 2.0 {
                    return Err(parameters.wrong("original_max_position_embeddings", format!("{original} is below 2")));
                }
                let factor = parameters.optional_positive("factor")?.unwrap_or(positions / original);
                let grown = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
                Ok(Scaling::Long {
                    short: parameters.positives("short_factor", pairs)?,
                    long: parameters.positives("long_factor", pairs)?,
                    original,
                    attention: parameters.optional_positive("attention_factor")?.unwrap_or(grown),
                })
            }
            other => Err(parameters
                .unsupported(key, format!("the RoPE scaling {other:?}"))
                .help("known are default, linear, dynamic, llama3 and longrope")),
        }
    }
}
