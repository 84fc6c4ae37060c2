// @ts-check
/**
 * Language models in the browser: text from a model that `drupe compile --target webgpu` has made of one.
 *
 *     import { LanguageModel } from "./language.js";
 *     const model = await LanguageModel.load("smollm2/");
 *     const prompt = model.chat([{ role: "user", content: "Why is the sky blue?" }]);
 *     for await (const { text } of model.generate(prompt, { maxTokens: 100 })) show(text);
 *
 * All but the last token of a prompt are read in chunks by the entries `prefill` (and `prefill_16`, say, a shorter
 * one), the last of which is filled up, and the last token by `decode`, which gives the logits of what comes next: only
 * these, and token numbers, cross to and from the GPU. What was read stays in the model's states, so that a prompt that
 * goes on from there is read from where it parts.
 *
 * Texts become tokens by `@huggingface/tokenizers`, and conversations texts by `@huggingface/jinja`, which the page's
 * import map must name; whoever gives `load` a `tokenizer` and a `template` of their own needs neither.
 */

import { Drupe, DrupeError } from "./drupe.js";
import { Sampler } from "./sampling.js";

/**
 * @typedef {import("./drupe.js").LoadOptions} DeviceOptions
 * @typedef {{encode: (text: string, special: boolean) => number[], decode: (tokens: number[]) => string,
 *   token: (text: string) => number | undefined}} Tokenizer `special`: whether to add what the model starts texts with;
 *   `decode` leaves special tokens out
 * @typedef {{role: string, content: string}} Message
 * @typedef {(messages: Message[], answer: boolean) => string} Template
 * @typedef {DeviceOptions & {tokenizer?: Tokenizer, template?: Template}} LoadOptions
 * @typedef {import("./sampling.js").Sampling & {maxTokens?: number, signal?: AbortSignal,
 *   onRead?: (done: number, total: number) => void}} GenerateOptions `onRead` is told how much of the prompt is read
 * @typedef {"end" | "length" | "context"} Reason why an output ends: the model says so, `maxTokens`, or the context is
 *   full
 * @typedef {{token: number, text: string}} Piece the text is final: it may be empty, where a character has parts to
 *   come
 * @typedef {{text: string, tokens: number[], reason: Reason, promptTokens: number, promptMs: number,
 *   ms: number}} Output `ms`: those between the first token and the last
 */

/** What it costs to start a run, and to read one token by itself, in tokens of a chunk: as drupe-runtime-llm has it. */
const [START, SINGLE] = [16, 11];
const UNFINISHED = "\ufffd";

/** A language model on a device, and what it has read. */
export class LanguageModel {
  #model;
  #tokenizer;
  #template;
  #input;
  /** The names of the entries that read chunks, by their lengths. @type {Map<number, string>} */
  #prefills;
  /** The tokens whose rows the states have. @type {number[]} */
  #tokens = [];
  #busy = false;

  /**
   * Loads the model in a folder (a URL that ends with `/`).
   *
   * @param {string | URL} url @param {LoadOptions} [options]
   */
  static async load(url, options = {}) {
    const model = await Drupe.load(url, options);
    try {
      return await LanguageModel.of(model, options);
    } catch (error) {
      model.destroy();
      throw error;
    }
  }

  /** The language model that `model` is. @param {Drupe} model @param {LoadOptions} [options] */
  static async of(model, options = {}) {
    if (!LanguageModel.isOne(model)) throw new DrupeError("plan", `${model.name} is no language model`);
    const settings = await readSettings(model);
    const tokenizer = options.tokenizer ?? await openTokenizer(settings);
    return new LanguageModel(model, settings, tokenizer, options.template ?? await openTemplate(settings));
  }

  /** Whether `model` has the entries of a language model. @param {Drupe} model */
  static isOne(model) {
    return ["decode", "prefill"].every((wanted) => model.entries.some(({ name }) => name === wanted));
  }

