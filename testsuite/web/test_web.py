#!/usr/bin/env python3
"""drupe.js and its page, in a headless Chromium, on a model made by hand: `./x web`."""

import os
import subprocess
import tempfile
import unittest

import example
import numpy as np
from browser import WEB, Browser, Site
from PIL import Image
from run_page import difference, run_page

HERE = os.path.dirname(os.path.abspath(__file__))

TWICE = """
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = a[0] * b[0]; }
"""
HALF = """
enable f16;
enable subgroups;
@group(0) @binding(0) var<storage, read_write> y: array<f16>;
@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) lane: u32) {
  let sum = subgroupAdd(y[lane]);
  y[lane] = sum;
}
"""


def twice(first, second):
    """A model whose step reads two ranges (offset, bytes) of the arena."""

    def change(plan):
        plan["arena"] = 1024
        plan["shaders"] = [{"name": "twice", "wgsl": TWICE, "workgroup": 1, "buffers": 3, "dims": 0}]
        ranges = [("arena", *first), ("arena", *second), ("output", 0, 40)]
        args = [example.argument(base, bytes, offset=offset) for base, offset, bytes in ranges]
        plan["entries"][0]["steps"] = [{"shader": 0, "grid": 1, "args": args, "dims": [], "origin": "twice"}]

    return change


def half(plan):
    """A model that needs half floats and subgroups."""
    plan["features"] = ["shader-f16", "subgroups"]
    plan["shaders"].append({"name": "half", "wgsl": HALF, "workgroup": 32, "buffers": 1, "dims": 0})
    plan["entries"][0]["steps"].append(
        {"shader": 3, "grid": 1, "args": [example.argument("arena", 64)], "dims": [], "origin": 'node "Half_3"'}
    )


def field(name, value):
    return lambda plan: plan.update({name: value})


def shader(name, value):
    return lambda plan: plan["shaders"][1].update({name: value})


def step(name, value):
    return lambda plan: plan["entries"][0]["steps"][1].update({name: value})


def argument(name, value):
    return lambda plan: plan["entries"][0]["steps"][1]["args"][0].update({name: value})


# What is done to the example's plan, the error's code, and what its text must have.
WRONG_PLANS = [
    (field("version", 3), "plan", ["version is 3", "reads 2"]),
    (field("entries", None), "plan", ["no plan of drupe"]),
    (field("entries", []), "plan", ["the plan has no entry"]),
    (step("dims", [["?", 1, 2]]), "plan", ["step 1", '["?",1,2] is no expression']),
    (step("dims", ["past"]), "plan", ["step 1", '"past" is no expression']),
    (field("constants", 31_000), "network", ["model.bin has 30760 bytes, and the plan 31000"]),
    (field("features", ["shader-f16"]), "feature", ["three-steps needs shader-f16", "swiftshader"]),
    (field("limits", {"maxBufferSize": 1 << 40}), "limit", ["maxBufferSize of 1099511627776 (there: "]),
    (field("limits", {"maxDrupes": 1}), "limit", ["maxDrupes of 1 (there: undefined)"]),
    (field("arena", 256), "plan", ["step 0", 'node "Gemm_0"', "40 bytes at 256 are no range of arena"]),
    (argument("offset", 64), "plan", ["step 1", "at 64"]),
    (argument("base", "attic"), "plan", ["no range of attic"]),
    (shader("wgsl", "fn main() {\n  nonsense\n}"), "shader", ["softmax does not compile", "3:1"]),
    (shader("wgsl", example.SQUARE.replace("main", "start")), "shader", ["softmax does not compile", "main"]),
    (shader("buffers", 2), "plan", ["softmax takes 2 buffers and 1 dims, not 3 and 1"]),
    (shader("workgroup", 4096), "limit", ["maxComputeInvocationsPerWorkgroup of 4096"]),
]

