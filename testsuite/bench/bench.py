#!/usr/bin/env python3
"""drupe against ONNX Runtime and LiteRT: the same networks with the same weights, interleaved in one run.

    ./x bench                                  (builds drupe, fetches models and peers, then runs this)
    ./x bench --models resnet18,nudenet --threads 2 --json figures.json
    ./x bench --quick                          a look in a minute: too few rounds to rely on

First every engine's outputs on sample inputs are compared with ONNX Runtime's, one thread and default
options: a peer that is further off than 1e-3 of an output's range is not timed; if it is drupe, the
exit code is 1. docs/benchmarks.md says how to read the report.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

import converter
import measure
import reference
import report
from engines import Drupe, LiteRt, OnnxRuntime, drupe_library

TOLERANCE = 1e-3  # of the reference output's range
MODELS = ["mobilenetv2", "efficientnet_lite0", "resnet18", "minilm_l6"]
FOLDER = os.path.join(ROOT, ".deps", "bench")
LIBRARY = "libdrupe_capi.dylib" if platform.system() == "Darwin" else "libdrupe_capi.so"
OURS, ORT, LITERT = "drupe", "ONNX Runtime", "LiteRT"


class Model:
    """A model in every engine's form, with sample inputs and the outputs that they should give."""

    def __init__(self, name, drupe):
        self.name = name
        source = os.path.join(ROOT, "models", f"{name}.onnx")
        self.inputs, self.expected, _ = reference.run(source)
        self.files = {OURS: os.path.join(FOLDER, f"{name}.drupe"), ORT: os.path.join(FOLDER, f"{name}.onnx")}
        converter.fix_shapes(source, self.files[ORT], self.inputs | self.expected)
        shapes = [f"--shape={port}={','.join(map(str, array.shape))}" for port, array in self.inputs.items()]
        start = time.perf_counter()
        run([drupe, "compile", source, "-o", self.files[OURS], *shapes])
        self.compile_seconds = time.perf_counter() - start
        one_run = ["--runs=1", "--warm-up=0", "--kernels=0", "--json"]
        self.memory = json.loads(run([drupe, "bench", self.files[OURS], *one_run]))
        self.lacking = {}  # engine -> why it has no form of this model
        try:
            self.files[LITERT] = converter.to_litert(self.files[ORT], FOLDER)
        except Exception as error:  # the others are measured all the same
            self.lacking[LITERT] = str(error)

    def engine(self, name, library, threads):
        if name == OURS:
            return Drupe(library, self.files[OURS], self.inputs, threads)
        if name == ORT:
            return OnnxRuntime(self.files[ORT], self.inputs, threads)
        return LiteRt(self.files[LITERT], self.inputs, threads, self.expected)

    def figures(self):
        return {
            "inputs": {name: list(array.shape) for name, array in self.inputs.items()},
            "compile_seconds": self.compile_seconds,
            "arena_bytes": self.memory["arena_bytes"],
            "arena_lower_bound_bytes": self.memory["arena_lower_bound_bytes"],
            "file_bytes": {name: os.path.getsize(path) for name, path in self.files.items()},
        }


def run(words):
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr.strip())
    return result.stdout


def contest(model, threads, library, arguments):
    """The figures of each engine on `threads` threads, by its name, or why it is left out."""
    figures = {name: {"left_out": reason} for name, reason in model.lacking.items()}
    engines = {}
    for name in model.files:
        try:
            engine, seconds = measure.load(model.engine, name, library, threads)
            error = largest_error(engine.outputs(), model.expected)
        except Exception as failure:  # the others are measured all the same
            figures[name] = {"left_out": str(failure)}
            continue
        figures[name] = {"load_ms": seconds * 1e3, "error": error}
        if error <= TOLERANCE:
            engines[name] = engine
        else:
            figures[name]["left_out"] = f"its outputs are {error:.1e} of their range off"
    work = measure.OtherWork()
    what = f"{model.name}, threads {threads}"
    rounds = measure.interleave(engines, arguments.rounds, arguments.burst / 1e3, arguments.pause / 1e3, what)
    others = work.share()
    for name, seconds in rounds.items():
        figures[name] |= measure.summary(seconds)
        if name != OURS and OURS in rounds:
            figures[name]["ratio"] = measure.ratio(rounds[OURS], seconds)
    return {"threads": threads, "others_share": others, "engines": figures}