  /**
   * @private Use `load` or `of`.
   * @param {Drupe} model @param {Settings} settings @param {Tokenizer} tokenizer @param {Template | undefined} template
   */
  constructor(model, settings, tokenizer, template) {
    const entry = (/** @type {string} */ wanted) => {
      const found = model.entries.find(({ name }) => name === wanted);
      return /** @type {typeof model.entries[number]} */ (found);
    };
    const { inputs, outputs } = entry("decode");
    this.#prefills = new Map(model.entries.filter(({ name }) => /^prefill(_\d+)?$/.test(name))
      .sort((a, b) => b.newRows - a.newRows).map(({ name, newRows }) => [newRows, name]));
    if (inputs.length !== 1 || outputs.length !== 1 || inputs[0].dtype !== "i32" || outputs[0].dtype !== "f32") {
      throw new DrupeError("plan", `${model.name}: decode takes one input of tokens and gives one output of logits`);
    }
    /** Tokens that fit the context. @type {number} */
    this.context = model.mostRows;
    /** Tokens of the chunks that prompts are read in, longest first. @type {number[]} */
    this.chunks = [...this.#prefills.keys()];
    /** Tokens that there are logits for. @type {number} */
    this.vocabulary = outputs[0].shape[outputs[0].shape.length - 1];
    /** How the model's makers sample. @type {import("./sampling.js").Sampling} */
    this.sampling = settings.sampling;
    /** The tokens that end an output. @type {number[]} */
    this.ends = [...new Set([...settings.ends, tokenizer.token(settings.special.eos_token ?? "") ?? []].flat())];
    /** Whether it has a chat template. @type {boolean} */
    this.chats = template !== undefined;
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#input = inputs[0].name;
  }

  /** The model that runs. */
  get model() {
    return this.#model;
  }

