"""MNN's rates for one language model, as JSON: testsuite/bench/mnn.py FOLDER PROMPT GENERATE THREADS

FOLDER is what llmexport has made. The first round maps memory, and does not count.
"""

import json
import pathlib
import sys
import time

import MNN.llm


def main():
    folder, (prompt, generate, threads) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:])
    model = MNN.llm.create(str(folder / "config.json"))
    model.set_config({"thread_num": threads, "reuse_kv": False})
    model.load()
    tokens = [at * 7919 % 49152 for at in range(prompt)]
    for counts in (False, True):
        model.reset()
        model.generate_init()
        start = time.perf_counter()
        # Reading the logits waits for them.
        token = int(model.forward(tokens).read().argmax())
        first = time.perf_counter()
        for _ in range(generate):
            token = int(model.forward([token]).read().argmax())
        end = time.perf_counter()
        if counts:
            print(json.dumps({"prefill": prompt / (first - start), "decode": generate / (end - first)}))


if __name__ == "__main__":
    main()
