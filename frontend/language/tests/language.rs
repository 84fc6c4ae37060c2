//! Modules of toy checkpoints: their form, and errors. That they compute the right thing is the matter of
//! `testsuite/language`.

mod support;

use drupe_ir::{DType, TensorData};
use drupe_language::{FAMILIES, Options};
use indexmap::IndexMap;
use serde_json::json;
use support::{build, config, weights, with, zeros};

/// The error of a configuration that must be refused.
fn refused(key: &str, value: serde_json::Value) -> String {
    build(&with(key, value), &weights(), &Options::default()).unwrap_err().to_string()
}

#[test]
fn defaults_of_families_are_objects() {
    for family in FAMILIES {
        let defaults: serde_json::Map<String, serde_json::Value> = serde_json::from_str(family.defaults).unwrap();
        assert!(!defaults.is_empty(), "{}", family.name);
    }
}

#[test]
fn a_decoder_has_the_form_that_the_page_says() {
    let module = build(&config(), &weights(), &Options { context: Some(8), ..Options::default() }).unwrap();
    let text = module.to_string();
    assert!(text.contains("dim seq in 1..=8") && text.contains("dim past in 0..=8"), "{text}");
    let inputs: Vec<String> =
        module.graph.inputs().map(|(name, value)| format!("{name}: {}", module.graph.ty(value))).collect();
    assert_eq!(inputs[..2], ["tokens: i32[seq]", "cache.0.key: f32[past, 1, 4]"]);
    let outputs: Vec<String> =
        module.graph.outputs.iter().map(|(name, value)| format!("{name}: {}", module.graph.ty(*value))).collect();
    assert_eq!(outputs[0], "logits: f32[seq, 7]");
    assert_eq!(outputs[4], "cache.1.value.next: f32[past + seq, 1, 4]");
    assert_eq!(&*module.states["cache.1.value"], "cache.1.value.next");
    assert!(text.contains(r#"at "model.layers.1.self_attn.q_proj" in "toy.safetensors""#), "{text}");
}

#[test]
fn the_whole_module_of_two_layers() {
    insta::assert_snapshot!(build(&config(), &weights(), &Options { context: Some(4), ..Options::default() }).unwrap());
}

#[test]
fn tokens_one_by_one_give_what_all_at_once_do() {
    let module = build(&config(), &weights(), &Options::default()).unwrap();
    let tokens = |values: &[i32]| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorData::from_bytes(DType::I32, vec![values.len()], bytes).unwrap()
    };
    let mut inputs: IndexMap<String, TensorData> =
        module.states.keys().map(|name| (name.to_string(), zeros(&[0, 1, 4]))).collect();
    inputs.insert("tokens".into(), tokens(&[1, 5, 3, 6]));
    let at_once = drupe_eval::eval(&module, &inputs).unwrap();
    let mut logits = Vec::new();
    for token in [1, 5, 3, 6] {
        inputs.insert("tokens".into(), tokens(&[token]));
        let outputs = drupe_eval::eval(&module, &inputs).unwrap();
        logits.extend(outputs["logits"].to_f32().unwrap());
        for (input, output) in &module.states {
            inputs.insert(input.to_string(), outputs[&**output].clone());
        }
    }
    let all = at_once["logits"].to_f32().unwrap();
    assert!(all.iter().zip(&logits).all(|(all, one)| (all - one).abs() < 1e-5), "{all:?}\n{logits:?}");
    assert_eq!(at_once["cache.1.key.next"].shape, [4, 1, 4]);
}

#[test]
fn tied_embeddings_are_one_constant() {
    let mut tied = weights();
    tied.0.remove("lm_head.weight");
    let module = build(&with("tie_word_embeddings", json!(true)), &tied, &Options::default()).unwrap();
    let shape = [7, 8];
    assert_eq!(module.constants.values().filter(|data| data.shape == shape).count(), 1);
    // A copy of the embedding in the file is not read.
    build(&with("tie_word_embeddings", json!(true)), &weights(), &Options::default()).unwrap();
}

#[test]
fn shared_layers_have_caches_of_their_own_and_one_set_of_weights() {
    let mut shared = with("layer_sharing", json!(true));
    shared.insert("architectures".into(), json!(["MobileLLMForCausalLM"]));
    let module = build(&shared, &weights(), &Options::default()).unwrap();
    assert_eq!(module.states.len(), 8);
    assert_eq!(module.constants.keys().filter(|name| name.ends_with("q_proj.weight")).count(), 2);
}

#[test]
fn missing_tensors_and_tensors_of_other_shapes_are_named() {
    let mut broken = weights();
    broken.0.remove("model.layers.1.mlp.up_proj.weight");
    let error = build(&config(), &broken, &Options::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "error[parse]: the tensor \"model.layers.1.mlp.up_proj.weight\" is missing\n  \
         --> toy.safetensors node \"model.layers.1.mlp.up_proj.weight\"\n  \
         help: the download may be incomplete, or config.json is not that of these weights"
    );
    broken.0.insert("model.layers.1.mlp.up_proj.weight".into(), zeros(&[8, 6]));
    let error = build(&config(), &broken, &Options::default()).unwrap_err();
    assert_eq!(error.message, "the tensor \"model.layers.1.mlp.up_proj.weight\" has shape [8, 6] instead of [6, 8]");
}

#[test]
fn a_tensor_without_a_place_is_an_error() {
    let mut more = weights();
    more.0.insert("model.layers.0.self_attn.q_proj.bias".into(), zeros(&[8]));
    more.0.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), zeros(&[2]));
    let error = build(&config(), &more, &Options::default()).unwrap_err();
    assert_eq!(error.message, "the llama family has no place for the tensor \"model.layers.0.self_attn.q_proj.bias\"");
}

