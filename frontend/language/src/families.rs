//! The families, and what their tensors are called. A new family is a new row of [`FAMILIES`].

use crate::family::{Family, Flag, Kind, Mlp, Norm, Placement, Windows};
use crate::{Names, Part};

/// Llama's names, which nearly all families use.
const DECODER: Names = &[
    (Part::Embedding, "model.embed_tokens"),
    (Part::FinalNorm, "model.norm"),
    (Part::Head, "lm_head"),
    (Part::AttentionNorm, "model.layers.{}.input_layernorm"),
    (Part::Query, "model.layers.{}.self_attn.q_proj"),
    (Part::Key, "model.layers.{}.self_attn.k_proj"),
    (Part::Value, "model.layers.{}.self_attn.v_proj"),
    (Part::QueryKeyValue, "model.layers.{}.self_attn.qkv_proj"),
    (Part::QueryNorm, "model.layers.{}.self_attn.q_norm"),
    (Part::KeyNorm, "model.layers.{}.self_attn.k_norm"),
    (Part::AttentionOutput, "model.layers.{}.self_attn.o_proj"),
    (Part::MlpNorm, "model.layers.{}.post_attention_layernorm"),
    (Part::Gate, "model.layers.{}.mlp.gate_proj"),
    (Part::Up, "model.layers.{}.mlp.up_proj"),
    (Part::GateUp, "model.layers.{}.mlp.gate_up_proj"),
    (Part::Down, "model.layers.{}.mlp.down_proj"),
];

/// Where Gemma's four norms of a block differ.
const GEMMA: Names = &[
    (Part::AttentionOutputNorm, "model.layers.{}.post_attention_layernorm"),
    (Part::MlpNorm, "model.layers.{}.pre_feedforward_layernorm"),
    (Part::MlpOutputNorm, "model.layers.{}.post_feedforward_layernorm"),
];

const BERT: Names = &[
    (Part::Embedding, "embeddings.word_embeddings"),
    (Part::PositionEmbedding, "embeddings.position_embeddings"),
    (Part::TypeEmbedding, "embeddings.token_type_embeddings"),
    (Part::EmbeddingNorm, "embeddings.LayerNorm"),
    (Part::Query, "encoder.layer.{}.attention.self.query"),
    (Part::Key, "encoder.layer.{}.attention.self.key"),
    (Part::Value, "encoder.layer.{}.attention.self.value"),
    (Part::AttentionOutput, "encoder.layer.{}.attention.output.dense"),
    (Part::AttentionOutputNorm, "encoder.layer.{}.attention.output.LayerNorm"),
    (Part::Up, "encoder.layer.{}.intermediate.dense"),
    (Part::Down, "encoder.layer.{}.output.dense"),
    (Part::MlpOutputNorm, "encoder.layer.{}.output.LayerNorm"),
];

/// Tensors of checkpoints that no result depends on: ends of their names. `rotary_emb.inv_freq` and `position_ids`
/// follow from config.json; poolers and heads of pretraining are behind the hidden states that an encoder gives.
pub(crate) const UNREAD: &[(&str, &[&str])] = &[
    ("", &["rotary_emb.inv_freq", "embeddings.position_ids"]),
    ("bert", &["pooler.dense.weight", "pooler.dense.bias"]),
];

/// Llama 2 and 3, TinyLlama, SmolLM and SmolLM2. transformers: `models/llama/modeling_llama.py`.
const LLAMA: Family = Family {
    name: "llama",
    architectures: &["LlamaForCausalLM"],
    model_types: &["llama"],
    gguf: &["llama"],
    names: &[DECODER],
    defaults: r#"{"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 2048}"#,
    kind: Kind::Decoder,
    norm: Norm::Rms,
    placement: Placement::Before,
    query_key_norms: false,
    attention_bias: Flag::Key("attention_bias"),
    output_bias: Flag::Key("attention_bias"),
    mlp_bias: Flag::Key("mlp_bias"),
    mlp: Mlp::Gated,
    fused: false,
    scaled_embedding: false,
    windows: Windows::Never,
    local_rope: false,
};

