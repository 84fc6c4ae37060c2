"""Larger language models' shapes with random weights, drupe beside llama.cpp: for speed only, as what they say means nothing.

    testsuite/bench/shapes.py [--shapes A,B] [--formats Q4_0,Q8_0] [--quant stored-blocks] [--rounds N] [--threads N] [--prompt N] [--gen N]

Both sides read one GGUF file, made here: blocks of random integers with small scales, the vocabulary in Q8_0, SmolLM2's
tokenizer with words added until there are enough. drupe compiles it with `--quant stored-blocks`, so that every weight is
the same on both sides and inputs are rounded alike. Each round runs one side after the other; the table has medians, and
the peak of resident memory of each. `./x bench shapes` sets it up.
"""

import argparse
import multiprocessing
import pathlib
import statistics
import subprocess

import gguf
import numpy as np

from language import ROOT, drupe_process, drupe_rates, llama_process, llama_rates, run, started

# hidden, layers, heads, heads of keys, feed-forward, vocabulary, whether it gives the logits too; rotary base.
SHAPES = {
    "qwen2.5-0.5b": ("qwen2", 896, 24, 14, 2, 4864, 151936, True, 1e6),
    "llama-3.2-1b": ("llama", 2048, 16, 32, 8, 8192, 128256, True, 5e5),
    "qwen1.5-1.8b": ("qwen2", 2048, 24, 16, 16, 5504, 151936, False, 1e6),
}
# Octets of a block of 32: the scale, then the integers.
BLOCKS = {"Q4_0": 18, "Q8_0": 34}
SCALE = 0.01


def random_blocks(random, form, rows, columns):
    """A matrix of random integers as the file has it: octets [rows, octets of a row]."""
    size = BLOCKS[form]
    blocks = random.integers(0, 256, (rows * columns // 32, size), dtype=np.uint8)
    blocks[:, :2] = np.frombuffer(np.float16(SCALE / (1 if form == "Q4_0" else 16)).tobytes(), np.uint8)
    return blocks.reshape(rows, columns // 32 * size)


def make(path, shape, form):
    """Writes the file of `shape`, its matrices as `form` says."""
    arch, hidden, layers, heads, key_heads, inner, vocabulary, tied, base = SHAPES[shape]
    random = np.random.default_rng(0)
    tokenizer = gguf.GGUFReader(ROOT / "models" / "smollm2_135m.gguf")
    field = lambda name: tokenizer.fields[f"tokenizer.ggml.{name}"].contents()  # noqa: E731
    tokens = field("tokens")
    tokens += [f"<|extra {number}|>" for number in range(vocabulary - len(tokens))]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_rope_freq_base(base)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types((field("token_type") + [1] * vocabulary)[:vocabulary])
    writer.add_token_merges(field("merges"))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def matrix(name, rows, columns, form=form):
        octets = random_blocks(random, form, rows, columns)
        writer.add_tensor(f"{name}.weight", octets, raw_dtype=gguf.GGMLQuantizationType[form])

    def vector(name, length, value):
        writer.add_tensor(name, np.full(length, value, np.float32))

    matrix("token_embd", vocabulary, hidden, "Q8_0")
    if not tied:
        matrix("output", vocabulary, hidden, "Q8_0")
    vector("output_norm.weight", hidden, 1)
    side = hidden // heads * key_heads
    for layer in range(layers):
        block = f"blk.{layer}"
        vector(f"{block}.attn_norm.weight", hidden, 1)
        vector(f"{block}.ffn_norm.weight", hidden, 1)
        for name, rows, columns in [
            ("attn_q", hidden, hidden), ("attn_k", side, hidden), ("attn_v", side, hidden), ("attn_output", hidden, hidden),
            ("ffn_gate", inner, hidden), ("ffn_up", inner, hidden), ("ffn_down", hidden, inner),
        ]:
            matrix(f"{block}.{name}", rows, columns)
            if arch == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                vector(f"{block}.{name}.bias", rows, 0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--formats", default=",".join(BLOCKS))
    parser.add_argument("--quant", default="stored-blocks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=32)
    parser.add_argument("--drupe", type=pathlib.Path, default=ROOT / "target" / "release" / "drupe")
    args = parser.parse_args()
    folder = ROOT / "target" / "bench-shapes"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for shape in args.shapes.split(","):
        for form in args.formats.split(","):
            path, artifact = folder / f"{shape}.{form}.gguf", folder / f"{shape}.{form}.drupe"
            # In a process of its own: what this one has held counts as memory of those that it starts.
            maker = multiprocessing.Process(target=make, args=(path, shape, form))
            maker.start()
            maker.join()
            run([args.drupe, "compile", path, "-o", artifact, "--quant", args.quant, "--context", 2048, "--cache", "f16"])
            how = (args.prompt, args.gen, args.threads)
            rounds = [(drupe_rates(args.drupe, artifact, *how), llama_rates(path, *how)) for _ in range(args.rounds)]
            mine, its = ([statistics.median(column) for column in zip(*side)] for side in zip(*rounds))
            sizes = [file.stat().st_size / 1e6 for file in (path, artifact)]
            peaks = [started(command(file, *how), file)[1] / 1e6
                     for command, file in ((llama_process, path), (drupe_process, artifact))]
            rows.append(f"| {shape} {form} | {sizes[0]:.0f}, {sizes[1]:.0f} | {its[0]:.0f} | {mine[0]:.0f} | "
                        f"{mine[0] / its[0]:.1f} | {its[1]:.1f} | {mine[1]:.1f} | {mine[1] / its[1]:.1f} | {peaks[0]:.0f}, {peaks[1]:.0f} |")
            print(rows[-1], flush=True)
            path.unlink()
            artifact.unlink()
    print(f"\n| shape | MB: GGUF, drupe | prompt of {args.prompt}: llama.cpp | drupe | times | "
          "generation: llama.cpp | drupe | times | peak MB: llama.cpp, drupe |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}\n{error.stderr}") from error
