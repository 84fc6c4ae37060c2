//! A checkpoint made from nothing: weights of any name, as the builder asks for them.

use drupe_ir::{DType, Diagnostic, Module, TensorData};
use drupe_language::{Checkpoint, Options, Weight, Weights, family_of, import};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tensors by name.
#[derive(Default)]
pub struct Toy(pub BTreeMap<String, TensorData>);

impl Weights for Toy {
    fn read(&self, name: &str) -> Result<Option<Weight>, Diagnostic> {
        Ok(self.0.get(name).cloned().map(Weight::Plain))
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn file(&self, _name: &str) -> Arc<str> {
        "toy.safetensors".into()
    }
}

/// A llama of two layers, two heads of four, one of them for keys, and seven tokens.
pub fn config() -> Map<String, Value> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 7,
        "hidden_size": 8,
        "intermediate_size": 6,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 16,
    });
    config.as_object().unwrap().clone()
}

/// Weights for [`config`], small numbers that depend on name and position only.
pub fn weights() -> Toy {
    let mut toy = Toy::default();
    let mut add = |name: String, shape: &[usize]| {
        let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let value = |index: u32| (seed.wrapping_add(index).wrapping_mul(2_654_435_761) >> 24) as f32 / 256.0 - 0.5;
        let values: Vec<f32> = (0..shape.iter().product::<usize>() as u32).map(value).collect();
        toy.0.insert(name, TensorData::from_f32(shape.to_vec(), &values).unwrap());
    };
    add("model.embed_tokens.weight".into(), &[7, 8]);
    add("model.norm.weight".into(), &[8]);
    add("lm_head.weight".into(), &[7, 8]);
    for layer in 0..2 {
        let mut of_layer = |name: &str, shape: &[usize]| add(format!("model.layers.{layer}.{name}.weight"), shape);
        of_layer("input_layernorm", &[8]);
        of_layer("post_attention_layernorm", &[8]);
        of_layer("self_attn.q_proj", &[8, 8]);
        of_layer("self_attn.k_proj", &[4, 8]);
        of_layer("self_attn.v_proj", &[4, 8]);
        of_layer("self_attn.o_proj", &[8, 8]);
        of_layer("mlp.gate_proj", &[6, 8]);
        of_layer("mlp.up_proj", &[6, 8]);
        of_layer("mlp.down_proj", &[8, 6]);
    }
    toy
}

/// The module of `weights` by `config`.
pub fn build(config: &Map<String, Value>, weights: &Toy, options: &Options) -> Result<Module, Diagnostic> {
    let file: Arc<str> = "toy/config.json".into();
    let family = family_of(config, &file)?;
    let checkpoint =
        Checkpoint { name: "toy", file, family, config, names: family.names, norms_are_whole: false, weights };
    import(&checkpoint, options)
}

/// `config` with `key` set to `value`.
pub fn with(key: &str, value: Value) -> Map<String, Value> {
    let mut config = config();
    config.insert(key.into(), value);
    config
}

/// An f32 tensor of zeros.
pub fn zeros(shape: &[usize]) -> TensorData {
    let bytes = vec![0; DType::F32.bytes_of(shape.iter().product())];
    TensorData::from_bytes(DType::F32, shape.to_vec(), bytes).unwrap()
}
