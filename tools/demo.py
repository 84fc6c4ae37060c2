#!/usr/bin/env python3
"""A cat, a cup of coffee and a printed page, through drupe and ONNX Runtime side by side.

    ./x demo          (builds drupe, fetches the models, then runs this)

Classifies two photographs with EfficientNet-lite0, then finds and reads the text on a photographed
page with PP-OCR and draws it to demo/ocr.png. Exits 1 if any output of drupe's is further from
ONNX Runtime's than 1e-3 of that output's range, or if the texts read differ.
"""

import argparse
import os
import subprocess
import sys
import time

import numpy as np
import onnxruntime

import sample_inputs as sample
from model_table import MODELS, ROOT

TOLERANCE = 1e-3  # of the reference output's range
FOLDER = os.path.join(ROOT, "demo")


class Both:
    """One model, compiled by drupe and loaded by ONNX Runtime; remembers how far they were apart."""

    def __init__(self, name, drupe, shape=None):
        self.name, self.drupe = name, drupe
        source, self.artifact = os.path.join(MODELS, f"{name}.onnx"), os.path.join(FOLDER, f"{name}.drupe")
        start = time.perf_counter()
        command = [drupe, "compile", source, "-o", self.artifact]
        subprocess.run(command + (["--shape", shape] if shape else []), check=True)
        self.compile_seconds = time.perf_counter() - start
        self.session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        self.input, self.output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        self.absolute = self.relative = 0.0

    def run(self, array):
        """(drupe's output, ONNX Runtime's output)"""
        reference = self.session.run([self.output], {self.input: array})[0]
        files = [os.path.join(FOLDER, f"{self.name}.{end}.npy") for end in ("input", "output")]
        np.save(files[0], array)
        command = [self.drupe, "run", self.artifact]
        command += ["--input", f"{self.input}={files[0]}", "--output", f"{self.output}={files[1]}"]
        subprocess.run(command, check=True)
        ours = np.load(files[1])
        if ours.shape != reference.shape:
            sys.exit(f"{self.name}: drupe's output is {list(ours.shape)}, ONNX Runtime's {list(reference.shape)}")
        difference = float(np.abs(ours - reference).max())
        spread = float(reference.max() - reference.min())
        relative = difference / spread if spread else difference
        if not np.isfinite(ours).all():
            difference = relative = float("inf")
        self.absolute, self.relative = max(self.absolute, difference), max(self.relative, relative)
        return ours, reference

    def agrees(self):
        return self.relative <= TOLERANCE

    def summary(self):
        verdict = "ok" if self.agrees() else "TOO FAR"
        return (
            f"{self.name:20} compiled in {self.compile_seconds:6.2f} s   largest difference {self.absolute:.2e}"
            f" = {self.relative:.1e} of the range   {verdict}"
        )


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def classify(model, labels, photograph, most=4):
    ours, reference = model.run(sample.classifier_image(photograph, 224, sample.LITE))
    ours, reference = softmax(ours[0]), softmax(reference[0])
    print(f"\n{photograph:32} {'drupe':>9} {'ONNX Runtime':>13}")
    for index in np.argsort(-ours)[:most]:
        print(f"  {labels[index]:30} {ours[index]:9.4%} {reference[index]:13.4%}")


def text_boxes(probabilities, threshold=0.3, least_score=0.5, least_side=3, unclip=1.6):
    """Boxes (top, left, bottom, right) around connected text, grown as the detector shrank them."""
    from skimage.measure import label, regionprops

    boxes = []
    for region in regionprops(label(probabilities > threshold), intensity_image=probabilities):
        top, left, bottom, right = region.bbox
        height, width = bottom - top, right - left
        if min(height, width) < least_side or region.intensity_mean < least_score:
            continue
        grow = height * width * unclip / (2 * (height + width))
        limit_y, limit_x = probabilities.shape
        boxes.append((max(0, top - grow), max(0, left - grow), min(limit_y, bottom + grow), min(limit_x, right + grow)))
    return sorted(boxes)


