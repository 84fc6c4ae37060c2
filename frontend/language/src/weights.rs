//! What a checkpoint is to the builder: names, and weights that are read when they are asked for.

use drupe_ir::{DType, Diagnostic, TensorData};
use std::sync::Arc;

/// What a tensor is to the network. Most exist once a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Vectors of tokens, [vocabulary, hidden].
    Embedding,
    /// Vectors of positions, [positions, hidden].
    PositionEmbedding,
    /// Vectors of token types, [types, hidden].
    TypeEmbedding,
    /// The norm of the sum of embeddings.
    EmbeddingNorm,
    /// The norm ahead of the head.
    FinalNorm,
    /// From hidden states to logits, [vocabulary, hidden].
    Head,
    /// The norm ahead of attention.
    AttentionNorm,
    /// Queries, [heads * head size, hidden].
    Query,
    /// Keys, [key heads * head size, hidden].
    Key,
    /// Values, [key heads * head size, hidden].
    Value,
    /// Queries, keys and values, one below the other.
    QueryKeyValue,
    /// The norm of every head's query.
    QueryNorm,
    /// The norm of every head's key.
    KeyNorm,
    /// From the heads' values to hidden states, [hidden, heads * head size].
    AttentionOutput,
    /// The norm behind attention.
    AttentionOutputNorm,
    /// The norm ahead of the feed-forward network.
    MlpNorm,
    /// What the activation is applied to, [intermediate, hidden].
    Gate,
    /// What the gate is multiplied by, [intermediate, hidden]; without a gate, what the activation is applied to.
    Up,
    /// `Gate` and `Up`, one below the other.
    GateUp,
    /// Back to hidden states, [hidden, intermediate].
    Down,
    /// The norm behind the feed-forward network.
    MlpOutputNorm,
}

/// Names of tensors, without `.weight` or `.bias`; `{}` is the layer's number.
pub type Names = &'static [(Part, &'static str)];

/// A weight as a checkpoint has it.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Numbers: f32, f16 or bf16.
    Plain(TensorData),
    /// Integers with scales.
    Quantized(QuantizedTensor),
}

impl Weight {
    /// The extents of the tensor that it stands for.
    pub fn shape(&self) -> &[usize] {
        match self {
            Weight::Plain(data) => &data.shape,
            Weight::Quantized(data) => &data.values.shape,
        }
    }
}

/// A matrix of integers in groups: column `c` of row `r` stands for
/// `scales[r, c / group] * values[r, c] + offsets[r, c / group]`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensor {
    /// i4, u4 or i8 [rows, columns].
    pub values: TensorData,
    /// f32 [rows, columns / group].
    pub scales: TensorData,
    /// f32 [rows, columns / group]; none where all are 0.
    pub offsets: Option<TensorData>,
    /// Columns that share a scale.
    pub group: usize,
}

impl QuantizedTensor {
    /// The same with its scales in f16, and with its offsets, where f16 holds all of them exactly.
    pub fn with_small_scales(self) -> Result<QuantizedTensor, Diagnostic> {
        let small = |data: TensorData| -> Result<TensorData, Diagnostic> {
            let halves = data.to_f32().and_then(|numbers| {
                let exact = |number: f32| Some(half::f16::from_f32(number)).filter(|half| half.to_f32() == number);
                numbers.into_iter().map(exact).collect::<Option<Vec<half::f16>>>()
            });
            let Some(halves) = halves else { return Ok(data) };
            let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            TensorData::from_bytes(DType::F16, data.shape, bytes).map_err(|error| Diagnostic::new("parse", error))
        };
        Ok(QuantizedTensor { scales: small(self.scales)?, offsets: self.offsets.map(small).transpose()?, ..self })
    }

    /// The numbers that it stands for, f32 [rows, columns]: product and sum are each rounded once, as llama.cpp's
    /// `dequantize_row_*` do.
    pub fn dequantize(&self) -> Result<TensorData, Diagnostic> {
        let broken = |what: &str| Diagnostic::new("parse", format!("a quantised tensor's {what}: {self:?}"));
        let scales = self.scales.to_f32().ok_or_else(|| broken("scales are not f32"))?;
        let offsets = match &self.offsets {
            Some(offsets) => Some(offsets.to_f32().ok_or_else(|| broken("offsets are not f32"))?),
            None => None,
        };
        let count = self.values.elements();
        let fits = |numbers: usize| self.group.checked_mul(numbers) == Some(count);
        if !fits(scales.len()) || !offsets.as_ref().is_none_or(|offsets| fits(offsets.len())) {
            return Err(broken("groups do not fit its values"));
        }
        let bytes = self.values.bytes();
        let nibble = |index: usize| bytes[index / 2] >> (index % 2 * 4) & 15;
        let value: Box<dyn Fn(usize) -> f32> = match self.values.dtype {
            DType::I8 => Box::new(|index| f32::from(bytes[index] as i8)),
            DType::U4 => Box::new(|index| f32::from(nibble(index))),
            DType::I4 => Box::new(|index| f32::from((nibble(index) << 4) as i8 >> 4)),
            _ => return Err(broken("values are of another type")),
        };
        let real = |index: usize| {
            let group = index / self.group;
            let scaled = scales[group] * value(index);
            offsets.as_ref().map_or(scaled, |offsets| scaled + offsets[group])
        };
        let real: Vec<u8> = (0..count).flat_map(|index| real(index).to_le_bytes()).collect();
        TensorData::from_bytes(DType::F32, self.values.shape.clone(), real).map_err(|error| broken(&error.to_string()))
    }
}

/// The tensors of a checkpoint, by the names it gives them.
pub trait Weights {
    /// The tensor called `name`; none if there is no such tensor.
    fn read(&self, name: &str) -> Result<Option<Weight>, Diagnostic>;

    /// The names of all tensors, in order.
    fn names(&self) -> Vec<String>;

    /// The file that has, or should have, the tensor called `name`.
    fn file(&self, name: &str) -> Arc<str>;
}

/// `weight` as f32, which f16 and bf16 become exactly. The error does not say which tensor it is.
pub(crate) fn widen(weight: Weight) -> Result<TensorData, Diagnostic> {
    let data = match weight {
        Weight::Plain(data) => data,
        Weight::Quantized(data) => return data.dequantize(),
    };
    let pairs = data.bytes().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let wide: Vec<u8> = match data.dtype {
        DType::F32 => return Ok(data),
        DType::F16 => pairs.flat_map(|bits| half::f16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        DType::Bf16 => pairs.flat_map(|bits| half::bf16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        other => {
            return Err(Diagnostic::new("unsupported", format!("weights of type {other}"))
                .help("save the model with weights of f32, f16 or bf16, or as a GGUF file"));
        }
    };
    TensorData::from_bytes(DType::F32, data.shape.clone(), wide).map_err(|error| Diagnostic::new("parse", error))
}
