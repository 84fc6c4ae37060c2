"""all-MiniLM-L6-v2 (a six-layer BERT) as ONNX, from its safetensors folder, without torch.

The graph is what an exporter writes for this architecture: heads split by Reshape with a run-time
shape, attention as MatMul-Div-Add-Softmax-MatMul, GELU spelled out with Erf, a mask made from
`attention_mask`, position embeddings sliced to the sequence. Batch and sequence are symbolic.
Outputs: `last_hidden_state`, and `sentence_embedding` (mean over real tokens, then unit length).
"""

import json
import math
import os
import struct

import numpy as np

from onnx_graph import Graph


def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    dtypes = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtypes[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }


def build(folder, onnx_path):
    weights = read_safetensors(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    graph = Graph("minilm_l6")
    constants = {}

    def constant(value, dtype):
        key = f"constant_{np.dtype(dtype).name}_{value}"
        if key not in constants:
            constants[key] = graph.weight(key, np.array(value, dtype))
        return constants[key]

    def number(value):
        return constant(value, np.float32)

    def integers(*values):
        return constant(list(values), np.int64)

    def linear(x, layer):
        matrix = graph.weight(f"{layer}.weight.T", weights[f"{layer}.weight"].T)
        product = graph.node("MatMul", x, matrix, name=f"/{layer}/MatMul")
        return graph.node("Add", graph.weight(f"{layer}.bias", weights[f"{layer}.bias"]), product, name=f"/{layer}/Add")

    def layer_norm(x, layer, output=None):
        parameters = [graph.weight(f"{layer}.{part}", weights[f"{layer}.{part}"]) for part in ("weight", "bias")]
        return graph.node(
            "LayerNormalization", x, *parameters, name=f"/{layer}", output=output, axis=-1,
            epsilon=config["layer_norm_eps"],
        )  # fmt: skip

    def gelu(x):
        erf = graph.node("Erf", graph.node("Div", x, number(math.sqrt(2))))
        return graph.node("Mul", graph.node("Mul", x, graph.node("Add", erf, number(1.0))), number(0.5))

    def embedding(name, indices):
        table = graph.weight(f"embeddings.{name}.weight", weights[f"embeddings.{name}.weight"])
        return graph.node("Gather", table, indices, name=f"/embeddings/{name}", axis=0)

    # Token, type and position embeddings.
    shape = graph.node("Shape", "input_ids")
    sequence = graph.node("Unsqueeze", graph.node("Gather", shape, constant(1, np.int64), axis=0), integers(0))
    positions = graph.weight("embeddings.position_ids", np.arange(512, dtype=np.int64)[None])
    positions = graph.node("Slice", positions, integers(0), sequence, integers(1), integers(1))
    x = graph.node(
        "Add", embedding("word_embeddings", "input_ids"), embedding("token_type_embeddings", "token_type_ids")
    )
    x = layer_norm(graph.node("Add", x, embedding("position_embeddings", positions)), "embeddings.LayerNorm")

    # 0 where a token is real, the most negative float where it is padding: [batch, 1, 1, sequence].
    mask = graph.node("Cast", graph.node("Unsqueeze", "attention_mask", integers(1, 2)), to=1)
    mask = graph.node("Mul", graph.node("Sub", number(1.0), mask), number(float(np.finfo(np.float32).min)))

    batch = graph.node("Unsqueeze", graph.node("Gather", shape, constant(0, np.int64), axis=0), integers(0))
    split_shape = graph.node("Concat", batch, integers(-1), integers(heads), integers(hidden // heads), axis=0)
    join_shape = graph.node("Concat", batch, integers(-1), integers(hidden), axis=0)

    for number_of_layer in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number_of_layer}"

        def split_heads(part, permutation):
            rows = graph.node("Reshape", linear(x, f"{layer}.attention.self.{part}"), split_shape)
            return graph.node("Transpose", rows, perm=permutation)

        query = split_heads("query", [0, 2, 1, 3])
        key = split_heads("key", [0, 2, 3, 1])
        value = split_heads("value", [0, 2, 1, 3])
        scores = graph.node("Div", graph.node("MatMul", query, key), number(math.sqrt(hidden // heads)))
        weights_of_values = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", weights_of_values, value), perm=[0, 2, 1, 3])
        context = linear(graph.node("Reshape", context, join_shape), f"{layer}.attention.output.dense")
        x = layer_norm(graph.node("Add", context, x), f"{layer}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{layer}.intermediate.dense"))
        is_last = number_of_layer == config["num_hidden_layers"] - 1
        x = layer_norm(
            graph.node("Add", linear(wide, f"{layer}.output.dense"), x),
            f"{layer}.output.LayerNorm",
            output="last_hidden_state" if is_last else None,
        )

    # Mean over real tokens, then unit length.
    real = graph.node("Cast", graph.node("Unsqueeze", "attention_mask", integers(2)), to=1)
    total = graph.node("ReduceSum", graph.node("Mul", x, real), integers(1), keepdims=0)
    count = graph.node("Clip", graph.node("ReduceSum", real, integers(1), keepdims=0), number(1e-9))
    mean = graph.node("Div", total, count)
    length = graph.node("Clip", graph.node("ReduceL2", mean, axes=[1], keepdims=1), number(1e-12))
    graph.node("Div", mean, length, output="sentence_embedding")

    graph.save(
        onnx_path,
        [(name, "INT64", ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids")],
        [
            ("last_hidden_state", "FLOAT", ["batch", "sequence", hidden]),
            ("sentence_embedding", "FLOAT", ["batch", hidden]),
        ],
    )
