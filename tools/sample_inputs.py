"""Realistic, deterministic inputs for the models: photographs, sentences, sound, a file's bytes.

Photographs are scikit-image's; the sound is synthesised; nothing depends on a random generator
but noise and the generic inputs, which are seeded.
"""

import unicodedata
import zlib

import numpy as np

SENTENCES = [
    "A compiler turns a trained model into machine code.",
    "The cat sat on the mat, quite unaffected by the rain outside.",
]


def photograph(name):
    """An RGB photograph as uint8 [height, width, 3]."""
    import skimage.data

    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def resize(pixels, width, height):
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def centre_crop(pixels, share):
    side = int(min(pixels.shape[:2]) * share)
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def normalise(pixels, mean, deviation):
    """uint8 [height, width, 3] -> float32 [1, 3, height, width]; mean and deviation count in 0..255."""
    scaled = (pixels.astype(np.float32) - np.float32(mean)) / np.float32(deviation)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
LITE = (127.0, 128.0)
UNIT = (0.0, 255.0)
SYMMETRIC = (127.5, 127.5)


def classifier_image(name, side, normalisation):
    return normalise(resize(centre_crop(photograph(name), 0.875), side, side), *normalisation)


def detector_image(name, side):
    """Padded to a square at the right and the bottom, in 0..1."""
    pixels = photograph(name)
    square = np.zeros((max(pixels.shape),) * 2 + (3,), np.uint8)
    square[: pixels.shape[0], : pixels.shape[1]] = pixels
    return normalise(resize(square, side, side), *UNIT)


def text_detector_image(pixels, normalisation, shorter_side=None):
    """Sides rounded to multiples of 32, channels as BGR: what PP-OCR's detectors were trained on."""
    height, width = pixels.shape[:2]
    scale = max(1.0, shorter_side / min(height, width)) if shorter_side else 1.0
    height, width = (max(32, round(length * scale / 32) * 32) for length in (height, width))
    mean, deviation = (np.broadcast_to(value, 3)[::-1] for value in normalisation)
    return normalise(resize(pixels, width, height)[..., ::-1], mean, deviation)


def text_line_image(pixels):
    """Height 48, width in proportion, channels as BGR."""
    width = max(16, round(pixels.shape[1] * 48 / pixels.shape[0]))
    return normalise(resize(np.ascontiguousarray(pixels), width, 48)[..., ::-1], *SYMMETRIC)


PAGE_TITLE = (slice(4, 40), slice(0, 262))  # "Region-based segmentation" on the photograph `page`


def wordpieces(sentence, vocabulary):
    """BERT's uncased tokeniser: lower case, accents off, punctuation apart, longest match first."""
    text = unicodedata.normalize("NFD", sentence.lower())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Mn")
    text = "".join(f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in text)
    pieces = ["[CLS]"]
    for word in text.split():
        start, found = 0, []
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocabulary:
                    found.append(piece)
                    start = end
                    break
            else:
                found = ["[UNK]"]
                break
        pieces += found
    return [vocabulary[piece] for piece in pieces + ["[SEP]"]]


def token_inputs(sentences, vocabulary_path):
    with open(vocabulary_path, encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): index for index, line in enumerate(file)}
    rows = [wordpieces(sentence, vocabulary) for sentence in sentences]
    longest = max(map(len, rows))
    return {
        "input_ids": np.array([row + [0] * (longest - len(row)) for row in rows], np.int64),
        "attention_mask": np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64),
        "token_type_ids": np.zeros((len(rows), longest), np.int64),
    }


def harmonic_sound(pitches, samples, rate):
    """Notes with decaying overtones, float32 in -1..1."""
    time = np.arange(samples) / rate
    sound = sum(np.sin(2 * np.pi * pitch * k * time) / k**1.5 for pitch in pitches for k in range(1, 9))
    sound *= 0.6 + 0.4 * np.sin(2 * np.pi * 3.0 * time)
    return np.float32(0.6 * sound / np.abs(sound).max())


def recording(pitches, samples, rate):
    """`harmonic_sound` with a room's noise, 50 dB below full scale.

    The logarithm of a silent band is that of rounding errors: without noise ONNX Runtime disagrees with
    itself by 1e-3 of the range when its optimiser is off.
    """
    noise = np.random.default_rng(0).standard_normal(samples)
    return harmonic_sound(pitches, samples, rate) + np.float32(3e-3 * noise)


PROGRAM = b'''#!/usr/bin/env python3
"""Prints the first prime numbers."""
import itertools
import sys


def primes():
    known = []
    for candidate in itertools.count(2):
        if all(candidate % prime for prime in known):
            known.append(candidate)
            yield candidate


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for prime in itertools.islice(primes(), count):
        print(prime)
'''

WEB_PAGE = b"<html><body><h1>Prime numbers</h1>" + b"<p>Two, three, five, seven.</p>" * 40 + b"</body></html>"
RECORDS = b'{"primes": [2, 3, 5, 7], "name": "small", "nested": {"none": null}}\n' * 20


def file_bytes(content=PROGRAM, each_end=1024, padding=256):
    """The first and the last bytes of a file, padded inwards: magika's features."""
    content = content.strip()
    beginning = list(content[:each_end]) + [padding] * (each_end - len(content[:each_end]))
    end = [padding] * (each_end - len(content[-each_end:])) + list(content[-each_end:])
    return np.array([beginning + end], np.int32)


def three_items(inputs, batch_axes=None):
    """A batch of three from `inputs`, whose axis 0 (or what `batch_axes` says) counts items.

    No two items are alike: the first is as given, the second mirrored, the third rolled by a third of every
    axis and, of floats, halved. All inputs of an item are treated alike, so a mask stays with its tokens.
    Scalars are shared.
    """

    def three(array, batch_axis):
        if array.ndim == 0:
            return array
        items = np.split(array, array.shape[batch_axis], batch_axis)
        first, second, third = (items[number % len(items)] for number in range(3))
        axes = [axis for axis in range(array.ndim) if axis != batch_axis]
        longest = max(axes, key=lambda axis: (array.shape[axis], axis))
        third = np.roll(third, [array.shape[axis] // 3 for axis in axes], axes)
        if array.dtype.kind == "f":
            third = third / 2
        return np.ascontiguousarray(np.concatenate([first, np.flip(second, longest), third], batch_axis))

    return {name: three(array, (batch_axes or {}).get(name, 0)) for name, array in inputs.items()}


def generic(name, dtype, shape):
    """Seeded noise for an input that nothing is known about: floats around 0, integers in 0..9."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    return generator.integers(0, 10, shape).astype(dtype)
