#!/usr/bin/env python3
"""Writes ONNX's own node tests as folders, the way ONNX lays out its other tests.

    tools/dump_onnx_node_tests.py --out .deps/onnx-node-tests

OUT/NAME/model.onnx, OUT/NAME/test_data_set_0/input_N.pb and output_N.pb (TensorProto, or
SequenceProto / OptionalProto where the type says so), OUT/NAME/tolerance.txt ("rtol atol"), and
OUT/cases.txt, one name a line. What a runner can take, it decides itself.
"""

import argparse
import os
import shutil
import warnings

import numpy as np
import onnx
from onnx import numpy_helper


def to_proto(value, value_info):
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        return value
    kind = value_info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, value_info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, value_info.name)
    return numpy_helper.from_array(np.asarray(value), value_info.name)


def dump(case, folder):
    os.makedirs(folder)
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(case.model.SerializeToString())
    with open(os.path.join(folder, "tolerance.txt"), "w") as file:
        file.write(f"{case.rtol} {case.atol}\n")
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = os.path.join(folder, f"test_data_set_{number}")
        os.makedirs(data)
        groups = (("input", inputs, case.model.graph.input), ("output", outputs, case.model.graph.output))
        for stem, values, infos in groups:
            for index, (value, info) in enumerate(zip(values, infos, strict=True)):
                with open(os.path.join(data, f"{stem}_{index}.pb"), "wb") as file:
                    file.write(to_proto(value, info).SerializeToString())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    warnings.filterwarnings("ignore")
    from onnx.backend.test.loader import load_model_tests

    cases = sorted(load_model_tests(kind="node"), key=lambda case: case.name)
    scratch = out.rstrip("/") + ".part"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    for case in cases:
        dump(case, os.path.join(scratch, case.name))
    with open(os.path.join(scratch, "cases.txt"), "w") as file:
        file.writelines(f"{case.name}\n" for case in cases)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(scratch, out)
    print(f"{out}: {len(cases)} cases of onnx {onnx.__version__}")


if __name__ == "__main__":
    main()
