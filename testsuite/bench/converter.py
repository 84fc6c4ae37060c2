"""Models for the peers: shapes fixed, and converted for LiteRT. The weights stay the same."""

import os
import subprocess
import sys

import onnx
import onnxruntime


def fix_shapes(source, target, arrays):
    """Writes the ONNX model `source` as `target`, its inputs and outputs having the shapes of `arrays`."""
    model = onnx.load(source)
    for value in [*model.graph.input, *model.graph.output]:
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for extent in arrays[value.name].shape:
            shape.dim.add().dim_value = extent
    del model.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(model), target)


def to_litert(source, folder):
    """Converts the ONNX model `source`, whose shapes are fixed, to f32 for LiteRT; the path of the result."""
    name = os.path.splitext(os.path.basename(source))[0]
    folded = os.path.join(folder, f"{name}.folded.onnx")
    # The converter folds little. Left to it, sizes that are known would be computed in each run, outside XNNPACK.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = folded
    options.log_severity_level = 3
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    command = [sys.executable, "-m", "onnx2tf", "-i", folded, "-o", folder, "-n"]
    converted = os.path.join(folder, f"{name}.folded_float32.tflite")
    if os.path.exists(converted):
        os.remove(converted)
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode or not os.path.exists(converted):
        lines = result.stdout.strip().splitlines() or ["it wrote no model"]
        raise RuntimeError(f"onnx2tf: {lines[-1]}")
    return converted