# JavaScript, run beside `model` and `inputs`, and what its error must be.
WRONG_RUNS = [
    ("model.run({})", "input", 'the input "image" is missing; the inputs are "image", "keep"'),
    ("model.run(inputs, { entry: 'decode' })", "input", 'no entry "decode"; there are ""'),
    ("model.run({ ...inputs, mask: inputs.keep })", "input", 'no input "mask"'),
    ("model.run({ ...inputs, image: inputs.keep })", "input", "give it as Float32Array, not Uint8Array"),
    ("model.run({ ...inputs, image: [1, 2] })", "input", "give it as Float32Array, not Array"),
    ("model.run({ ...inputs, image: new Float32Array(3) })", "input", "[1,3,16,16] has 768 elements, not 3"),
    ("(model.destroy(), model.destroy(), model.run(inputs))", "destroyed", "the model was destroyed"),
    ("Drupe.load('elsewhere/')", "network", "elsewhere/model.json: 404"),
    ("Drupe.load('/drupe.js')", "plan", "drupe.js is no JSON"),
    ("(delete Navigator.prototype.gpu, Drupe.load('/'))", "no-webgpu", "offers no WebGPU"),
]


class WebTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())

    def model(self, change=lambda plan: None):
        folder = tempfile.mkdtemp(dir=self.folder)
        example.write(folder, change)
        return folder

    def evaluate(self, expression, change=lambda plan: None):
        """The expression's value, after `model` and `inputs` were made for the page's model; errors as texts."""
        with Site([self.model(change), WEB]) as site:
            page = self.browser.open(site.url + "drupe.js")
            try:
                return page.evaluate(f"""(async () => {{
                    const {{ Drupe, DrupeError, splitConstants }} = await import("/drupe.js");
                    const inputs = {{ image: new Float32Array(768).fill(0.1), keep: new Uint8Array(10).fill(1) }};
                    const model = await Drupe.load("/");
                    return {expression};
                }})().catch((error) => `${{error.name}} ${{error.code}}: ${{error.message}}`)""")
            finally:
                page.close()

    def test_outputs_are_right(self):
        inputs = example.inputs()
        files = {name: os.path.join(self.folder, f"{name}.npy") for name in inputs}
        for name, value in inputs.items():
            np.save(files[name], value)
        picture = os.path.join(self.folder, "page.png")
        result, outputs = run_page(self.browser, self.model(), files, runs=3, screenshot=picture)
        self.assertTrue(result["ok"], result)
        for name, expected in example.outputs(**inputs).items():
            self.assertEqual(outputs[name].dtype, expected.dtype)
            self.assertLess(difference(outputs[name], expected), 1e-5, name)
        self.assertEqual(len(result["latency"]), 3)
        best = result["outputs"][0]["top"][0]
        self.assertEqual(best["index"], outputs["best"][0])
        with Image.open(picture) as image:
            self.assertGreater(len(image.getcolors(1 << 20)), 100, "the page is blank")

    def test_pictures_are_cropped_and_normalised(self):
        # The middle is grey, what the crop leaves out is red.
        picture = Image.new("RGB", (64, 32), (255, 0, 0))
        picture.paste((100, 150, 200), (12, 0, 52, 32))
        path = os.path.join(self.folder, "picture.png")
        picture.save(path)
        keep = os.path.join(self.folder, "all.npy")
        np.save(keep, np.ones(10, bool))
        result, outputs = run_page(self.browser, self.model(), {"image": path, "keep": keep})
        self.assertTrue(result["ok"], result)
        colour = (np.array([100, 150, 200]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        image = np.broadcast_to(colour[:, None, None], (3, 16, 16))
        expected = example.outputs(image, np.ones(10, bool))
        self.assertLess(difference(outputs["shares"], expected["shares"]), 1e-4)

    def test_random_inputs_depend_on_their_seed(self):
        runs = [run_page(self.browser, self.model(), {"image": seed, "keep": 1})[1]["shares"] for seed in (5, 5, 6)]
        self.assertTrue(np.array_equal(runs[0], runs[1]))
        self.assertFalse(np.array_equal(runs[0], runs[2]))

    def test_a_wrong_file_is_refused(self):
        wrong = os.path.join(self.folder, "wrong.npy")
        np.save(wrong, np.zeros(5, np.float32))
        result, _ = run_page(self.browser, self.model(), {"image": wrong})
        self.assertIn('"image" is f32[1, 3, 16, 16], the file f32[5]', result["error"]["message"])

    def test_a_file_of_i64_fits_i32_or_is_refused(self):
        def narrow(plan):
            plan["entries"][0]["inputs"][1].update(dtype="i32", bytes=40)

        for value, fits in [(-1 << 31, True), (1 << 31, False)]:
            file = os.path.join(self.folder, "wide.npy")
            np.save(file, np.full(10, value))
            result, _ = run_page(self.browser, self.model(narrow), {"image": 1, "keep": file})
            self.assertEqual(result["ok"], fits, result)
        self.assertIn('"keep" is i32[10], and the file has 2147483648', result["error"]["message"])

    def test_wrong_plans_are_errors(self):
        for change, code, parts in WRONG_PLANS:
            with self.subTest(code=code, parts=parts):
                result, _ = run_page(self.browser, self.model(change))
                self.assertFalse(result["ok"])
                self.assertEqual(result["error"]["code"], code, result)
                for part in parts:
                    self.assertIn(part, result["error"]["message"])

    def test_wrong_runs_are_errors(self):
        for expression, code, text in WRONG_RUNS:
            with self.subTest(expression=expression):
                found = self.evaluate(f"await {expression}")
                self.assertTrue(str(found).startswith(f"DrupeError {code}: "), found)
                self.assertIn(text, found)

    def test_runs_may_overlap(self):
        found = self.evaluate("""(await Promise.all([0, 1, 2, 3].map((at) => model.run({ ...inputs,
            keep: Uint8Array.from({ length: 10 }, (_, index) => Number(index === at)) }))))
            .map(({ best }) => Number(best[0]))""")
        self.assertEqual(found, [0, 1, 2, 3])

    def test_a_device_may_be_given_and_lost(self):
        device = "(await (await navigator.gpu.requestAdapter()).requestDevice())"
        found = self.evaluate(f"""await (async (device) => {{
            const other = await Drupe.load("/", {{ device }});
            const {{ best }} = await other.run(inputs);
            device.destroy();
            return await other.run(inputs)
                .then(() => "ran", ({{ code, message }}) => `${{best.length}} ${{code}} ${{message}}`);
        }})({device})""")
        self.assertRegex(found, r"^1 device-lost the GPU was lost \(destroyed\)")

    def test_a_given_device_needs_the_features_too(self):
        device = "await (await navigator.gpu.requestAdapter()).requestDevice()"
        found = self.evaluate(
            f"await Drupe.load('/', {{ device: {device} }})",
            lambda plan: plan.update(limits={"maxComputeWorkgroupStorageSize": 20000}),
        )
        self.assertIn("limit: three-steps needs maxComputeWorkgroupStorageSize of 20000 (there: 16384)", found)

    def test_progress_is_told(self):
        found = self.evaluate("""await (async (stages) => {
            const onProgress = ({ stage, done, total }) => { stages[stage] = [done, total]; };
            (await Drupe.load("/", { onProgress })).destroy();
            return stages;
        })({})""")
        self.assertEqual(found, {"plan": [1, 1], "constants": [30760, 30760], "shaders": [3, 3]})

    def test_constants_are_split_between_ranges(self):
        ranges = [(0, 600), (768, 256), (1024, 100), (0, 10), (4096, 256)]
        args = str([{"base": "constants", "offset": offset, "bytes": bytes} for offset, bytes in ranges])
        found = self.evaluate(f"splitConstants({{ entries: [{{ steps: [{{ args: {args} }}] }}] }}, 1024)")
        self.assertEqual(found, [{"start": 0, "end": 1024}, {"start": 1024, "end": 1136}, {"start": 4096, "end": 4352}])

    def test_ranges_of_a_step_must_not_overlap(self):
        # Chrome refuses the dispatch ("Writable storage buffer binding aliasing found"), also where both only read:
        # the compiler must give equal or overlapping operands as one argument.
        result, _ = run_page(self.browser, self.model(twice((0, 256), (256, 256))))
        self.assertTrue(result["ok"], result)
        for second in [(0, 256), (256, 4), (0, 4)]:
            result, _ = run_page(self.browser, self.model(twice((0, 512), second)))
            self.assertEqual(result["error"]["code"], "plan")
            self.assertIn("step 0 (twice): arguments 0 and 1 overlap", result["error"]["message"])

    def test_dawn_checks_what_no_software_gpu_has(self):
        good, bad = self.model(half), self.model(lambda plan: (half(plan), plan.update(features=["subgroups"])))
        check = os.path.join(HERE, "check.mjs")
        done = subprocess.run(["node", check, good, bad], capture_output=True, text=True, timeout=120)
        lines = done.stdout.splitlines()
        self.assertEqual((done.returncode, len(lines)), (1, 2), done)
        self.assertIn("three-steps: 4 dispatches", lines[0])
        self.assertIn("shader: the shader half does not compile: 2:8: extension 'f16' is not allowed", lines[1])


if __name__ == "__main__":
    unittest.main()
