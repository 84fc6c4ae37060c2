#!/usr/bin/env python3
"""Language models in a headless Chromium, against transformers and the command line: `./x web`.

DRUPE is the compiler. Models that `./x models language` has not brought are skipped.
"""

import json
import os
import re
import struct
import subprocess
import tempfile
import unittest

import numpy as np
from browser import ROOT, Browser
from PIL import Image
from run_page import difference
from talk import TalkSite, talk

DRUPE = os.environ.get("DRUPE") or os.path.join(ROOT, "target", "debug", "drupe")
SMOLLM2 = os.path.join(ROOT, "models", "smollm2_135m")
REFERENCES = os.path.join(ROOT, ".deps", "references-language")
CONTEXT, CHUNK = 32, 8

# Of another engine, as drupe_eval::Tolerance has it: a share of the largest value.
TOLERANCE = 1e-3

# Tokens are letters here; é has two: it comes when it is whole.
LETTERS = """({
    encode: (text) => [...new TextEncoder().encode(text)],
    decode: (tokens) => new TextDecoder().decode(Uint8Array.from(tokens, (token) => token < 64 ? 65 + token % 26
      : token % 2 ? 0xc3 : 0xa9)),
    token: () => undefined,
})"""

# What tokenizers disagree on, if they do.
TEXTS = [
    "Hello, world!",
    "  two  spaces\n\n\tand a tab \n",
    "I'll say: it's 12345.67 'quoted'",
    "Größe, naïve café, Ελλάδα, 中文字, 日本語",
    "👩‍👩‍👧 🇫🇷 e\u0301 \u200b",
    "fn main() { println!(\"{}\", 1 << 4); }",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|> <|endoftext|>x",
    "",
]

# JavaScript, run beside `model`, and what its error must be.
WRONG = [
    ("model.read([])", "input", "no token to go on from"),
    ("model.read([1, 128])", "input", "128 is no token: there are 128"),
    ("model.read(new Array(34).fill(1))", "context", "34 tokens do not fit the context of 33"),
    ("model.model.run({ tokens: new Int32Array(8) }, { entry: 'prefill', rows: 26 })", "context", "8 rows behind 26"),
    ("model.model.run({ tokens: new Int32Array(1) }, { rows: -1 })", "input", "-1 is no number of rows"),
    ("model.model.run({ tokens: new Int32Array(1) }, { entry: 'score' })", "input", 'there are "decode", "prefill"'),
    ("model.complete([1], { temperature: -1 })", "sampling", "temperature is -1"),
    ("model.complete([1], { topP: 2 })", "sampling", "topP is 2: 0 to 1"),
    ("(async () => model.chat([]))()", "tokenizer", "has no chat template"),
    ("Promise.all([model.read([1]), model.read([2])])", "busy", "at work"),
]


