"""Language models beside llama.cpp: prefill and decode, interleaved in one run.

    testsuite/bench/language.py [--model NAME] [--rounds N] [--threads N] [--schemes A,B] [--prompts 512,1024]

Every round runs each side once, one after the other, so that a slow minute of the machine meets all of them. The table
has the medians, and drupe's rate over the rate of the llama.cpp format with as many bits. llama.cpp's files are made of
the model's GGUF file by its own llama-quantize. `./x bench language` sets all of it up.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
LLAMA = ROOT / ".deps" / "llama" / "build" / "bin"
# drupe's scheme, and the format of llama.cpp with as many bits a weight.
PAIRS = {"w8a8-outliers": "Q8_0", "w8a8-g32": "Q8_0", "w8a8": "Q8_0", "w4a8": "Q4_0"}


def run(command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


def llama_file(model, form):
    path = ROOT / "models" / f"{model}.{form}.gguf"
    if not path.exists():
        run([LLAMA / "llama-quantize", "--allow-requantize", ROOT / "models" / f"{model}.gguf", path, form])
    return path


def llama_rates(path, prompt, generate, threads):
    """Tokens a second: of a prompt, and of generation behind nothing."""
    text = run([LLAMA / "llama-bench", "-m", path, "-p", prompt, "-n", generate, "-t", threads, "-r", 1, "-o", "json"])
    rates = {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in json.loads(text)}
    return rates["prefill"], rates["decode"]


def drupe_rates(drupe, artifact, prompt, generate, threads):
    """Tokens a second: of a prompt, and of generation behind it."""
    text = run([drupe, "bench", artifact, "--prompt", prompt, "--gen", generate, "--rounds", 1, "--threads", threads,
                "--json"])
    figures = json.loads(text)
    return figures["prompt_tokens_per_second"], figures["generated_tokens_per_second"]


def compile_model(drupe, model, scheme, calibration, folder):
    artifact = folder / f"{model}.{scheme}.drupe"
    command = [drupe, "compile", ROOT / "models" / model, "-o", artifact, "--context", 2048, "--cache", "f16", "--quant",
               scheme]
    if "outliers" in scheme or "static" in scheme:
        command += ["--calibrate", calibration]
    run(command)
    return artifact


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schemes", default="w8a8-outliers,w8a8-g32,w4a8")
    parser.add_argument("--prompts", default="512,1024")
    parser.add_argument("--generate", type=int, default=64)
    args = parser.parse_args()
    drupe = ROOT / "target" / "release" / "drupe"
    folder = ROOT / "target" / "bench-language"
    folder.mkdir(parents=True, exist_ok=True)
    calibration = folder / "calibration.txt"
    from pydoc_data import topics

    calibration.write_text("\n".join(topics.topics[name] for name in sorted(topics.topics))[:60000])
    schemes = args.schemes.split(",")
    sides = {}
    for scheme in schemes:
        artifact = compile_model(drupe, args.model, scheme, calibration, folder)
        sides[f"drupe {scheme}"] = lambda prompt, artifact=artifact: drupe_rates(
            drupe, artifact, prompt, args.generate, args.threads)
        form = PAIRS[scheme]
        path = llama_file(args.model, form)
        sides[f"llama.cpp {form}"] = lambda prompt, path=path: llama_rates(path, prompt, args.generate, args.threads)
    for prompt in map(int, args.prompts.split(",")):
        rates = {name: [] for name in sides}
        for _ in range(args.rounds):
            for name, measure in sides.items():
                rates[name].append(measure(prompt))
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in rates.items()}
        print(f"\n{args.model}, {args.threads} threads, prompt of {prompt}, {args.generate} generated, tokens a second")
        print(f"{'':24}{'prefill':>10}{'decode':>10}{'over llama.cpp':>24}")
        for name, (prefill, decode) in medians.items():
            ratio = ""
            if name.startswith("drupe "):
                peer = medians[f"llama.cpp {PAIRS[name.removeprefix('drupe ')]}"]
                ratio = f"{prefill / peer[0]:.2f} / {decode / peer[1]:.2f}"
            print(f"{name:24}{prefill:10.0f}{decode:10.1f}{ratio:>24}")


if __name__ == "__main__":
    main()
