#!/usr/bin/env python3
"""What ONNX Runtime says: a model's outputs on realistic inputs, for comparing drupe with.

    tools/reference.py models/mobilenetv2.onnx --out ref/
    tools/reference.py model.onnx --out ref/ --inputs image=cat.npy --dim batch=2
    tools/reference.py --table --out refs/          every model of model_table.py that is there

Writes OUT/inputs.npz and OUT/outputs.npz, keys being tensor names; with --all-tensors also
OUT/intermediates.npz with every named tensor of the main graph. With --table each model gets the
folder OUT/NAME. --format npy writes folders of .npy files with an index instead:
OUT/inputs/0.npy ..., and OUT/tensors.json says which name has which file, dtype and shape.

--table adds what a batch of three gives (batch3_inputs, batch3_outputs), and to tensors.json
"symbolic": the shapes with which such a model can be compiled for every batch, null if it cannot.

Inputs come from the table; for a model that it does not know, from seeded noise, symbolic
dimensions being 1 unless --dim says otherwise. One thread, so that runs repeat bit by bit.
"""

import argparse
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime

import sample_inputs
from model_table import MODELS, TRAINED, ZOO, batch_of_three, known_inputs, symbolic_shapes

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    **{f"tensor({sign}int{bits})": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def session_of(model_bytes, all_tensors):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if all_tensors:
        # Every tensor as the graph names it, none fused away.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])


def with_all_outputs(model):
    """The same model with every tensor of its main graph among the outputs."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    present = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in present:
                present.add(name)
                model.graph.output.add().name = name
    return model


def inputs_for(model_name, session, given, dims):
    known = None if given and dims else known_inputs(model_name)
    inputs = {}
    for value in session.get_inputs():
        if value.name in given:
            inputs[value.name] = np.load(given[value.name])
        elif known and value.name in known:
            inputs[value.name] = known[value.name]
        else:
            shape = [d if isinstance(d, int) and d > 0 else dims.get(d, 1) for d in value.shape]
            inputs[value.name] = sample_inputs.generic(value.name, DTYPES[value.type], shape)
    for name, count in dims.items():
        if name == "batch" and known:
            inputs = {key: np.repeat(array, count, axis=0) if array.ndim > 1 and array.shape[0] == 1 else array
                      for key, array in inputs.items()}  # fmt: skip
    return inputs


def run(path, given=(), dims=(), all_tensors=False):
    """(inputs, outputs, intermediates) as dictionaries from tensor name to array."""
    name = os.path.splitext(os.path.basename(path))[0]
    model = onnx.load(path)
    session = session_of(model.SerializeToString(), False)
    inputs = inputs_for(name, session, dict(given), dict(dims))
    names = [value.name for value in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, inputs)))
    intermediates = {}
    if all_tensors:
        session = session_of(with_all_outputs(model).SerializeToString(), True)
        rest = [value.name for value in session.get_outputs() if value.name not in outputs]
        intermediates = {
            name: array for name, array in zip(rest, session.run(rest, inputs)) if isinstance(array, np.ndarray)
        }
    return inputs, outputs, intermediates


def run_batch(path, name):
    """The groups of tensors of the table's model `name` for a batch of three; none if it takes one item only."""
    inputs = batch_of_three(name)
    if inputs is None:
        return {}
    session = session_of(path, False)
    names = [value.name for value in session.get_outputs()]
    return {"batch3_inputs": inputs, "batch3_outputs": dict(zip(names, session.run(names, inputs)))}


def write(folder, groups, file_format, **facts):
    """The groups as files; `facts` go into tensors.json."""
    os.makedirs(folder, exist_ok=True)
    index = {}
    for group, arrays in groups.items():
        if file_format == "npz":
            np.savez(os.path.join(folder, f"{group}.npz"), **arrays)
            continue
        os.makedirs(os.path.join(folder, group), exist_ok=True)
        index[group] = []
        for number, (name, array) in enumerate(arrays.items()):
            file = f"{group}/{number}.npy"
            np.save(os.path.join(folder, file), array)
            index[group].append({"name": name, "file": file, "dtype": str(array.dtype), "shape": list(array.shape)})
    if index:
        with open(os.path.join(folder, "tensors.json"), "w") as file:
            json.dump(index | facts, file, indent=1)


def least_distance(batch):
    """How far the two nearest of three items are apart, relative to the range."""
    items = np.split(np.float64(batch), 3, next(axis for axis, extent in enumerate(batch.shape) if extent == 3))
    pairs = [(0, 1), (0, 2), (1, 2)]
    return min(np.abs(items[one] - items[other]).max() for one, other in pairs) / np.abs(batch).max()


def describe(arrays):
    return ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())


def pair(text):
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--inputs", nargs="*", type=pair, default=[], metavar="NAME=FILE.npy")
    parser.add_argument("--dim", action="append", type=pair, default=[], metavar="SYMBOL=SIZE")
    parser.add_argument("--all-tensors", action="store_true")
    parser.add_argument("--format", choices=["npz", "npy"], default="npz")
    arguments = parser.parse_args()
    if bool(arguments.model) == arguments.table:
        parser.error("give one model or --table")
    dims = {name: int(size) for name, size in arguments.dim}
    if arguments.table:
        names = [model.name for model in TRAINED] + list(ZOO)
        paths = [os.path.join(MODELS, f"{name}.onnx") for name in names]
        jobs = [(path, os.path.join(arguments.out, name)) for name, path in zip(names, paths) if os.path.exists(path)]
    else:
        jobs = [(arguments.model, arguments.out)]
    for path, folder in jobs:
        inputs, outputs, intermediates = run(path, arguments.inputs, dims, arguments.all_tensors)
        groups = {"inputs": inputs, "outputs": outputs}
        if arguments.all_tensors:
            groups["intermediates"] = intermediates
        facts = {}
        if arguments.table:
            name = os.path.basename(folder)
            groups |= run_batch(path, name)
            facts["symbolic"] = symbolic_shapes(name)
        write(folder, groups, arguments.format, **facts)
        print(f"{path}: {describe(inputs)} -> {describe(outputs)}")
        for name, array in outputs.items():
            if array.dtype.kind == "f" and (not np.isfinite(array).all() or (array.size > 1 and array.std() < 1e-6)):
                print(f"  warning: {name} is degenerate (standard deviation {array.std():.2g})", file=sys.stderr)
        # Items that are alike would hide that one is taken for another.
        for name, array in groups.get("batch3_outputs", {}).items():
            apart = least_distance(array)
            if apart < 5e-3:
                print(f"  warning: items of {name} are only {apart:.1e} of its range apart", file=sys.stderr)


if __name__ == "__main__":
    main()
