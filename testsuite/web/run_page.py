#!/usr/bin/env python3
"""Runs a model in the web format by WebGPU in a headless browser, through drupe's page.

    testsuite/web/run_page.py FOLDER [--input NAME=FILE.npy|SEED]... [--expected NAME=FILE.npy]...
        [--tolerance 1e-3] [--runs 1] [--screenshot FILE.png] [--out FOLDER] [--adapter swiftshader|native]
    testsuite/web/run_page.py FOLDER --prompt TEXT [--tokens 8] [--raw] [--runs 1] [--screenshot FILE.png]

FOLDER has model.json and model.bin; the page and drupe.js are the tree's where it has none. The result is
printed as JSON (without the outputs' values, which --out writes as .npy). It fails if the page does, or if an output
departs from the expected by more than the tolerance of its largest value.
"""

import argparse
import base64
import json
import os
import sys

import numpy as np
from browser import ADAPTERS, WEB, Browser, Site
from talk import talk

DTYPES = {"f32": "<f4", "f16": "<f2", "f64": "<f8", "i8": "i1", "u8": "u1", "bool": "?", "i16": "<i2", "u16": "<u2",
          "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8", "bf16": "<u2"}  # fmt: skip


def run_page(browser, folder, inputs=None, runs=1, timeout=300, screenshot=None):
    """The page's result, and its outputs by name. Inputs are .npy or picture files, or seeds of random values."""
    files, query = {}, {"autorun": "1", "runs": str(runs)}
    for name, what in (inputs or {}).items():
        if os.path.exists(str(what)):
            address = f"inputs/{len(files)}{os.path.splitext(what)[1]}"
            files[address] = os.path.abspath(what)
            query[f"input.{name}"] = address
        else:
            query[f"input.{name}"] = str(what)
    with Site([folder, WEB], files) as site:
        result = browser.result(site.url, query, timeout, screenshot)
    outputs = {}
    for output in result.get("outputs", []):
        values = np.frombuffer(base64.b64decode(output.pop("base64")), DTYPES[output["dtype"]])
        outputs[output["name"]] = values.reshape(output["shape"])
    return result, outputs


def difference(found, expected):
    """The largest departure, as a share of the largest value; infinite if shapes or NaNs differ."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return float("inf")
    finite = np.isfinite(expected)
    largest = np.abs(expected[finite]).max(initial=0)
    return float(np.abs(found - expected)[finite].max(initial=0) / max(largest, 1e-30))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--expected", action="append", default=[])
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--prompt", help="what a language model is asked")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--raw", action="store_true", help="go on from the prompt as it is, without a template")
    parser.add_argument("--screenshot")
    parser.add_argument("--out")
    parser.add_argument("--adapter", choices=ADAPTERS, default="swiftshader")
    options = parser.parse_args()

    if options.prompt is not None:
        how = {"tokens": options.tokens, "raw": int(options.raw), "runs": options.runs}
        with Browser(options.adapter) as browser:
            result = talk(browser, options.folder, options.prompt, options.timeout, options.screenshot, **how)
        print(json.dumps(result, indent=1))
        sys.exit(0 if result["ok"] else 1)
    pairs = lambda texts: dict(text.rsplit("=", 1) for text in texts)
    with Browser(options.adapter) as browser:
        result, outputs = run_page(
            browser, options.folder, pairs(options.input), options.runs, options.timeout, options.screenshot
        )
    print(json.dumps(result, indent=1))
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        for name, values in outputs.items():
            np.save(os.path.join(options.out, f"{name}.npy"), values)
    good = result["ok"]
    for name, file in pairs(options.expected).items():
        if name not in outputs:
            print(f"{name}: there is no such output")
            good = False
            continue
        departs = difference(outputs[name], np.load(file))
        print(f"{name}: departs by {departs:.2e}, allowed {options.tolerance:.0e}")
        good &= departs <= options.tolerance
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
