"""Language models beside llama.cpp, ONNX Runtime GenAI and MNN: interleaved in one run.

    testsuite/bench/language.py [--model NAME] [--rounds N] [--threads N] [--schemes A,B] [--prompts 512,1024]
                                [--peers llama.cpp,GenAI,MNN] [--startup]

Every round runs each side once, one after the other, so that a slow minute of the machine meets all of them. The table
has the medians of prefill and decode, and below it drupe's rates over those of the peers' formats with as many bits.
Peers' files are made of the same model by their own tools. With --startup: the time from the start of the process to the
first token, the file not in the system's cache, and the peak of resident memory, of the smallest app (the example
`generate` of drupe-runtime-llm) and of llama-bench. `./x bench language` sets all of it up.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LLAMA = ROOT / ".deps" / "llama" / "build" / "bin"
TORCH = ROOT / ".deps" / "venv-torch" / "bin" / "python"
# drupe's scheme, and the peers' formats with about as many bits a weight.
PAIRS = {
    "w8a8-outliers": ["llama.cpp Q8_0"],
    "w8a8-g32": ["llama.cpp Q8_0"],
    "w8a8-g32-blocks": ["llama.cpp Q8_0"],
    "w8a8": ["llama.cpp Q8_0"],
    "w4a8": ["llama.cpp Q4_0", "GenAI int4", "MNN int4"],
    "w4a8-blocks": ["llama.cpp Q4_0", "GenAI int4", "MNN int4"],
}


def run(command, **how):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **how).stdout


def llama_file(model, form):
    path = ROOT / "models" / f"{model}.{form}.gguf"
    if not path.exists():
        run([LLAMA / "llama-quantize", "--allow-requantize", ROOT / "models" / f"{model}.gguf", path, form])
    return path


def genai_folder(model, folder):
    made = folder / f"{model}.genai-int4"
    if not (made / "genai_config.json").exists():
        options = ["int4_block_size=32", "int4_accuracy_level=4"]
        run([TORCH, "-m", "onnxruntime_genai.models.builder", "-i", ROOT / "models" / model, "-o", made, "-p", "int4",
             "-e", "cpu", "-c", folder / "cache", "--extra_options", *options])
    return made


def mnn_folder(model, folder):
    made = folder / f"{model}.mnn-int4"
    if not (made / "config.json").exists():
        # The package finds its own parts only from within its folder.
        place = run([TORCH, "-c", "import importlib.util as u; print(u.find_spec('llmexport').origin)"]).strip()
        run([TORCH, "llmexport.py", "--path", ROOT / "models" / model, "--export", "mnn", "--quant_bit", 4,
             "--quant_block", 32, "--dst_path", made], cwd=pathlib.Path(place).parent)
    return made


def llama_rates(path, prompt, generate, threads):
    """Tokens a second: of a prompt, and of generation behind it."""
    def rate(*what):
        text = run([LLAMA / "llama-bench", "-m", path, *what, "-t", threads, "-r", 1, "-o", "json"])
        return json.loads(text)[0]["avg_ts"]

    return rate("-p", prompt, "-n", 0), rate("-p", 0, "-n", generate, "-d", prompt)


def python_rates(script, path, prompt, generate, threads):
    """Tokens a second: of a prompt, and of generation behind it."""
    text = run([TORCH, ROOT / "testsuite" / "bench" / script, path, prompt, generate, threads])
    rates = json.loads(text.strip().splitlines()[-1])
    return rates["prefill"], rates["decode"]


def drupe_rates(drupe, artifact, prompt, generate, threads):
    """Tokens a second: of a prompt, and of generation behind it."""
    text = run([drupe, "bench", artifact, "--prompt", prompt, "--gen", generate, "--rounds", 1, "--threads", threads,
                "--kernels", 0, "--json"])
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


def peer(name, model, folder):
    """How to measure a side that is not drupe's, and its file; None where it is not there."""
    kind, form = name.split(" ")
    try:
        if kind == "llama.cpp":
            path = llama_file(model, form)
            return lambda *how: llama_rates(path, *how), path
        make, script = {"GenAI": (genai_folder, "genai.py"), "MNN": (mnn_folder, "mnn.py")}[kind]
        path = make(model, folder)
        return lambda *how: python_rates(script, path, *how), path
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return None