def decode(scores, characters):
    """Greedy CTC: the best class of each step, repeats merged, blanks (class 0) dropped."""
    best = scores.argmax(axis=1)
    kept = [step for step, index in enumerate(best) if index and (step == 0 or best[step - 1] != index)]
    confidence = float(np.mean([scores[step].max() for step in kept])) if kept else 0.0
    return "".join(characters[best[step]] for step in kept), confidence


def read_page(detector, recogniser, characters, enlarge=2):
    page = sample.photograph("page")
    page = sample.resize(page, page.shape[1] * enlarge, page.shape[0] * enlarge)
    array = sample.text_detector_image(page, sample.SYMMETRIC)
    ours, _ = detector.run(array)
    scale_y, scale_x = (page.shape[axis] / array.shape[axis + 2] for axis in (0, 1))
    boxes = [
        (round(top * scale_y), round(left * scale_x), round(bottom * scale_y), round(right * scale_x))
        for top, left, bottom, right in text_boxes(ours[0, 0])
    ]
    lines = [sample.text_line_image(page[top:bottom, left:right]) for top, left, bottom, right in boxes]
    longest = max((line.shape[3] for line in lines), default=0)
    texts, same = [], True
    print(f"\nthe page, {len(boxes)} lines")
    for line in lines:
        # One width for all, so that one shape is enough.
        padded = np.zeros((1, 3, 48, longest), np.float32)
        padded[..., : line.shape[3]] = line
        (ours, confidence), (reference, _) = (decode(scores[0], characters) for scores in recogniser.run(padded))
        texts.append(ours)
        same &= ours == reference
        print(f"  {confidence:6.1%}  {ours}" + ("" if ours == reference else f"\n  ONNX Runtime: {reference}"))
    draw(page, boxes, texts, os.path.join(FOLDER, "ocr.png"))
    return same and bool(boxes)


def draw(page, boxes, texts, path):
    """The page with its boxes on the left, the text read on the right."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = page.shape[:2]
    picture = Image.new("RGB", (2 * width, height), "white")
    picture.paste(Image.fromarray(page), (0, 0))
    pen = ImageDraw.Draw(picture)
    for (top, left, bottom, right), text in zip(boxes, texts):
        pen.rectangle((left, top, right, bottom), outline="red", width=2)
        size = 28
        while size > 8 and pen.textlength(text, ImageFont.load_default(size)) > width - 8 - left:
            size -= 1
        pen.text((width + left, (top + bottom) / 2), text, fill="black", anchor="lm", font=ImageFont.load_default(size))
    picture.save(path)
    print(f"  drawn to {os.path.relpath(path)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drupe", default=os.path.join(ROOT, "target", "release", "drupe"), help="the command line")
    parser.add_argument("--only", choices=["classify", "read"], help="half of it")
    arguments = parser.parse_args()
    os.makedirs(FOLDER, exist_ok=True)
    used, good = [], True
    if arguments.only != "read":
        with open(os.path.join(MODELS, "imagenet_labels.txt")) as file:
            labels = file.read().splitlines()
        classifier = Both("efficientnet_lite0", arguments.drupe)
        used.append(classifier)
        for photograph in ("chelsea", "coffee"):
            classify(classifier, labels, photograph)
    if arguments.only != "classify":
        with open(os.path.join(MODELS, "ppocr6_rec.characters.txt"), encoding="utf-8") as file:
            characters = ["", *file.read().split("\n"), " "]
        detector, recogniser = Both("ppocr6_det", arguments.drupe, "x=1,3,32*H,32*W"), Both("ppocr6_rec", arguments.drupe)
        used += [detector, recogniser]
        good &= read_page(detector, recogniser, characters)
    print()
    for model in used:
        print(model.summary())
        good &= model.agrees()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
