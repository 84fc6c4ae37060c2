#!/usr/bin/env python3
"""How near to this machine's peak matrix products and pointwise convolutions come, at sizes that fit L2; and
quantized products, at sizes of language models: many rows near the peak of 8-bit dot products, one row near the rate
at which memory is read.

    ./x bench kernels [--rounds 5] [--threads 1] [--only float|quantized]

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


QUANTIZED = [(128, 576, 1536), (128, 1536, 576), (128, 2048, 2048), (256, 2048, 8192)]  # rows, depth, columns
QUANTIZED += [(1, 576, 49152), (1, 2048, 8192)]
WEIGHTS = {"8 bits": ("i8", None), "8 bits by 32": ("i8", 32), "4 bits by 32": ("i4", 32)}
STREAMED = 160e6  # octets of weights that one row reads in a run: far more than caches hold


def quantized_shapes():
    """Quantized products side by side: name, textual IR, what to count in a run, and its unit."""
    for rows, depth, columns in QUANTIZED:
        for name, (dtype, group) in WEIGHTS.items():
            groups, scale = (1, "f32") if group is None else (depth // group, "f16")
            octets = columns * (depth * (0.5 if dtype == "i4" else 1) + groups * (4 if scale == "f32" else 2))
            layers = LAYERS if rows > 1 else round(STREAMED / octets)
            weight, scales = f"{dtype}[{columns}, {depth}]", f"{scale}[{columns}, {groups}]"
            lines = []
            for layer in range(layers):
                lines.append(f"const @w{layer} = random seed={2 * layer} : {weight}")
                lines.append(f"const @s{layer} = random seed={2 * layer + 1} : {scales}")
            lines.append(f'func @products(%x: i8[{rows}, {depth}] "x", %x_scale: f32[{rows}, 1] "x_scale") {{')
            for layer in range(layers):
                lines.append(f"  %w{layer} = const @w{layer} : {weight}")
                lines.append(f"  %s{layer} = const @s{layer} : {scales}")
                lines.append(f"  %y{layer} = quantized_linear(%x, %x_scale, %w{layer}, %s{layer})")
            lines.append("  return " + ", ".join(f'"y{layer}" %y{layer}' for layer in range(layers)))
            text = "\n".join([*lines, "}\n"])
            label = f"{rows} x {depth} x {columns}, {name}"
            yield label, text, ("GOP/s", 2 * rows * depth * columns) if rows > 1 else ("GB/s", octets)


def bench(path, threads, runs):
    words = [DRUPE, "bench", path, f"--threads={threads}", f"--runs={runs}", "--kernels=99", "--json"]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def measure(path, threads):
    """GFLOP/s of the inner layers, and of the machine at its peak."""
    figures = bench(path, threads, 200)
    kernel = max(figures["kernels"], key=lambda kernel: kernel["calls"])
    return kernel["flops"] / kernel["ms"] / 1e6, figures["machine_flops"] / 1e9


def measure_quantized(path, threads, unit, count):
    """What the products reach, in 10^9 of `count` a second, and the machine."""
    figures = bench(path, threads, 20)
    kernel = max(figures["kernels"], key=lambda kernel: kernel["ms"])
    limit = figures["machine_int8_ops"] if unit == "GOP/s" else figures["machine_reads"][-1]["bytes_per_second"]
    return kernel["calls"] * count / kernel["ms"] / 1e6, limit / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["float", "quantized"])
    arguments = parser.parse_args()
    if arguments.only != "quantized":
        floats(arguments)
    if arguments.only != "float":
        quantized(arguments)


def quantized(arguments):
    rows = [["kernel", "", "% of the limit"]]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "products.ir")
        for name, text, (unit, count) in quantized_shapes():
            with open(path, "w") as file:
                file.write(text)
            artifact = os.path.join(folder, "products.drupe")
            subprocess.run([DRUPE, "compile", path, "-o", artifact], check=True, capture_output=True)
            figures = [measure_quantized(artifact, arguments.threads, unit, count) for _ in range(arguments.rounds)]
            speed = statistics.median(speed for speed, _ in figures)
            share = statistics.median(speed / limit for speed, limit in figures)
            rows.append([name, f"{speed:.1f} {unit}", f"{share:.0%}"])
    print(table(rows))


def floats(arguments):
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
