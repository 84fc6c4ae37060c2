"""A model in the web format, made by hand, that has what such models may have.

Two inputs, one of whose lengths is no whole number of words; constants in two ranges; a value in the arena; steps
with and without dims, one with more tasks than a dispatch has workgroups in a row; outputs of three types.
"""

import json
import os

import numpy as np

SIDE, CLASSES, SQUARES = 16, 10, 70_000
PIXELS = 3 * SIDE * SIDE

DENSE = """
@group(0) @binding(0) var<storage, read_write> image: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> keep: array<u32>;
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;
@group(0) @binding(5) var<uniform> dims: array<vec4<i32>, 2>;
var<workgroup> sums: array<f32, 64>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let task = id.x + id.y * count.x;
  if (task >= u32(dims[1].x)) { return; }
  let pixels = u32(dims[0].x);
  var sum = 0.0;
  for (var at = lane; at < pixels / 4u; at += 64u) {
    let x = vec4f(image[4u * at], image[4u * at + 1u], image[4u * at + 2u], image[4u * at + 3u]);
    sum += dot(x, weights[task * (pixels / 4u) + at]);
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    var total = bias[task];
    for (var at = 0u; at < 64u; at++) { total += sums[at]; }
    let kept = (keep[task / 4u] >> (8u * (task % 4u))) & 1u;
    logits[task] = select(-100.0, total, kept == 1u);
  }
}
"""

SOFTMAX = """
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> shares: array<f32>;
@group(0) @binding(2) var<storage, read_write> best: array<vec2<u32>>;
@group(0) @binding(3) var<uniform> dims: array<vec4<i32>, 1>;
@compute @workgroup_size(1)
fn main() {
  let count = u32(dims[0].x);
  var at_most = 0u;
  for (var at = 1u; at < count; at++) { if (logits[at] > logits[at_most]) { at_most = at; } }
  var sum = 0.0;
  for (var at = 0u; at < count; at++) { sum += exp(logits[at] - logits[at_most]); }
  for (var at = 0u; at < count; at++) { shares[at] = exp(logits[at] - logits[at_most]) / sum; }
  best[0] = vec2u(at_most, 0u);
}
"""

SQUARE = """
@group(0) @binding(0) var<storage, read_write> squares: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
  let task = id.x + id.y * count.x;
  if (task < 70000u) { squares[task] = task * task; }
}
"""


def tensor(name, dtype, shape, size):
    return {"name": name, "dtype": dtype, "shape": shape, "bytes": int(np.prod(shape)) * size}


def argument(base, bytes, index=0, offset=0):
    return {"base": base, "index": index, "offset": offset, "bytes": bytes}


def plan():
    weights = 4 * CLASSES * PIXELS
    return {
        "version": 2,
        "producer": "a human hand",
        "model": "three-steps",
        "features": [],
        "limits": {"maxStorageBuffersPerShaderStage": 5, "maxComputeWorkgroupStorageSize": 256},
        "arena": 512,
        "constants": weights + 4 * CLASSES,
        "shaders": [
            {"name": "dense", "wgsl": DENSE, "workgroup": 64, "buffers": 5, "dims": 5},
            {"name": "softmax", "wgsl": SOFTMAX, "workgroup": 1, "buffers": 3, "dims": 1},
            {"name": "square", "wgsl": SQUARE, "workgroup": 1, "buffers": 1, "dims": 0},
        ],
        "states": [],
        "assets": [],
        "entries": [
            {
                "name": "",
                "newRows": 0,
                "inputs": [tensor("image", "f32", [1, 3, SIDE, SIDE], 4), tensor("keep", "bool", [CLASSES], 1)],
                "outputs": [
                    tensor("shares", "f32", [1, CLASSES], 4),
                    tensor("best", "i64", [1], 8),
                    tensor("squares", "u32", [SQUARES], 4),
                ],
                "steps": [
                    {
                        "shader": 0,
                        "grid": CLASSES,
                        "args": [
                            argument("input", 4 * PIXELS),
                            argument("constants", weights),
                            argument("constants", 4 * CLASSES, offset=weights),
                            argument("input", CLASSES, index=1),
                            argument("arena", 4 * CLASSES, offset=256),
                        ],
                        "dims": [PIXELS, 0, 0, 0, CLASSES],
                        "origin": 'node "Gemm_0"',
                    },
                    {
                        "shader": 1,
                        "grid": 1,
                        "args": [
                            argument("arena", 4 * CLASSES, offset=256),
                            argument("output", 4 * CLASSES),
                            argument("output", 8, index=1),
                        ],
                        "dims": [CLASSES],
                        "origin": 'node "Softmax_1"',
                    },
                    {
                        "shader": 2,
                        "grid": SQUARES,
                        "args": [argument("output", 4 * SQUARES, index=2)],
                        "dims": [],
                        "origin": 'node "Mul_2"',
                    },
                ],
            }
        ],
    }


def constants():
    random = np.random.default_rng(1)
    weights = random.standard_normal((CLASSES, PIXELS)).astype(np.float32) / 16
    return weights, random.standard_normal(CLASSES).astype(np.float32)


def inputs(seed=2):
    random = np.random.default_rng(seed)
    keep = np.arange(CLASSES) % 3 != 1
    return {"image": random.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32), "keep": keep}


def outputs(image, keep):
    weights, bias = (value.astype(np.float64) for value in constants())
    logits = np.where(keep, weights @ image.reshape(-1) + bias, -100)
    shares = np.exp(logits - logits.max())
    return {
        "shares": (shares / shares.sum())[None].astype(np.float32),
        "best": np.array([logits.argmax()], np.int64),
        "squares": (np.arange(SQUARES, dtype=np.uint64) ** 2).astype(np.uint32),
    }


def write(folder, change=lambda plan: None):
    """Writes model.json, as `change` leaves it, and model.bin."""
    os.makedirs(folder, exist_ok=True)
    described = plan()
    change(described)
    with open(os.path.join(folder, "model.json"), "w") as file:
        json.dump(described, file)
    with open(os.path.join(folder, "model.bin"), "wb") as file:
        for value in constants():
            file.write(value.tobytes())