def started(command, cold):
    """Seconds that a process takes, and its peak of resident memory in bytes; `cold` is not in the system's cache."""
    with open(cold, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def topics_text():
    """A long English text that comes with Python."""
    from pydoc_data import topics

    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


def drupe_process(path, tokens, made, threads):
    """The command that reads a prompt of about so many tokens (what a word is to the tokenizer is not exactly known)."""
    prompt = " ".join(topics_text().split()[: tokens * 2 // 3])
    return [ROOT / "target" / "release" / "examples" / "generate", path, prompt, made, threads]


def llama_process(path, tokens, made, threads):
    return [LLAMA / "llama-bench", "-m", path, "-p", 0, "-n", 0, "-pg", f"{tokens},{made}", "-r", 1, "--no-warmup",
            "-t", threads]


def startup(files, args):
    """Prints the time to the first token, and peaks of memory."""
    rows = {}
    for _ in range(args.rounds):
        for name, path in files.items():
            command = drupe_process if name.startswith("drupe") else llama_process
            first, _ = started(command(path, 64, 1, args.threads), path)
            _, peak = started(command(path, 512, args.generate, args.threads), path)
            rows.setdefault(name, []).append((first, peak))
    print(f"\n{args.model}, {args.threads} threads: from a cold file to the first token behind 64, and the peak of memory\n"
          f"with a prompt of 512 and {args.generate} generated\n{'':24}{'file MB':>10}{'first ms':>10}{'peak MB':>10}")
    for name, found in rows.items():
        first, peak = (statistics.median(column) for column in zip(*found))
        print(f"{name:24}{files[name].stat().st_size / 1e6:10.1f}{first * 1e3:10.0f}{peak / 1e6:10.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--schemes", default="w8a8-outliers,w8a8-g32-blocks,w4a8,w4a8-blocks")
    parser.add_argument("--prompts", default="512,1024")
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--peers", default="llama.cpp,GenAI,MNN")
    parser.add_argument("--startup", action="store_true")
    args = parser.parse_args()
    drupe = ROOT / "target" / "release" / "drupe"
    folder = ROOT / "target" / "bench-language"
    folder.mkdir(parents=True, exist_ok=True)
    calibration = folder / "calibration.txt"
    calibration.write_text(topics_text()[:60000])
    sides, files, kinds = {}, {}, args.peers.split(",")
    for scheme in args.schemes.split(","):
        artifact = files[f"drupe {scheme}"] = compile_model(drupe, args.model, scheme, calibration, folder)
        sides[f"drupe {scheme}"] = lambda *how, artifact=artifact: drupe_rates(drupe, artifact, *how)
        for name in PAIRS.get(scheme, []):
            if name not in sides and name.split(" ")[0] in kinds and (found := peer(name, args.model, folder)):
                sides[name], files[name] = found
    if args.startup:
        startup({name: path for name, path in files.items() if path.is_file()}, args)
        return
    for prompt in map(int, args.prompts.split(",")):
        rates = {name: [] for name in sides}
        for _ in range(args.rounds):
            for name, measure in sides.items():
                rates[name].append(measure(prompt, args.generate, args.threads))
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in rates.items()}
        print(f"\n{args.model}, {args.threads} threads, prompt of {prompt}, {args.generate} generated, tokens a second")
        print(f"{'':24}{'prefill':>10}{'decode':>10}")
        for name, (prefill, decode) in medians.items():
            print(f"{name:24}{prefill:10.0f}{decode:10.1f}")
        for scheme in args.schemes.split(","):
            own = medians[f"drupe {scheme}"]
            for name in PAIRS.get(scheme, []):
                if name in medians:
                    ratios = [f"{mine / other:.2f}" for mine, other in zip(own, medians[name])]
                    print(f"{scheme} over {name}: prefill {ratios[0]}, decode {ratios[1]}")


if __name__ == "__main__":
    main()
