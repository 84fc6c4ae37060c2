"""The engines, each run as its own users would: inputs bound once, outputs left where the engine puts them.

An engine is made from a model file, inputs by name and a number of threads. `run()` is what is timed;
`outputs()` gives what the latest run computed, by name, as an ONNX model has it. What goes wrong is an
exception.
"""

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p

import numpy as np
import onnxruntime


class OnnxRuntime:
    """Its CPU provider with every optimisation, on the model with its shapes fixed."""

    def __init__(self, path, inputs, threads):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.names = [port.name for port in self.session.get_outputs()]
        for name, array in inputs.items():
            self.binding.bind_cpu_input(name, array)
        for name in self.names:
            self.binding.bind_output(name)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return dict(zip(self.names, self.binding.copy_outputs_to_cpu()))


class LiteRt:
    """Its interpreter, which hands what it can to XNNPACK, on a model that `converter.py` made.

    The converter puts channels last; so does an app that has LiteRT, and inputs are turned before the clock starts.
    """

    def __init__(self, path, inputs, threads, expected):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.run = self.interpreter.invoke
        self.expected = expected
        for array, port in matched(inputs, self.interpreter.get_input_details()):
            turned = array if array.shape == tuple(port["shape"]) else np.moveaxis(array, 1, -1)
            self.interpreter.set_tensor(port["index"], np.asarray(turned, port["dtype"], order="C"))

    def outputs(self):
        outputs = {}
        ports = matched(self.expected, self.interpreter.get_output_details())
        for name, (wanted, port) in zip(self.expected, ports):
            array = self.interpreter.get_tensor(port["index"])
            outputs[name] = array if array.shape == wanted.shape else np.moveaxis(array, -1, 1)
        return outputs


def matched(arrays, ports):
    """Each array with the port of its name, as the converter writes it."""
    ports = {port["name"]: port for port in ports}
    return [(array, ports[name.replace(":", "__")]) for name, array in arrays.items()]


class Port(ctypes.Structure):
    """DrupePort of drupe.h."""

    _fields_ = [("name", c_char_p), ("dtype", c_int), ("rank", c_size_t), ("shape", POINTER(c_int64))]


class Tensor(ctypes.Structure):
    """DrupeTensor of drupe.h."""

    _fields_ = [
        ("dtype", c_int),
        ("rank", c_size_t),
        ("shape", POINTER(c_int64)),
        ("data", c_void_p),
        ("bytes", c_size_t),
    ]


# NumPy's names, at the positions of DrupeType; NumPy has no bfloat16.
DTYPES = ["f4", "f2", None, "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]


def drupe_library(path):
    library = ctypes.CDLL(path)
    signatures = {
        "drupe_program_open": (c_void_p, [c_char_p]),
        "drupe_program_free": (None, [c_void_p]),
        "drupe_program_input_count": (c_size_t, [c_void_p]),
        "drupe_program_output_count": (c_size_t, [c_void_p]),
        "drupe_program_input": (c_int, [c_void_p, c_size_t, POINTER(Port)]),
        "drupe_program_output": (c_int, [c_void_p, c_size_t, POINTER(Port)]),
        "drupe_session_new": (c_void_p, [c_void_p, c_size_t]),
        "drupe_session_free": (None, [c_void_p]),
        "drupe_session_set_input": (
            c_int,
            [c_void_p, c_size_t, POINTER(c_int64), c_size_t, c_void_p, c_size_t],
        ),
        "drupe_session_run": (c_int, [c_void_p]),
        "drupe_session_output": (c_int, [c_void_p, c_size_t, POINTER(Tensor)]),
        "drupe_last_error": (c_char_p, []),
        "drupe_version": (c_char_p, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Drupe:
    """The artifact, through the C interface of the runtime."""

    session = program = None

    def __init__(self, library, path, inputs, threads):
        self.library = library
        self.inputs = []  # the session reads them where they are
        self.program = self.made(library.drupe_program_open(os.fsencode(path)))
        self.session = self.made(library.drupe_session_new(self.program, threads))
        self.names = self.ports(library.drupe_program_output_count, library.drupe_program_output)
        for index, name in enumerate(self.ports(library.drupe_program_input_count, library.drupe_program_input)):
            array = np.asarray(inputs[name], order="C")
            shape = (c_int64 * array.ndim)(*array.shape)
            self.inputs.append(array)
            self.check(
                library.drupe_session_set_input(self.session, index, shape, array.ndim, array.ctypes.data, array.nbytes)
            )

    def run(self):
        self.check(self.library.drupe_session_run(self.session))

    def outputs(self):
        outputs = {}
        for index, name in enumerate(self.names):
            tensor = Tensor()
            self.check(self.library.drupe_session_output(self.session, index, byref(tensor)))
            elements = np.frombuffer(ctypes.string_at(tensor.data, tensor.bytes), DTYPES[tensor.dtype])
            outputs[name] = elements.reshape(tensor.shape[: tensor.rank])
        return outputs

    def ports(self, count, describe):
        names = []
        for index in range(count(self.program)):
            port = Port()
            self.check(describe(self.program, index, byref(port)))
            names.append(port.name.decode())
        return names

    def made(self, handle):
        self.check(0 if handle else 1)
        return handle

    def check(self, status):
        if status:
            raise RuntimeError(self.library.drupe_last_error().decode())

    def __del__(self):
        self.library.drupe_session_free(self.session)
        self.library.drupe_program_free(self.program)