/// Every family.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    // transformers: models/mistral/modeling_mistral.py
    Family {
        name: "mistral",
        architectures: &["MistralForCausalLM"],
        model_types: &["mistral"],
        gguf: &[],
        defaults: r#"{"rms_norm_eps": 1e-6, "hidden_act": "silu", "num_key_value_heads": 8,
            "max_position_embeddings": 131072, "sliding_window": 4096}"#,
        attention_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        windows: Windows::Always,
        ..LLAMA
    },
    // Qwen2 and Qwen2.5. transformers: models/qwen2/modeling_qwen2.py
    Family {
        name: "qwen2",
        architectures: &["Qwen2ForCausalLM"],
        model_types: &["qwen2"],
        gguf: &["qwen2"],
        defaults: r#"{"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 32768,
            "sliding_window": 4096, "max_window_layers": 28}"#,
        attention_bias: Flag::Yes,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        windows: Windows::FromLayer,
        ..LLAMA
    },
    // transformers: models/qwen3/modeling_qwen3.py
    Family {
        name: "qwen3",
        architectures: &["Qwen3ForCausalLM"],
        model_types: &["qwen3"],
        gguf: &["qwen3"],
        defaults: r#"{"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 32768,
            "head_dim": 128, "sliding_window": 4096, "max_window_layers": 28}"#,
        query_key_norms: true,
        mlp_bias: Flag::No,
        windows: Windows::FromLayer,
        ..LLAMA
    },
    GEMMA2,
    // transformers: models/gemma3/modeling_gemma3.py
    Family {
        name: "gemma3",
        architectures: &["Gemma3ForCausalLM"],
        model_types: &["gemma3_text"],
        gguf: &["gemma3"],
        defaults: r#"{"rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
            "max_position_embeddings": 131072, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "sliding_window_pattern": 6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}"#,
        query_key_norms: true,
        local_rope: true,
        ..GEMMA2
    },
    // Phi-3 and Phi-3.5. transformers: models/phi3/modeling_phi3.py
    Family {
        name: "phi3",
        architectures: &["Phi3ForCausalLM"],
        model_types: &["phi3"],
        gguf: &["phi3"],
        defaults: r#"{"rms_norm_eps": 1e-5, "hidden_act": "silu", "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096}"#,
        attention_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        fused: true,
        windows: Windows::Always,
        ..LLAMA
    },
    // Llama whose blocks may each run twice (`layer_sharing`) and whose embedding may be its head
    // (`share_embedding`): arXiv 2402.14905.
    Family {
        name: "mobilellm",
        architectures: &["MobileLLMForCausalLM"],
        model_types: &["mobilellm"],
        gguf: &[],
        ..LLAMA
    },
    // Llama with ReLU gates: arXiv 2411.05046.
    Family {
        name: "phonelm",
        architectures: &["PhoneLMForCausalLM"],
        model_types: &["phonelm"],
        gguf: &[],
        defaults: r#"{"rms_norm_eps": 1e-6, "hidden_act": "relu", "max_position_embeddings": 2048}"#,
        ..LLAMA
    },
    // BERT, MiniLM, E5 and BGE. transformers: models/bert/modeling_bert.py
    Family {
        name: "bert",
        architectures: &["BertModel"],
        model_types: &["bert"],
        gguf: &["bert"],
        names: &[BERT],
        defaults: r#"{"layer_norm_eps": 1e-12, "hidden_act": "gelu", "max_position_embeddings": 512,
            "type_vocab_size": 2}"#,
        kind: Kind::Encoder,
        norm: Norm::Layer,
        placement: Placement::After,
        attention_bias: Flag::Yes,
        output_bias: Flag::Yes,
        mlp_bias: Flag::Yes,
        mlp: Mlp::Plain,
        ..LLAMA
    },
];

/// transformers: `models/gemma2/modeling_gemma2.py`.
const GEMMA2: Family = Family {
    name: "gemma2",
    architectures: &["Gemma2ForCausalLM"],
    model_types: &["gemma2"],
    gguf: &["gemma2"],
    names: &[GEMMA, DECODER],
    defaults: r#"{"rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
        "max_position_embeddings": 8192, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "sliding_window_pattern": 2, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}"#,
    norm: Norm::RmsPlusOne,
    placement: Placement::Around,
    mlp_bias: Flag::No,
    scaled_embedding: true,
    windows: Windows::Pattern,
    ..LLAMA
};
