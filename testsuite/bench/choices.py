"""The ways to quantise a language model, in one table: bits a weight, perplexity, tokens a second.

    testsuite/bench/choices.py [--model NAME] [--schemes A,B,A@1%] [--rounds N] [--threads N] [--no-speed]

`A@1%` is scheme A with `--error-budget 1%`. Every scheme is compiled once, with the entry `score`; bits are those of what
a generated token reads, from `drupe inspect --weights`: weights, scales, offsets and rows in float, over the elements of
the model's matrices. Perplexity is of the last 300,000 bytes of `pydoc_data.topics`, 12 windows of 512; calibration has
the first 60,000. Speed is measured in rounds, each scheme once a round, so that a slow minute meets all; the table has the
medians over those of the first scheme. `./x bench choices` sets it up.
"""

import argparse
import json
import pathlib
import re
import statistics
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMES = (
    "w8a8,f32,w8a8-g32,w8a8-blocks,w8a8-g32-blocks,w8a8-blocks-smooth,w8a8-outliers,w8a8-smooth,w8a8-rotate,"
    "w8a8-smooth-outliers,w8a16,w8a8-static,w8a8-static-outliers,w4a8,w4a8-blocks,w4a8-asym,w4a8-asym-blocks,"
    "w4a8-outliers,w4a8-smooth,w4a8-rotate,w4a16,w4a8-outliers@5%,w4a8-outliers@1%"
)


def run(command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)


def texts(folder):
    from pydoc_data import topics

    text = "\n".join(topics.topics.values()).encode()
    (folder / "calibration.txt").write_bytes(text[:60000])
    (folder / "evaluation.txt").write_bytes(text[-300000:])
    return folder / "calibration.txt", folder / "evaluation.txt"


def matrix_elements(model):
    """Elements of all tensors of two dimensions, from the headers of the safetensors files."""
    count = 0
    for path in sorted((ROOT / "models" / model).glob("*.safetensors")):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        count += sum(shape[0] * shape[1] for shape in shapes if len(shape) == 2)
    return count


def bits(drupe, artifact, elements):
    text = run([drupe, "inspect", artifact, "--weights"]).stdout
    decode = text.split("weights of entry decode", 1)[1].split("\nweights of entry", 1)[0]
    rows = re.findall(r"^ +\d+ +(\d+) +\d+ +(\S+)$", decode, re.MULTILINE)
    return 8 * sum(int(size) for size, name in rows if name.endswith(".packed") and "rope" not in name) / elements


def compile_model(drupe, model, scheme, calibration, folder):
    artifact = folder / f"{model}.{scheme}.drupe"
    command = [drupe, "compile", ROOT / "models" / model, "-o", artifact, "--context", 2048, "--score", "--report"]
    name, _, budget = scheme.partition("@")
    if name != "f32":
        command += ["--quant", name, "--calibrate", calibration]
    if budget:
        command += ["--error-budget", budget]
    start = time.monotonic()
    report = run(command).stderr
    (folder / f"{model}.{scheme}.txt").write_text(report)
    split = re.search(r"(\d+) groups of layers, (\d+) of them split", report)
    return artifact, time.monotonic() - start, split.group(2) + " of " + split.group(1) if split else ""


def rates(drupe, artifact, threads):
    text = run([drupe, "bench", artifact, "--prompt", 512, "--gen", 64, "--rounds", 1, "--threads", threads, "--kernels", 0, "--json"])
    figures = json.loads(text.stdout)
    return figures["prompt_tokens_per_second"], figures["generated_tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--schemes", default=SCHEMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--no-speed", action="store_true")
    args = parser.parse_args()
    drupe = ROOT / "target" / "release" / "drupe"
    folder = ROOT / "target" / "bench-choices"
    folder.mkdir(parents=True, exist_ok=True)
    calibration, evaluation = texts(folder)
    elements = matrix_elements(args.model)
    rows, artifacts = {}, {}
    for scheme in args.schemes.split(","):
        artifact, seconds, split = compile_model(drupe, args.model, scheme, calibration, folder)
        found = run([drupe, "perplexity", artifact, evaluation, "--chunks", args.windows]).stdout
        perplexity = float(re.search(r"perplexity ([\d.]+)", found).group(1))
        rows[scheme] = [bits(drupe, artifact, elements), perplexity, split, seconds]
        artifacts[scheme] = artifact
        print(f"{scheme}: {rows[scheme][0]:.2f} bits, perplexity {perplexity:.4f}, split {split}, "
              f"compiled in {seconds:.0f} s", flush=True)
    speeds = {scheme: [] for scheme in rows}
    for _ in range(0 if args.no_speed else args.rounds):
        for scheme, artifact in artifacts.items():
            speeds[scheme].append(rates(drupe, artifact, args.threads))
    for artifact in artifacts.values():
        artifact.unlink()
    medians = {scheme: [statistics.median(column) for column in zip(*found)] for scheme, found in speeds.items()}
    first = next(iter(rows))
    exact = rows.get("f32", [0, None])[1]
    print(f"\n| scheme | bits a weight | perplexity | over f32 | split | prefill, of {first} | decode, of {first} |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for scheme, (size, perplexity, split, _) in rows.items():
        over = f"{100 * (perplexity / exact - 1):.1f} %" if exact and scheme != "f32" else ""
        speed = [f"{mine / base:.2f}" for mine, base in zip(medians[scheme], medians[first])] or ["", ""]
        name, _, budget = scheme.partition("@")
        name = f"`{name}`" + (f", budget of {budget.replace('%', ' %')}" if budget else "")
        print(f"| {name} | {size:.2f} | {perplexity:.3f} | {over} | {split} | {' | '.join(speed)} |")


if __name__ == "__main__":
    main()