def reference(name):
    """The tokens and logits that transformers has left."""
    with open(os.path.join(REFERENCES, name, "reference.safetensors"), "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    types = {"F32": "<f4", "I32": "<i4"}
    read = lambda row: np.frombuffer(data[slice(*row["data_offsets"])], types[row["dtype"]]).reshape(row["shape"])
    return read(header["tokens"]), read(header["logits"])


class LanguageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())

    def drupe(self, *arguments):
        done = subprocess.run([DRUPE, *arguments], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def compiled(self, model, name, *options):
        if not os.path.exists(model):
            self.skipTest(f"{model} is not here: `./x models language` brings it")
        folder = os.path.join(self.folder, name)
        if not os.path.exists(folder):
            self.drupe("compile", model, "--target", "webgpu", "--chunk", str(CHUNK), "-o", folder, *options)
        return folder

    def tiny(self, name="llama", context=CONTEXT):
        return self.compiled(os.path.join(REFERENCES, name, "model"), name, "--context", str(context))

    def evaluate(self, folder, expression, options=f"{{ tokenizer: {LETTERS} }}"):
        """The expression's value, after `model` was loaded; errors as texts."""
        with TalkSite(folder) as site:
            # For its import map; what it does itself is of no interest.
            page = self.browser.open(site.url + "?model=nowhere/")
            try:
                return page.evaluate(f"""(async () => {{
                    const {{ LanguageModel }} = await import("/language.js");
                    const {{ Sampler }} = await import("/sampling.js");
                    const model = await LanguageModel.load("/", {options});
                    return {expression};
                }})().catch((error) => `${{error.name}} ${{error.code}}: ${{error.message}}`)""")
            finally:
                page.close()

    def agrees(self, name):
        """Every token by itself, and then all of them in chunks, the last filled up: the logits are transformers'."""
        tokens, expected = reference(name)
        context = max(CONTEXT, len(tokens))
        found = self.evaluate(
            self.tiny(name, context),
            f"""await (async (tokens, rows) => {{
                for (let end = 1; end <= tokens.length; end++) rows.push([...await model.read(tokens.slice(0, end))]);
                model.reset();
                return {{ rows, last: [...await model.read(tokens)], read: model.tokens }};
            }})({tokens.tolist()}, [])""",
        )
        self.assertIsInstance(found, dict, found)
        self.assertLessEqual(difference(np.array(found["rows"], np.float32), expected), TOLERANCE)
        self.assertLessEqual(difference(np.array(found["last"], np.float32), expected[-1]), TOLERANCE)
        self.assertEqual(found["read"], tokens.tolist())

    def test_llama(self):
        self.agrees("llama")

    def test_qwen3(self):
        self.agrees("qwen3")

    def test_phi3(self):
        self.agrees("phi3_long")

    def test_mobilellm(self):
        self.agrees("mobilellm")

    def test_weights_in_integers_need_no_more_of_a_device(self):
        model = os.path.join(REFERENCES, "llama", "model")
        folder = self.compiled(model, "integers", "--context", str(CONTEXT), "--quant", "w8")
        with open(os.path.join(folder, "model.json")) as file:
            plan = json.load(file)
        self.assertEqual(plan["features"], [])
        self.assertTrue(any("unpack2x16float" in shader["wgsl"] for shader in plan["shaders"]))
        tokens, expected = reference("llama")
        found = self.evaluate(folder, f"[...await model.read({tokens.tolist()})]")
        self.assertIsInstance(found, list, found)
        departs = difference(np.array(found, np.float32), expected[-1])
        # A scale for a row of 64 weights of 8 bits: not the same, and not far from it.
        self.assertTrue(TOLERANCE < departs < 0.05, departs)

    def test_what_was_read_is_kept_until_it_parts(self):
        found = self.evaluate(
            self.tiny(),
            """await (async (calls, run) => {
                model.model.run = (inputs, how) => (calls.push(`${how.entry} ${how.rows}`), run(inputs, how));
                const told = [];
                const onRead = (done, total) => told.push(`${done}/${total}`);
                const tokens = Array.from({ length: 20 }, (_, index) => 5 * index + 1);
                const first = await model.read(tokens, { onRead });
                const again = await model.read(tokens);
                const other = await model.read([...tokens.slice(0, 12), 7, 8]);
                model.reset();
                const anew = await model.read(tokens);
                await model.read(new Array(28).fill(9));
                await model.read(new Array(32).fill(9));
                const same = (a, b) => a.every((value, index) => Math.abs(value - b[index]) < 1e-4);
                return { calls, told, same: [same(first, again), same(first, other), same(first, anew)] };
            })([], model.model.run.bind(model.model))""",
        )
        self.assertIsInstance(found, dict, found)
        self.assertEqual(found["same"], [True, False, True])
        self.assertEqual(found["told"], ["8/20", "16/20", "19/20", "20/20"])
        anew = ["prefill 0", "prefill 8", "prefill 16", "decode 19"]
        nines = ["prefill 0", "prefill 8", "prefill 16", "prefill 24", "decode 27"]
        # No chunk fits behind 28 tokens.
        unfit = ["decode 28", "decode 29", "decode 30", "decode 31"]
        self.assertEqual(found["calls"], [*anew, "decode 19", "decode 12", "decode 13", *anew, *nines, *unfit])

    def test_prompts_are_read_in_few_runs_that_fill_little_up(self):
        # Those of drupe-runtime-llm's test.
        several, one = [256, 64, 16], [128]
        expected = [
            (several, 512, [256, 256]), (several, 300, [256, 64]), (several, 275, [256, 16, 16]),
            (several, 250, [256]), (several, 20, [16, 16]), (several, 2, [1, 1]), (one, 130, [128, 1, 1]),
            (one, 13, [1] * 13), (one, 14, [128]), ([], 3, [1, 1, 1]), (several, 0, []),
        ]  # fmt: skip
        runs = """(nextRun, chunks, left, runs) => {
            for (; left > 0; left -= runs.at(-1)) runs.push(nextRun(chunks, left));
            return runs;
        }"""
        calls = ", ".join(f"run(nextRun, {chunks}, {tokens}, [])" for chunks, tokens, _ in expected)
        found = self.evaluate(
            self.tiny(), f"(({{ nextRun }}, run) => [{calls}])(await import('/language.js'), {runs})"
        )
        self.assertEqual(found, [lengths for _, _, lengths in expected])

    def test_a_full_context_ends_the_output(self):
        found = self.evaluate(
            self.tiny(), "await (async () => (model.ends = [], model.complete(new Array(31).fill(9))))()"
        )
        self.assertIsInstance(found, dict, found)
        self.assertEqual((found["reason"], len(found["tokens"]), found["promptTokens"]), ("context", 3, 31))

    def test_outputs_end_where_they_are_told_to(self):
        found = self.evaluate(
            self.tiny(),
            """await (async (tokens) => {
                model.ends = [];
                const all = await model.complete([3, 5], { maxTokens: 12 });
                let text = "";
                for await (const piece of model.generate([3, 5], { maxTokens: 12 })) {
                  tokens.push(piece.token);
                  text += piece.text;
                  if (tokens.length === 4) break;
                }
                model.ends = [all.tokens[5]];
                const short = await model.complete([3, 5], { maxTokens: 12 });
                const none = await model.complete([3, 5], { maxTokens: 0 });
                return { all, tokens, text, short, none };
            })([])""",
        )
        self.assertIsInstance(found, dict, found)
        whole, short = found["all"]["tokens"], found["short"]["tokens"]
        self.assertEqual((found["all"]["reason"], len(whole)), ("length", 12))
        self.assertEqual(found["tokens"], whole[:4])
        self.assertTrue(found["all"]["text"].startswith(found["text"]))
        self.assertEqual((found["short"]["reason"], short), ("end", whole[: whole.index(whole[5])]))
        self.assertEqual((found["none"]["tokens"], found["none"]["text"]), ([], ""))

    def test_text_comes_in_whole_characters(self):
        found = self.evaluate(
            self.tiny(),
            """await (async (pieces) => {
                model.ends = [];
                const onText = (text) => pieces.push(text);
                const { text, tokens } = await model.complete([3], { maxTokens: 24, temperature: 3, seed: 5, onText });
                return { text, whole: model.decode(tokens), pieces };
            })([])""",
        )
        self.assertIsInstance(found, dict, found)
        self.assertEqual("".join(found["pieces"]), found["text"])
        self.assertEqual(found["text"], found["whole"])
        self.assertGreater(len(found["pieces"]), 1)

    def test_a_signal_ends_it_and_what_was_read_stays(self):
        found = self.evaluate(
            self.tiny(),
            """await (async (control, read) => {
                model.ends = [];
                const tokens = [];
                const how = { maxTokens: 20, signal: control.signal };
                const ended = await (async () => {
                  for await (const { token } of model.generate([4, 4], how)) {
                    if (tokens.push(token) === 3) control.abort();
                  }
                })().then(() => "ran", ({ name }) => name);
                const before = await model.read([1], { signal: AbortSignal.abort() }).catch(({ name }) => name);
                const after = await model.complete([4, 4], { maxTokens: 3 });
                return { ended, before, tokens, after: after.tokens };
            })(new AbortController())""",
        )
        self.assertIsInstance(found, dict, found)
        self.assertEqual((found["ended"], found["before"]), ("AbortError", "AbortError"))
        self.assertEqual(found["tokens"], found["after"])

    def test_wrong_calls_are_errors(self):
        found = self.evaluate(
            self.tiny(),
            f"""await (async (calls, told) => {{
                for (const call of calls) {{
                  const text = ({{ name, code, message }}) => `${{name}} ${{code}}: ${{message}}`;
                  told.push(await call().then(() => "ran", text));
                  await new Promise((resolve) => setTimeout(resolve, 200));
                }}
                return told;
            }})([{", ".join(f"() => {call}" for call, _, _ in WRONG)}], [])""",
        )
        self.assertIsInstance(found, list, found)
        for (call, code, text), told in zip(WRONG, found, strict=True):
            with self.subTest(call=call):
                self.assertTrue(told.startswith(f"DrupeError {code}: "), told)
                self.assertIn(text, told)

    def test_a_model_without_a_tokenizer_says_so(self):
        found = self.evaluate(self.tiny(), "'loaded'", "{}")
        self.assertIn("tokenizer: the model came without a tokenizer.json", found)

    def test_tokens_are_sampled(self):
        found = self.evaluate(
            self.tiny(),
            """(() => {
                const logits = Float32Array.from([1, 3, NaN, 2, 3, -Infinity]);
                const draws = (how) => {
                  const sampler = new Sampler(how);
                  return Array.from({ length: 500 }, () => sampler.choose(logits.slice()));
                };
                const counts = (how) => draws(how).reduce((sum, token) => (sum[token] += 1, sum), [0, 0, 0, 0, 0, 0]);
                const penalty = new Sampler({ repetitionPenalty: 4 });
                return {
                  greedy: counts({}), all: counts({ temperature: 1 }), cold: counts({ temperature: 0.01 }),
                  topK: counts({ temperature: 1, topK: 1 }), topP: counts({ temperature: 1, topP: 0.7 }),
                  minP: counts({ temperature: 1, minP: 0.3 }), penalty: penalty.choose(logits.slice(), [1, 4]),
                  same: String(draws({ temperature: 1, seed: 3 })) === String(draws({ temperature: 1, seed: 3n })),
                  differs: String(draws({ temperature: 1, seed: 3 })) !== String(draws({ temperature: 1, seed: 4 })),
                };
            })()""",
        )
        self.assertIsInstance(found, dict, found)
        self.assertEqual(found["greedy"], [0, 500, 0, 0, 0, 0])
        self.assertEqual(found["topK"], [0, 500, 0, 0, 0, 0])
        shares = np.exp([1, 3, -np.inf, 2, 3, -np.inf])
        # Within four standard deviations.
        self.assertLess(np.abs(np.array(found["all"]) - 500 * shares / shares.sum()).max(), 45)
        for name, tokens in [("cold", [1, 4]), ("topP", [1, 4]), ("minP", [1, 3, 4])]:
            self.assertEqual([token for token in range(6) if found[name][token]], tokens, name)
        self.assertEqual(found["penalty"], 3)
        self.assertTrue(found["same"] and found["differs"])

    def test_texts_become_the_tokens_that_the_command_line_gives(self):
        if not os.path.exists(SMOLLM2):
            self.skipTest("SmolLM2 is not here: `./x models language` brings it")
        names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
        assets = [word for name in names for word in ("--asset", os.path.join(SMOLLM2, name))]
        llama = os.path.join(REFERENCES, "llama", "model")
        folder = self.compiled(llama, "texts", "--context", str(CONTEXT), *assets)
        artifact = os.path.join(self.folder, "texts.drupe")
        self.drupe("compile", llama, "-o", artifact, "--backend", "cranelift", *assets)
        # SmolLM2's template, as transformers renders it.
        chat = (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
        )
        found = self.evaluate(
            folder,
            f"""{{
                ids: {json.dumps(TEXTS)}.map((text) => model.encode(text)),
                texts: {json.dumps(TEXTS)}.map((text) => model.decode(model.encode(text))),
                chat: model.chat([{{ role: "user", content: "Why?" }}]), ends: model.ends, sampling: model.sampling,
            }}""",
            "{}",
        )
        self.assertIsInstance(found, dict, found)
        ids = lambda text: [int(id) for id in re.findall(r"^\s*(\d+)", self.drupe("tokenize", artifact, text), re.M)]
        for text, tokens in zip([*TEXTS, chat], [*found["ids"], found["chat"]], strict=True):
            with self.subTest(text=text):
                self.assertEqual(tokens, ids(text))
        special = re.compile(r"<\|\w+\|>")
        self.assertEqual(found["texts"], [special.sub("", text) for text in TEXTS])
        self.assertEqual((found["ends"], found["sampling"]), ([2], {"repetitionPenalty": 1}))

    def test_smollm2_answers_as_in_transformers(self):
        folder = self.compiled(SMOLLM2, "smollm2", "--context", "128")
        with open(os.path.join(REFERENCES, "smollm2_135m", "greedy.json")) as file:
            greedy = json.load(file)
        expected = greedy["tokens"][len(greedy["prompt"]) :]
        prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        picture = os.path.join(self.folder, "talk.png")
        # Twice: the second run finds the rows that the first has left.
        result = talk(self.browser, folder, prompt, tokens=8, raw=1, runs=2, timeout=900, screenshot=picture)
        self.assertTrue(result["ok"], result)
        first, second = result["runs"]
        self.assertEqual(first["prompt"], greedy["prompt"])
        # The reference leaves out what ends a text.
        self.assertIn((first["reason"], len(first["tokens"])), [("end", 7), ("length", 8)])
        self.assertEqual(first["tokens"], expected[: len(first["tokens"])])
        self.assertEqual(first["tokens"], second["tokens"])
        self.assertEqual(first["text"], "The capital of France is Paris.")
        with Image.open(picture) as image:
            self.assertGreater(len(image.getcolors(1 << 20)), 100, "the page is blank")
        if keep := os.environ.get("DRUPE_TALK_SCREENSHOT"):
            os.replace(picture, keep)


if __name__ == "__main__":
    unittest.main()