  /** The tokens that it has read. */
  get tokens() {
    return [...this.#tokens];
  }

  /** The tokens of a text. @param {string} text @param {boolean} [special] whether to add what texts start with */
  encode(text, special = true) {
    return this.#tokenizer.encode(text, special);
  }

  /** The text of tokens, without special ones. @param {number[]} tokens */
  decode(tokens) {
    return this.#tokenizer.decode(tokens);
  }

  /** The prompt of a conversation, which ends where the model's answer starts. @param {Message[]} messages */
  chat(messages) {
    if (!this.#template) throw new DrupeError("tokenizer", `${this.#model.name} has no chat template`);
    // The template writes the special tokens itself.
    return this.encode(this.#template(messages, true), false);
  }

  /** Forgets what it has read. */
  reset() {
    this.#whenIdle();
    this.#tokens = [];
  }

  /**
   * Reads all of `tokens`, but for those that it has read already, and gives the logits of what comes next.
   *
   * @param {ArrayLike<number>} tokens at least one
   * @param {Pick<GenerateOptions, "signal" | "onRead">} [options]
   * @returns {Promise<Float32Array>}
   */
  async read(tokens, options = {}) {
    this.#whenIdle();
    this.#busy = true;
    try {
      return await this.#read(Array.from(tokens), options);
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Reads a prompt (a text or its tokens) and goes on from there, token by token. It ends by itself, by `break`, or
   * with what the signal is aborted for; what was read is kept then.
   *
   * @param {string | ArrayLike<number>} prompt @param {GenerateOptions} [options]
   * @returns {AsyncGenerator<Piece, Output, void>}
   */
  async *generate(prompt, options = {}) {
    this.#whenIdle();
    this.#busy = true;
    try {
      const { signal, maxTokens = Infinity, onRead, ...how } = options;
      const sampler = new Sampler({ ...this.sampling, ...how });
      const start = typeof prompt === "string" ? this.encode(prompt) : Array.from(prompt);
      const began = performance.now();
      let logits = await this.#read(start, { signal, onRead });
      const first = performance.now();
      const texts = new Texts(this.#tokenizer);
      /** @type {number[]} */
      const tokens = [];
      let [text, last] = ["", first];
      /** @type {Reason} */
      let reason = "length";
      while (tokens.length < maxTokens) {
        signal?.throwIfAborted();
        const token = sampler.choose(logits, [...start, ...tokens]);
        if (this.ends.includes(token)) {
          reason = "end";
          break;
        }
        tokens.push(token);
        last = performance.now();
        const piece = texts.push(token);
        text += piece;
        yield { token, text: piece };
        if (tokens.length === maxTokens) break;
        if (this.#tokens.length === this.context) {
          reason = "context";
          break;
        }
        logits = await this.#step(token);
      }
      const rest = texts.end();
      if (rest) yield { token: tokens[tokens.length - 1], text: rest };
      const times = { promptMs: first - began, ms: last - first };
      return { text: text + rest, tokens, reason, promptTokens: start.length, ...times };
    } finally {
      this.#busy = false;
    }
  }

  /**
   * All of what `generate` gives; `onText` is told every piece of text as it comes.
   *
   * @param {string | ArrayLike<number>} prompt
   * @param {GenerateOptions & {onText?: (text: string) => void}} [options]
   * @returns {Promise<Output>}
   */
  async complete(prompt, { onText, ...options } = {}) {
    const pieces = this.generate(prompt, options);
    for (;;) {
      const { done, value } = await pieces.next();
      if (done) return value;
      if (value.text) onText?.(value.text);
    }
  }

  /** Gives the device's memory back. */
  destroy() {
    this.#model.destroy();
  }

  #whenIdle() {
    if (this.#busy) throw new DrupeError("busy", "the model is at work: end that first, or abort its signal");
  }

  /** @param {number[]} tokens @param {Pick<GenerateOptions, "signal" | "onRead">} options */
  async #read(tokens, { signal, onRead }) {
    const wrong = tokens.find((token) => !Number.isInteger(token) || token < 0 || token >= this.vocabulary);
    if (wrong !== undefined) throw new DrupeError("input", `${wrong} is no token: there are ${this.vocabulary}`);
    if (tokens.length === 0) throw new DrupeError("input", "there is no token to go on from");
    if (tokens.length > this.context) {
      throw new DrupeError("context", `${tokens.length} tokens do not fit the context of ${this.context}`);
    }
    const last = tokens.length - 1;
    const parts = tokens.findIndex((token, index) => index === last || token !== this.#tokens[index]);
    this.#tokens.length = Math.min(parts, this.#tokens.length);
    while (this.#tokens.length < last) {
      signal?.throwIfAborted();
      const at = this.#tokens.length;
      const length = nextRun(this.chunks.filter((chunk) => at + chunk <= this.context), last - at);
      const entry = this.#prefills.get(length);
      if (entry !== undefined) {
        const part = tokens.slice(at, Math.min(last, at + length));
        // What fills the chunk up is never seen: its rows do not count.
        const input = new Int32Array(length);
        input.set(part);
        await this.#model.run({ [this.#input]: input }, { entry, rows: at });
        this.#tokens.push(...part);
      } else {
        await this.#step(tokens[at]);
      }
      onRead?.(this.#tokens.length, tokens.length);
    }
    signal?.throwIfAborted();
    const logits = await this.#step(tokens[last]);
    onRead?.(tokens.length, tokens.length);
    return logits;
  }

  /** Reads one more token. @param {number} token @returns {Promise<Float32Array>} */
  async #step(token) {
    const rows = this.#tokens.length;
    const outputs = await this.#model.run({ [this.#input]: Int32Array.of(token) }, { entry: "decode", rows });
    this.#tokens.push(token);
    return /** @type {Float32Array} */ (Object.values(outputs)[0]);
  }
}

/**
 * The length of the run, one of `chunks` or one token, that is the first of those which read `rest` tokens soonest.
 *
 * @param {number[]} chunks @param {number} rest
 */
export function nextRun(chunks, rest) {
  const longest = Math.max(1, ...chunks);
  if (rest > longest) return longest;
  // What so many tokens cost, and the longest run to begin with.
  const soonest = [{ cost: 0, length: 1 }];
  for (let tokens = 1; tokens <= rest; tokens++) {
    const after = (/** @type {number} */ length) => soonest[Math.max(0, tokens - length)].cost;
    const runs = [{ cost: after(1) + SINGLE, length: 1 },
      ...chunks.map((length) => ({ cost: after(length) + START + length, length }))];
    soonest.push(runs.reduce((a, b) => b.cost < a.cost || (b.cost === a.cost && b.length > a.length) ? b : a));
  }
  return soonest[rest].length;
}

/** Tokens that come one by one, as text that is final: whole characters. */
class Texts {
  #tokenizer;
  /** The tokens from some way back on: what a token's text is depends on those before. @type {number[]} */
  #recent = [];
  /** As many of these are told. */
  #told = 0;

  /** @param {Tokenizer} tokenizer */
  constructor(tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** @param {number} token */
  push(token) {
    this.#recent.push(token);
    return this.#tell(false);
  }

  /** What is left, finished or not. */
  end() {
    return this.#tell(true);
  }

  /** @param {boolean} all */
  #tell(all) {
    const before = this.#tokenizer.decode(this.#recent.slice(0, this.#told));
    const now = this.#tokenizer.decode(this.#recent);
    if (now.length <= before.length || (!all && now.endsWith(UNFINISHED))) return "";
    this.#recent = this.#recent.slice(this.#told);
    this.#told = this.#recent.length;
    return now.slice(before.length);
  }
}

// ---- what comes with the model

/**
 * @typedef {{files: Map<string, any>, ends: number[], special: Record<string, string>, template?: string,
 *   sampling: import("./sampling.js").Sampling}} Settings
 */

/** What the files beside the model say. Of two that say something the first counts. @param {Drupe} model */
async function readSettings(model) {
  const wanted = ["tokenizer.json", "generation_config.json", "config.json", "tokenizer_config.json",
    "chat_template.jinja"];
  /** @type {Map<string, any>} */
  const files = new Map(await Promise.all(wanted.filter((name) => model.assets.includes(name)).map(async (name) => {
    const address = new URL(name, model.address);
    const response = await fetch(address).catch((error) => {
      throw new DrupeError("network", `${address} cannot be fetched: ${error.message}`, error);
    });
    if (!response.ok) throw new DrupeError("network", `${address}: ${response.status} ${response.statusText}`);
    const read = name.endsWith(".json") ? response.json() : response.text();
    return /** @type {[string, any]} */ ([name, await read.catch((error) => {
      throw new DrupeError("tokenizer", `${address} is no JSON: ${error.message}`, error);
    })]);
  })));
  const [generation, config, aboutTokens] =
    ["generation_config.json", "config.json", "tokenizer_config.json"].map((name) => files.get(name) ?? {});
  const special = Object.fromEntries(Object.entries(aboutTokens).filter(([role]) => role.endsWith("_token"))
    .map(([role, value]) => [role, typeof value === "string" ? value : value?.content])
    .filter(([, value]) => typeof value === "string"));
  const ends = [generation, config].flatMap(({ eos_token_id: token }) => token ?? []).filter(Number.isInteger);
  const listed = aboutTokens.chat_template;
  const template = files.get("chat_template.jinja")
    ?? (Array.isArray(listed) ? listed.find(({ name }) => name === "default")?.template : listed);
  return { files, ends, special, template, sampling: samplingOf(generation) };
}

/** Greedy unless the file says `do_sample`. @param {any} generation @returns {import("./sampling.js").Sampling} */
function samplingOf({ do_sample, temperature, top_k, top_p, min_p, repetition_penalty }) {
  const penalty = { repetitionPenalty: repetition_penalty ?? 1 };
  if (do_sample !== true) return penalty;
  return { ...penalty, temperature: temperature ?? 1, topK: top_k ?? 50, topP: top_p ?? 1, minP: min_p ?? 0 };
}

/** A package that the import map names. @param {string} name @returns {Promise<any>} */
async function packageOf(name) {
  try {
    return await import(name);
  } catch (error) {
    const why = /** @type {Error} */ (error).message;
    throw new DrupeError("tokenizer", `the page's import map gives no ${name}: ${why}`, error);
  }
}

/** @param {Settings} settings @returns {Promise<Tokenizer>} */
async function openTokenizer({ files }) {
  const file = files.get("tokenizer.json");
  if (!file) throw new DrupeError("tokenizer", "the model came without a tokenizer.json: give `load` a tokenizer");
  const { Tokenizer } = await packageOf("@huggingface/tokenizers");
  const tokenizer = new Tokenizer(file, files.get("tokenizer_config.json") ?? {});
  return {
    encode: (text, special) => tokenizer.encode(text, { add_special_tokens: special }).ids,
    decode: (tokens) => tokens.length > 0
      ? tokenizer.decode(tokens, { skip_special_tokens: true, clean_up_tokenization_spaces: false }) : "",
    token: (text) => tokenizer.token_to_id(text),
  };
}

/** @param {Settings} settings @returns {Promise<Template | undefined>} */
async function openTemplate({ template, special }) {
  if (!template) return undefined;
  const { Template } = await packageOf("@huggingface/jinja");
  const made = new Template(template);
  return (messages, answer) => made.render({ messages, add_generation_prompt: answer, ...special });
}
