#!/usr/bin/env python3
"""How near to this machine's peak matrix products and pointwise convolutions come, at sizes that fit L2.

    ./x bench kernels [--rounds 5] [--threads 1]

Each shape is a chain of four equal layers, each with a ReLU fused behind it: the inner two read what
the layer before has left, as in a network. A row is the median over rounds; all shapes are measured
once in each round, and the peak (multiply-adds in registers) anew with each of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

from report import table

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DRUPE = os.path.join(ROOT, "target", "release", "drupe")
LAYERS = 4
PRODUCTS = [128, 192, 256, 320, 384]  # rows, columns and depth
CONVOLUTIONS = [(56, 64), (28, 96), (28, 128), (14, 192), (14, 256), (14, 384), (7, 320), (7, 384)]  # side, channels


def chain(input_shape, weight_shape, layer):
    """Textual IR: `layer` with weights, then a ReLU, over and over."""
    names = [f"w{number}" for number in range(LAYERS)]
    lines = [f"const @{name} = random seed={seed} : f32{weight_shape}" for seed, name in enumerate(names)]
    lines.append(f'func @chain(%x: f32{input_shape} "x") {{')
    value = "x"
    for name in names:
        lines.append(f"  %{name} = const @{name} : f32{weight_shape}")
        lines.append(f"  %{name}.sum = {layer.format(x=f'%{value}', w=f'%{name}')}")
        lines.append(f"  %{name}.relu = clamp(%{name}.sum) min=0.0")
        value = f"{name}.relu"
    return "\n".join([*lines, f'  return "y" %{value}', "}\n"])


def shapes():
    for size in PRODUCTS:
        text = chain([size, size], [size, size], "matmul({x}, {w})")
        yield f"matrix product {size} x {size} x {size}", text
    for side, channels in CONVOLUTIONS:
        text = chain([1, side, side, channels], [channels, channels, 1, 1], "conv({x}, {w}) layout=channels_last")
        yield f"pointwise convolution {side} x {side}, {channels} channels", text


def measure(path, threads):
    """GFLOP/s of the inner layers, and of the machine at its peak."""
    words = [DRUPE, "bench", path, f"--threads={threads}", "--runs=200", "--kernels=99", "--json"]
    figures = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    kernel = max(figures["kernels"], key=lambda kernel: kernel["calls"])
    return kernel["flops"] / kernel["ms"] / 1e6, figures["machine_flops"] / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for number, (name, text) in enumerate(shapes()):
            paths[name] = os.path.join(folder, f"{number}.ir")
            with open(paths[name], "w") as file:
                file.write(text)
        rounds = {name: [] for name in paths}
        for _ in range(arguments.rounds):
            for name, path in paths.items():
                rounds[name].append(measure(path, arguments.threads))
    rows = [["kernel", "GFLOP/s", "% of the peak"]]
    for name, figures in rounds.items():
        speed = statistics.median(kernel for kernel, _ in figures)
        share = statistics.median(kernel / peak for kernel, peak in figures)
        rows.append([name, f"{speed:.0f}", f"{share:.0%}"])
    print(table(rows))


if __name__ == "__main__":
    main()
