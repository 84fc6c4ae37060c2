"""ONNX Runtime GenAI's rates for one model, as JSON: testsuite/bench/genai.py FOLDER PROMPT GENERATE THREADS

FOLDER is what `python -m onnxruntime_genai.models.builder` has made. The first round maps memory, and does not count.
"""

import json
import pathlib
import sys
import time

import onnxruntime_genai


def main():
    folder, (prompt, generate, threads) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:])
    config = onnxruntime_genai.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = onnxruntime_genai.Model(config)
    vocabulary = json.loads((folder / "genai_config.json").read_text())["model"]["vocab_size"]
    tokens = [at * 7919 % vocabulary for at in range(prompt)]
    params = onnxruntime_genai.GeneratorParams(model)
    params.set_search_options(max_length=prompt + generate + 1, min_length=prompt + generate + 1, do_sample=False)
    for counts in (False, True):
        generator = onnxruntime_genai.Generator(model, params)
        start = time.perf_counter()
        generator.append_tokens(tokens)
        generator.get_logits()
        first = time.perf_counter()
        for _ in range(generate):
            generator.generate_next_token()
        end = time.perf_counter()
        if counts:
            print(json.dumps({"prefill": prompt / (first - start), "decode": generate / (end - first)}))


if __name__ == "__main__":
    main()
