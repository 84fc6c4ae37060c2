#!/usr/bin/env python3
"""What operators do ONNX models use, and how?

    tools/op_census.py models/*.onnx > census.txt

For each model: opset, inputs and outputs with shapes, then one line per operator: how often it
occurs, which of its optional inputs are missing, and every attribute with the values seen.
Nodes in subgraphs (If, Loop, Scan) and in local functions are counted too, marked as such.
"""

import argparse
import sys
from collections import Counter, defaultdict

import onnx
from onnx import AttributeProto, TensorProto, helper

MOST_VALUES = 8


def dtype_name(elem_type):
    return TensorProto.DataType.Name(elem_type).lower()


def value_text(value):
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return f"{value.name}: {kind}"
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return f"{value.name}: {dtype_name(tensor.elem_type)}[unranked]"
    dims = [dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?") for dim in tensor.shape.dim]
    return f"{value.name}: {dtype_name(tensor.elem_type)}[{', '.join(dims)}]"


def attribute_text(attribute):
    if attribute.type == AttributeProto.TENSOR:
        return f"{dtype_name(attribute.t.data_type)} of rank {len(attribute.t.dims)}"
    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return "graph"
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, float):
        value = float(f"{value:.7g}")
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."


def signature(node):
    """Which inputs are given: `3 in` or, with holes, `1_3 in` (a hole is an omitted optional input)."""
    given = "".join("x" if name else "_" for name in node.input)
    text = f"{len(node.input)}" if "_" not in given else given
    outputs = "".join("x" if name else "_" for name in node.output)
    return f"{text}->{len(node.output) if '_' not in outputs else outputs}"


def walk(nodes, where):
    for node in nodes:
        yield node, where
        for attribute in node.attribute:
            for graph in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from walk(graph.node, f"{where}/{node.op_type}.{attribute.name}")


def summarise(values, most=MOST_VALUES):
    shown = [f"{text}" + (f" x{count}" if len(values) > 1 else "") for text, count in values.most_common(most)]
    rest = len(values) - len(shown)
    return " | ".join(shown) + (f" | and {rest} more" if rest > 0 else "")


def census(model):
    counts, signatures, attributes, places = Counter(), defaultdict(Counter), defaultdict(dict), defaultdict(Counter)
    everything = list(walk(model.graph.node, ""))
    for function in model.functions:
        everything += walk(function.node, f"/function {function.domain}.{function.name}")
    for node, where in everything:
        op = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        counts[op] += 1
        signatures[op][signature(node)] += 1
        places[op][where] += 1
        for attribute in node.attribute:
            attributes[op].setdefault(attribute.name, Counter())[attribute_text(attribute)] += 1
    return counts, signatures, attributes, places


def print_model(path, out):
    model = onnx.load(path)
    counts, signatures, attributes, places = census(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    stored = Counter(dtype_name(tensor.data_type) for tensor in model.graph.initializer)
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    print(f"## {path}", file=out)
    print(
        f"opset {opsets}; ir {model.ir_version}; by {model.producer_name or '?'} {model.producer_version}; "
        f"{sum(counts.values())} nodes; initializers: {summarise(stored)}",
        file=out,
    )
    for value in model.graph.input:
        if value.name not in weights:
            print(f"  input  {value_text(value)}", file=out)
    for value in model.graph.output:
        print(f"  output {value_text(value)}", file=out)
    for op, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        line = f"  {count:5} {op} ({summarise(signatures[op])})"
        for name, values in sorted(attributes[op].items()):
            given = sum(values.values())
            line += f"; {name}={summarise(values)}" + (f" [on {given}]" if given < count else "")
        if set(places[op]) != {""}:
            line += f"; in {summarise(places[op])}"
        print(line, file=out)
    print(file=out)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    uses = defaultdict(dict)
    for path in arguments.models:
        for op, count in print_model(path, sys.stdout).items():
            uses[op][path.rsplit("/", 1)[-1].removesuffix(".onnx")] = count
    print(f"## all: {len(uses)} operators")
    for op, models in sorted(uses.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"  {op}: {', '.join(f'{name} {count}' for name, count in models.items())}")


if __name__ == "__main__":
    main()
