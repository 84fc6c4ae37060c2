"""A small writer of ONNX graphs: each call adds one node and returns the name of its output."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

OPSET = 17


class Graph:
    def __init__(self, name):
        self.name, self.nodes, self.weights, self.counts = name, [], {}, {}

    def weight(self, name, array):
        self.weights[name] = np.asarray(array, order="C")
        return name

    def node(self, op, *inputs, name=None, output=None, **attributes):
        """`name` defaults to a counter, `output` to the node's name; both end up in diagnostics."""
        if name is None:
            number = self.counts[op] = self.counts.get(op, -1) + 1
            name = f"{op}_{number}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def save(self, path, inputs, outputs):
        """`inputs` and `outputs`: (name, dtype, dimensions), a string being a symbolic dimension."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(name, getattr(TensorProto, dtype), dims) for name, dtype, dims in inputs],
            [helper.make_tensor_value_info(name, getattr(TensorProto, dtype), dims) for name, dtype, dims in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="drupe tools"
        )
        checker.check_model(model, full_check=True)
        with open(path, "wb") as file:
            file.write(shape_inference.infer_shapes(model).SerializeToString())