#[test]
fn integers_are_no_weights() {
    let mut integers = weights();
    let bytes = TensorData::from_bytes(DType::I8, vec![8], vec![0; 8]).unwrap();
    integers.0.insert("model.norm.weight".into(), bytes);
    let error = build(&config(), &integers, &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("error[unsupported]: weights of type i8\n  --> toy.safetensors node"), "{error}");
}

#[test]
fn configurations_that_make_no_sense_name_their_key() {
    assert!(refused("architectures", json!(["MambaForCausalLM"])).contains("the architecture \"MambaForCausalLM\""));
    assert!(refused("hidden_size", json!(0)).contains("`hidden_size`: an integer in 1..="));
    assert!(refused("hidden_size", json!(1u64 << 60)).contains("`hidden_size`"));
    assert!(refused("num_hidden_layers", json!(1 << 20)).contains("`num_hidden_layers`: 1048576, more than 4096"));
    assert!(refused("num_key_value_heads", json!(3)).contains("`num_key_value_heads`: 3 do not divide 2 heads"));
    assert!(refused("head_dim", json!(1 << 20)).contains("`head_dim`: 1048576, more than 4096"));
    assert!(refused("rms_norm_eps", json!("small")).contains("`rms_norm_eps`: a number expected, not \"small\""));
    assert!(refused("hidden_act", json!("xielu")).contains("the activation \"xielu\""));
    assert!(refused("vocab_size", json!(null)).contains("`vocab_size`: missing"));
    assert!(refused("layer_types", json!(["full_attention"])).contains("`layer_types`: 1 entries for 2 layers"));
    assert!(refused("rope_scaling", json!({"rope_type": "yarn"})).contains("the RoPE scaling \"yarn\""));
    assert!(refused("rope_scaling", json!({"type": "linear"})).contains("`factor`: missing"));
    assert!(refused("rope_scaling", json!(["linear"])).contains("`rope_scaling`: an object expected"));
    assert!(refused("partial_rotary_factor", json!(0.1)).contains("0 of 4 elements of a head would be turned"));
}

#[test]
fn a_context_beyond_reason_is_refused() {
    let error = build(&config(), &weights(), &Options { context: Some(usize::MAX), ..Options::default() }).unwrap_err();
    assert!(error.message.starts_with("a context of 18446744073709551615 positions"), "{error}");
}
