"""EfficientNet-lite0 as ONNX, from the trained .pth file, without torch.

The layers follow `efficientnet_lite_pytorch/model.py`. TensorFlow's "same" padding becomes the
convolution's own (asymmetric) pads instead of an exporter's Pad nodes, and batch norms stay
separate nodes, so that folding them is the compiler's work.
"""

import pickle
from collections import OrderedDict

import numpy as np

from onnx_graph import Graph

# repeats, kernel, stride, expansion, channels in, channels out
STAGES = [
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
]
SIDE = 224
BATCH_NORM_EPSILON = 1e-3

STORAGE_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


def read_legacy_pth(path):
    """A state dict from torch's file format of before 1.6: pickles, then the raw storages."""

    class Storage:
        def __init__(self, dtype, count):
            self.dtype, self.count, self.data = dtype, count, None

    storages, tensors = {}, []

    def rebuild_tensor(storage, offset, size, stride, *_unused):
        tensors.append((storage, offset, size, stride))
        return len(tensors) - 1

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            allowed = {
                ("collections", "OrderedDict"): OrderedDict,
                ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            }
            if module == "torch" and name in STORAGE_DTYPES:
                return STORAGE_DTYPES[name]
            if (module, name) not in allowed:
                raise pickle.UnpicklingError(f"{module}.{name} does not belong in a state dict")
            return allowed[module, name]

        def persistent_load(self, identifier):
            _kind, dtype, key, _device, count, _view = identifier
            return storages.setdefault(key, Storage(dtype, count))

    with open(path, "rb") as file:
        magic = pickle.load(file)
        if magic != 0x1950A86A20F9469CFC6C:
            raise ValueError(f"{path} is not in torch's old format")
        pickle.load(file)  # protocol version
        pickle.load(file)  # sizes and endianness of the writer: little-endian everywhere today
        state = Unpickler(file).load()
        for key in pickle.load(file):
            count = int.from_bytes(file.read(8), "little")
            storage = storages[key]
            storage.data = np.frombuffer(file.read(count * np.dtype(storage.dtype).itemsize), storage.dtype)

    def materialise(index):
        storage, offset, size, stride = tensors[index]
        item = storage.data.itemsize
        view = storage.data[offset:]
        return np.lib.stride_tricks.as_strided(view, size, [step * item for step in stride]).copy()

    return {name: materialise(index) for name, index in state.items()}


def same_pads(side, kernel, stride):
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    before = total // 2
    return [before, before, total - before, total - before]


def build(pth_path, onnx_path):
    state = read_legacy_pth(pth_path)
    graph = Graph("efficientnet_lite0")
    side = SIDE

    def parameter(name):
        return graph.weight(name, state.pop(name))

    def convolution(x, layer, kernel=1, stride=1, group=1):
        nonlocal side
        pads = same_pads(side, kernel, stride)
        side = -(-side // stride)
        return graph.node(
            "Conv", x, parameter(f"{layer}.weight"), name=f"{layer}.conv", kernel_shape=[kernel] * 2,
            strides=[stride] * 2, pads=pads, dilations=[1, 1], group=group,
        )  # fmt: skip

    def batch_norm(x, layer):
        state.pop(f"{layer}.num_batches_tracked", None)
        parameters = [parameter(f"{layer}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        return graph.node("BatchNormalization", x, *parameters, name=layer, epsilon=BATCH_NORM_EPSILON)

    zero, six = graph.weight("zero", np.float32(0)), graph.weight("six", np.float32(6))

    def relu6(x, layer):
        return graph.node("Clip", x, zero, six, name=f"{layer}.relu6")

    x = relu6(batch_norm(convolution("input", "_conv_stem", 3, 2), "_bn0"), "_bn0")
    block = 0
    for repeats, kernel, stride, expansion, channels_in, channels_out in STAGES:
        for _ in range(repeats):
            layer, shortcut = f"_blocks.{block}", x
            if expansion != 1:
                x = convolution(x, f"{layer}._expand_conv")
                x = relu6(batch_norm(x, f"{layer}._bn0"), f"{layer}._bn0")
            x = convolution(x, f"{layer}._depthwise_conv", kernel, stride, group=channels_in * expansion)
            x = relu6(batch_norm(x, f"{layer}._bn1"), f"{layer}._bn1")
            x = batch_norm(convolution(x, f"{layer}._project_conv"), f"{layer}._bn2")
            if stride == 1 and channels_in == channels_out:
                x = graph.node("Add", x, shortcut, name=f"{layer}.shortcut")
            stride, channels_in, block = 1, channels_out, block + 1
    x = relu6(batch_norm(convolution(x, "_conv_head"), "_bn1"), "_bn1")
    x = graph.node("GlobalAveragePool", x, name="_avg_pooling")
    x = graph.node("Flatten", x, name="flatten", axis=1)
    graph.node("Gemm", x, parameter("_fc.weight"), parameter("_fc.bias"), name="_fc", output="logits", transB=1)
    if state:
        raise ValueError(f"unused weights: {sorted(state)}")
    graph.save(
        onnx_path,
        [("input", "FLOAT", ["batch", 3, SIDE, SIDE])],
        [("logits", "FLOAT", ["batch", 1000])],
    )