def largest_error(outputs, expected):
    """The largest difference in any output, as a share of that output's range; infinite for a wrong shape or NaN."""
    largest = 0.0
    for name, wanted in expected.items():
        output = outputs[name].astype(np.float64)
        if output.shape != wanted.shape:
            return np.inf
        difference = np.abs(np.where(output == wanted, 0, output - wanted)).max(initial=0)
        spread = np.ptp(wanted.astype(np.float64)) if wanted.size else 0
        error = float(difference / spread if spread else difference)
        largest = max(largest, np.inf if np.isnan(error) else error)
    return largest


def bench(name, library, arguments):
    """Everything about one model, printed and as a row of the report."""
    row = {"name": name, "failed": None}
    try:
        model = Model(name, arguments.drupe)
        row |= model.figures()
        print(report.model_text(name, row), flush=True)
        row["contests"] = [contest(model, threads, library, arguments) for threads in arguments.threads]
        print(report.contests_text(row["contests"]), flush=True)
        ours = [figures["engines"][OURS].get("left_out") for figures in row["contests"]]
        row["failed"] = next(filter(None, ours), None)
    except Exception as error:  # the other models are measured all the same
        row["failed"] = str(error)
    return row


def machine():
    name = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    return {"cpu": name or platform.machine(), "cores": os.cpu_count()}


def versions(library):
    found = {OURS: library.drupe_version().decode()}
    for engine, package in ((ORT, "onnxruntime"), (LITERT, "ai-edge-litert"), ("its converter onnx2tf", "onnx2tf")):
        try:
            found[engine] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[engine] = "not installed"
    return found


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = lambda text: text.split(",")
    parser.add_argument("--models", type=names, default=MODELS, help="names of files in models/, a comma between them")
    parser.add_argument("--threads", type=lambda text: [int(number) for number in names(text)], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30, help="bursts of each engine (default: 30)")
    parser.add_argument("--burst", type=float, default=80, help="milliseconds of a burst (default: 80)")
    parser.add_argument("--pause", type=float, default=50, help="milliseconds before a burst (default: 50)")
    parser.add_argument("--quick", action="store_true", help="6 rounds, bursts of 30 ms")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    parser.add_argument("--drupe", default=os.path.join(ROOT, "target", "release", "drupe"), help="the command line")
    parser.add_argument("--library", default=os.path.join(ROOT, "target", "runtime", LIBRARY), help="the runtime")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.burst = 6, 30
    if arguments.rounds < 2:
        parser.error("an interval needs two rounds or more")
    for name in arguments.models:
        if not os.path.exists(os.path.join(ROOT, "models", f"{name}.onnx")):
            parser.error(f"there is no models/{name}.onnx")
    return arguments


def main():
    arguments = parse_arguments()
    os.makedirs(FOLDER, exist_ok=True)
    library = drupe_library(arguments.library)
    about = {"machine": machine(), "versions": versions(library)}
    print("{cpu}, {cores} cores".format(**about["machine"]))
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()), flush=True)
    models = [bench(name, library, arguments) for name in arguments.models]
    print(report.closing_text(models))
    if arguments.json:
        settings = {key: getattr(arguments, key) for key in ("rounds", "burst", "pause")}
        with open(arguments.json, "w") as file:
            json.dump({**about, "settings": settings, "models": models}, file, indent=1)
    sys.exit(1 if any(model["failed"] for model in models) else 0)


if __name__ == "__main__":
    main()
