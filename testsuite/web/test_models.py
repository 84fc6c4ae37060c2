#!/usr/bin/env python3
"""Models compiled for browsers, against ONNX Runtime, by WebGPU in a headless Chromium: `./x web`.

DRUPE is the compiler. Models that `./x models zoo` and `./x references` have not brought are skipped.
"""

import json
import os
import subprocess
import tempfile
import unittest

import numpy as np
from browser import ROOT, Browser
from PIL import Image
from run_page import difference, run_page

DRUPE = os.environ.get("DRUPE") or os.path.join(ROOT, "target", "debug", "drupe")
MODELS = os.path.join(ROOT, "models")
REFERENCES = os.path.join(ROOT, ".deps", "references")

# Of another engine, as drupe_eval::Tolerance has it: a share of the largest value.
TOLERANCE = 1e-3


class ModelsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())

    def compiled(self, name, *options):
        """The reference's table, and the folder of the model with its shapes."""
        model, table = os.path.join(MODELS, f"{name}.onnx"), os.path.join(REFERENCES, name, "tensors.json")
        if not (os.path.exists(model) and os.path.exists(table)):
            self.skipTest(f"{name} is not here: `./x models zoo` and `./x references` bring it")
        with open(table) as file:
            tensors = json.load(file)
        folder = os.path.join(self.folder, name)
        command = [DRUPE, "compile", model, "--target", "webgpu", "-o", folder, *options]
        for tensor in tensors["inputs"]:
            command += ["--shape", f"{tensor['name']}={','.join(map(str, tensor['shape']))}"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return tensors, folder

    def agrees(self, name):
        tensors, folder = self.compiled(name)
        load = lambda tensor: np.load(os.path.join(REFERENCES, name, tensor["file"]))
        files = {tensor["name"]: os.path.join(REFERENCES, name, tensor["file"]) for tensor in tensors["inputs"]}
        # Twice: the second run finds what the first has left in memory.
        result, outputs = run_page(self.browser, folder, files, runs=2)
        self.assertTrue(result["ok"], result)
        for tensor in tensors["outputs"]:
            departs = difference(outputs[tensor["name"]], load(tensor))
            self.assertLessEqual(departs, TOLERANCE, f"{name}: {tensor['name']}")

    def test_mobilenetv2(self):
        self.agrees("mobilenetv2")

    def test_squeezenet1_1(self):
        self.agrees("squeezenet1_1")

    def test_minilm_l6(self):
        self.agrees("minilm_l6")

    def test_chrome_takes_half_floats(self):
        # No software GPU that Chromium has runs them.
        _, folder = self.compiled("squeezenet1_1", "--float", "f16")
        with open(os.path.join(folder, "model.json")) as file:
            self.assertEqual(json.load(file)["features"], ["shader-f16"])
        check = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check.mjs")
        done = subprocess.run(["node", check, folder], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done)

    def test_a_cat_is_a_cat(self):
        from skimage import data

        tensors, folder = self.compiled("efficientnet_lite0")
        picture, page = (os.path.join(self.folder, name) for name in ("cat.png", "page.png"))
        Image.fromarray(data.chelsea()).save(picture)
        with open(os.path.join(MODELS, "imagenet_labels.txt")) as file:
            labels = file.read().splitlines()
        with open(os.path.join(folder, "labels.json"), "w") as file:
            json.dump(labels, file)
        result, _ = run_page(self.browser, folder, {tensors["inputs"][0]["name"]: picture}, screenshot=page)
        self.assertTrue(result["ok"], result)
        self.assertIn("cat", result["outputs"][0]["top"][0]["label"], result["outputs"])
        if keep := os.environ.get("DRUPE_SCREENSHOT"):
            os.replace(page, keep)


if __name__ == "__main__":
    unittest.main()
