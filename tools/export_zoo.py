#!/usr/bin/env python3
"""Exports the zoo: well-known mobile networks with random weights, as models/NAME.onnx.

    ./x models zoo            (makes the environment with torch, then runs this)
    tools/export_zoo.py --out models [NAME ...]

Weights are random but the numbers are not degenerate: left as initialised, such networks answer
1e-9 everywhere and an error check means nothing. So batch-norm scales and offsets, and layer
scales, are drawn at random, and batch-norm statistics are recomputed on noise. The seed is fixed.
"""

import argparse
import os
import sys
import warnings
import zlib

import torch

CALIBRATION_BATCHES = 4
CALIBRATION_BATCH = 8

# name -> (library, constructor, image side, keep branches and batch norms as in training)
ZOO = {
    "mobilenetv1": ("timm", "mobilenetv1_100", 224, False),
    "mobilenetv2": ("torchvision", "mobilenet_v2", 224, False),
    "mobilenetv3_large": ("torchvision", "mobilenet_v3_large", 224, False),
    "mobilenetv4_conv_small": ("timm", "mobilenetv4_conv_small", 224, False),
    "mobileone_s0": ("timm", "mobileone_s0", 224, True),
    "repvit_m1_0": ("timm", "repvit_m1_0", 224, True),
    "efficientformer_l1": ("timm", "efficientformer_l1", 224, False),
    "mobilevitv2_050": ("timm", "mobilevitv2_050", 256, False),
    "squeezenet1_1": ("torchvision", "squeezenet1_1", 224, False),
    "resnet18": ("torchvision", "resnet18", 224, False),
}


def build(library, constructor):
    if library == "timm":
        import timm

        return timm.create_model(constructor, pretrained=False, exportable=True)
    import torchvision

    return getattr(torchvision.models, constructor)(weights=None)


def make_numbers_meaningful(model, side):
    for name, parameter in model.named_parameters():
        # Layer scales start at 1e-5 and would hide every block behind them.
        if name.rsplit(".", 1)[-1] in ("gamma", "layer_scale", "ls1", "ls2"):
            torch.nn.init.uniform_(parameter, 0.3, 0.9)
    normalisations = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for module in normalisations:
        if module.affine:
            torch.nn.init.uniform_(module.weight, 0.6, 1.4)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
        module.reset_running_stats()
        module.momentum = None  # a plain average over the batches
    model.eval()
    for module in normalisations:
        module.train()
    with torch.no_grad():
        for _ in range(CALIBRATION_BATCHES):
            model(torch.randn(CALIBRATION_BATCH, 3, side, side))
    model.eval()


def export(name, folder):
    library, constructor, side, as_in_training = ZOO[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    model = build(library, constructor)
    make_numbers_meaningful(model, side)
    path = os.path.join(folder, f"{name}.onnx")
    with torch.no_grad():
        spread = model(torch.randn(2, 3, side, side)).std().item()
        torch.onnx.export(
            model,
            torch.randn(2, 3, side, side),
            path + ".part",
            opset_version=17,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE if as_in_training else torch.onnx.TrainingMode.EVAL,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    os.replace(path + ".part", path)
    print(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB, standard deviation of the outputs {spread:.3g}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*ZOO, []])
    parser.add_argument("--out", default="models")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.makedirs(arguments.out, exist_ok=True)
    failed = []
    for name in arguments.names or ZOO:
        try:
            export(name, arguments.out)
        except Exception as error:  # one network that no longer exports must not hide the others
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"not exported: {', '.join(failed)}")


if __name__ == "__main__":
    main()
