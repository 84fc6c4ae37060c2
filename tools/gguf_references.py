"""GGUF files for the tests: every format of quantised weights, and tiny models of every architecture.

The blocks of `formats.gguf` are random bits with sane scales; `formats.safetensors` has what the
package gguf, which is llama.cpp's own, reads from them. `write_model` writes a tiny model of
transformers as llama.cpp's converter does, by the names that the package has.
"""

import gguf
import numpy as np
import torch
from safetensors.numpy import save_file

FORMATS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
# Where a format's block has floats of 16 bits, in bytes.
HALVES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
ROWS, COLUMNS = 6, 512

# Keys of a GGUF file, behind the architecture's name, and the attributes of a configuration.
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}


def write_formats(gguf_path, reference_path):
    generator = np.random.default_rng(5)
    writer, reference = gguf.GGUFWriter(gguf_path, "none"), {}
    for name in FORMATS:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = generator.integers(0, 256, (ROWS * COLUMNS // block, size), np.uint8)
        for at in HALVES[name]:
            halves = generator.normal(0, 0.1, len(blocks)).astype(np.float16)
            blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
        data = blocks.reshape(ROWS, -1)
        writer.add_tensor(name, data, raw_dtype=kind)
        reference[name] = gguf.dequantize(data, kind).astype(np.float32)
    finish(writer)
    save_file(reference, reference_path)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_model(path, architecture, model):
    """`model`, of transformers, in f32; `architecture` is llama.cpp's name of its kind."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    for key, attribute in KEYS.items():
        value = getattr(config, attribute, None)
        if value is not None:
            add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(f"{architecture}.{key}", value)
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if "rope_theta" in rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if getattr(config, "sliding_window", None) and architecture != "qwen2":
        writer.add_sliding_window(config.sliding_window)
    kinds = {arch: kind for kind, arch in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    for name, value in model.state_dict().items():
        tied = name == "lm_head.weight" and config.tie_word_embeddings
        if tied or name.startswith("pooler") or name.endswith("position_ids"):
            continue
        data = value.float()
        if architecture == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            data = interleave_halves(data, heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            data = data + 1
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(found, data.contiguous().numpy())
    finish(writer)


def interleave_halves(data, heads):
    """The converter's order of a head's rows: pairs that are turned together are neighbours."""
    halves = data.reshape(heads, 2, data.shape[0] // heads // 2, *data.shape[1:])
    return torch.swapaxes(halves, 1, 2).reshape(data.shape)
