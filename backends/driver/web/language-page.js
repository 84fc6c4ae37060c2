// @ts-check
/**
 * The part of drupe's page that talks with a language model: a conversation, its text as it comes, and tokens a second.
 *
 * The address may say `?prompt=TEXT`, `&system=TEXT`, `&raw=1` (go on from the prompt as it is, without the chat
 * template), `&tokens=N`, `&temperature=`, `&topK=`, `&topP=`, `&seed=`; with `&autorun=1` it runs, `&runs=N` times
 * from nothing, and what came out is in #result.
 */

import { LanguageModel } from "./language.js";

const MOST_TOKENS = 256;

/**
 * @param {import("./drupe.js").Drupe} drupe
 * @param {{make: any, tell: any, finish: any, fail: any, parameters: URLSearchParams, place: HTMLElement}} page
 */
export async function talk(drupe, { make, tell, finish, fail, parameters, place }) {
  tell("Loading the tokenizer …");
  const model = await LanguageModel.of(drupe);
  const field = (/** @type {string} */ name, /** @type {unknown} */ value, /** @type {string} */ step) => {
    const input = make("input", { type: "number", min: 0, step, value: parameters.get(name) ?? value });
    return { label: make("label", {}, `${name} `, input), value: () => Number(input.value) };
  };
  const fields = {
    tokens: field("tokens", MOST_TOKENS, "1"),
    temperature: field("temperature", model.sampling.temperature ?? 0, "0.1"),
    topK: field("topK", model.sampling.topK ?? 0, "1"),
    topP: field("topP", model.sampling.topP ?? 1, "0.05"),
    seed: field("seed", 0, "1"),
  };
  const prompt = make("textarea", { rows: 3, value: parameters.get("prompt") ?? "", placeholder: "Say something" });
  const send = make("button", { className: "main", type: "submit" }, "Send");
  const stop = make("button", { type: "button", disabled: true }, "Stop");
  const anew = make("button", { type: "button" }, "New conversation");
  const conversation = make("div", { id: "conversation" });
  const figures = make("p", { className: "soft", id: "figures" });
  const form = make("form", {}, prompt, make("div", {}, send, stop, anew),
    make("details", {}, make("summary", { className: "soft" }, "How tokens are chosen"),
      make("fieldset", {}, ...Object.values(fields).map(({ label }) => label))));
  place.append(conversation, figures, form);

  /** @type {import("./language.js").Message[]} */
  let messages = [];
  const raw = !model.chats || parameters.get("raw") === "1";
  const forget = () => {
    const system = parameters.get("system");
    messages = system ? [{ role: "system", content: system }] : [];
    conversation.replaceChildren();
    model.reset();
  };
  const says = (/** @type {string} */ who, /** @type {string} */ text) => {
    const said = make("p", { className: `said ${who}` }, text);
    conversation.append(said);
    return said;
  };

  /** @type {AbortController | undefined} */
  let running;
  /** One prompt and its answer. @param {string} text */
  async function answer(text) {
    running = new AbortController();
    [send.disabled, anew.disabled, stop.disabled] = [true, true, false];
    says("user", text);
    const said = says("assistant", "");
    try {
      if (!raw) messages.push({ role: "user", content: text });
      const start = raw ? model.encode(text) : model.chat(messages);
      tell("Reading …");
      const began = performance.now();
      let tokens = 0;
      const rate = (/** @type {number} */ ms) => (tokens > 1 ? (1000 * (tokens - 1) / ms).toFixed(1) : "–");
      let first = 0;
      const pieces = model.generate(start, {
        maxTokens: fields.tokens.value(),
        temperature: fields.temperature.value(),
        topK: fields.topK.value(),
        topP: fields.topP.value(),
        seed: fields.seed.value(),
        signal: running.signal,
        onRead: (/** @type {number} */ done, /** @type {number} */ total) =>
          tell(`Reading: ${done} of ${total} tokens`),
      });
      for (;;) {
        const { done, value } = await pieces.next();
        if (done) {
          const { promptTokens, promptMs, ms, reason } = value;
          figures.textContent = `Prompt: ${promptTokens} tokens, first token after ${Math.round(promptMs)} ms. `
            + `Output: ${tokens} tokens, ${rate(ms)} tokens/s. Context: ${model.tokens.length} of ${model.context}.`;
          tell({ end: "Ready.", length: `Ready: ${tokens} tokens were asked for.`,
            context: "The context is full: start a new conversation." }[reason]);
          messages.push({ role: "assistant", content: value.text });
          return { ...value, prompt: start };
        }
        if (tokens === 0) first = performance.now();
        tokens += 1;
        said.textContent += value.text;
        figures.textContent = `${tokens} tokens, ${rate(performance.now() - first)} tokens/s`;
        tell(`Writing … (the first token took ${Math.round(first - began)} ms)`);
      }
    } catch (error) {
      if (!running.signal.aborted) throw error;
      tell("Stopped.");
      messages.push({ role: "assistant", content: said.textContent ?? "" });
      return undefined;
    } finally {
      [send.disabled, anew.disabled, stop.disabled] = [false, false, true];
    }
  }

  const about = { model: drupe.name, producer: drupe.producer, adapter: drupe.adapter, load: drupe.times,
    bytes: drupe.bytes, context: model.context, chunks: model.chunks };
  const report = (/** @type {unknown[]} */ runs) => finish({ ok: true, ...about, runs });
  stop.onclick = () => running?.abort();
  anew.onclick = forget;
  form.onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (!prompt.value || send.disabled) return;
    const text = prompt.value;
    prompt.value = "";
    answer(text).then((found) => found && report([found]), fail);
  };
  prompt.onkeydown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  };
  forget();
  tell("Ready.");
  if (parameters.get("autorun") !== "1") return;
  const runs = [];
  for (let run = 0; run < Number(parameters.get("runs") ?? 1); run++) {
    forget();
    runs.push(await answer(prompt.value));
  }
  prompt.value = "";
  report(runs);
}
