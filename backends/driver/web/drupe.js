// @ts-check
/// <reference types="@webgpu/types" />
/**
 * drupe in the browser: runs a compiled model by WebGPU.
 *
 *     import { Drupe } from "./drupe.js";
 *     const model = await Drupe.load("mobilenet/");           // model.json and model.bin
 *     const { logits } = await model.run({ image: new Float32Array(3 * 224 * 224) });
 *     model.destroy();
 *
 * A model has one entry or several, each a list of steps: a shader with the ranges of memory that it reads and
 * writes. Its memory is one buffer for the arena, one (or several, where a buffer may not be that large) for the
 * constants, and one for every input and output. All of it, and what binds it to the shaders, is made once, in `load`;
 * `run` writes the inputs, records the steps of an entry, and reads the outputs.
 *
 * States are what a model keeps from run to run, such as the keys and values of the tokens that were read: a buffer
 * each, which all entries share and which shaders write in place, new rows behind the others. The caller counts the
 * rows and says with every run how many there are. `language.js` does that for language models.
 *
 * There are no dependencies and nothing to build. Errors are `DrupeError`s with a `code`.
 */

/**
 * @typedef {"f32"|"f16"|"bf16"|"f64"|"i8"|"u8"|"bool"|"i16"|"u16"|"i32"|"u32"|"i64"|"u64"} DType
 * @typedef {Float32Array|Float64Array|Int8Array|Uint8Array|Int16Array|Uint16Array|Int32Array|Uint32Array
 *   |BigInt64Array|BigUint64Array} TypedArray
 * @typedef {{name: string, dtype: DType, shape: number[], bytes: number}} Tensor
 * @typedef {{base: "arena"|"constants"|"input"|"output"|"state", index: number, offset: number,
 *   bytes: number}} Range
 * @typedef {any} Expression A number, the name of the number of rows in the states, or [operation, a, b].
 * @typedef {{name: string, wgsl: string, workgroup: number, buffers: number, dims: number}} ShaderSource
 * @typedef {{shader: number, grid: Expression, args: Range[], dims: Expression[], origin: string}} Step
 * @typedef {{name: string, newRows: number, inputs: Tensor[], outputs: Tensor[], steps: Step[]}} Entry
 *   `newRows`: those that a run writes behind the rows of the states.
 * @typedef {{version: number, producer: string, model: string, features: string[], limits: Record<string, number>,
 *   rows?: string, states: Tensor[], arena: number, constants: number, shaders: ShaderSource[], entries: Entry[],
 *   assets: string[]}} Plan
 * @typedef {{stage: "plan"|"constants"|"shaders", done: number, total: number}} Progress
 *   Bytes of the constants, or compiled shaders.
 * @typedef {{device?: GPUDevice, onProgress?: (progress: Progress) => void}} LoadOptions
 * @typedef {{entry?: string, rows?: number}} RunOptions
 *   The first entry, if not given; the rows that there are in the states, 0 if not given.
 * @typedef {{plan: number, constants: number, shaders: number, load: number}} Times
 * @typedef {"no-webgpu"|"no-adapter"|"feature"|"limit"|"network"|"plan"|"shader"|"memory"|"input"|"device-lost"
 *   |"destroyed"|"run"|"context"|"busy"|"tokenizer"|"sampling"} ErrorCode
 */

const VERSION = 2;
/** What offsets of bindings are multiples of; WebGPU guarantees that no device asks for more. */
const ALIGNMENT = 256;
/** What lengths of bindings are multiples of: the largest element of a shader's arrays, vec4<f32>. */
const GRANULE = 16;
const MOST_WORKGROUPS = 65535;
/** Bytes that are written to the device before waiting for it. */
const IN_FLIGHT = 64 * 1024 * 1024;

/** @type {Record<string, (a: number, b: number) => number>} */
const OPERATIONS = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  floordiv: (a, b) => Math.floor(a / b),
  ceildiv: (a, b) => Math.ceil(a / b),
  mod: (a, b) => a - b * Math.floor(a / b),
  min: Math.min,
  max: Math.max,
};

/** @type {Record<DType, any>} */
const ARRAYS = {
  f32: Float32Array,
  // Not every browser has Float16Array; then f16 goes as its bits.
  f16: /** @type {any} */ (globalThis).Float16Array ?? Uint16Array,
  bf16: Uint16Array,
  f64: Float64Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
};

/** Why a model does not load or run. */
export class DrupeError extends Error {
  /** @param {ErrorCode} code @param {string} message @param {unknown} [cause] */
  constructor(code, message, cause) {
    super(message, { cause });
    this.name = "DrupeError";
    this.code = code;
  }
}

/** The typed array that holds values of `dtype`. @param {DType} dtype */
export const arrayOf = (dtype) => ARRAYS[dtype];

/** A compiled model on a device. */
export class Drupe {
  #device;
  #owns;
  #memory;
  #dispatches;
  /** What the numbers of steps were last computed for. @type {number | undefined} */
  #rows;
  /** @type {DrupeError | undefined} */
  #gone;
  /** Runs wait for each other: they share the buffers. @type {Promise<unknown>} */
  #last = Promise.resolve();

  /**
   * Loads the model in a folder (a URL that ends with `/`), or of a `model.json`; its `model.bin` lies beside.
   *
   * @param {string | URL} url
   * @param {LoadOptions} [options] a device of one's own must have the features and limits that the model needs
   * @returns {Promise<Drupe>}
   */
  static async load(url, options = {}) {
    const report = options.onProgress ?? (() => {});
    const began = performance.now();
    const base = new URL(String(url), globalThis.location?.href);
    const address = base.pathname.endsWith("/") ? new URL("model.json", base) : base;
    report({ stage: "plan", done: 0, total: 1 });
    const plan = checkedPlan(await (await download(address)).json().catch((error) => {
      throw new DrupeError("plan", `${address} is no JSON: ${error.message}`, error);
    }));
    report({ stage: "plan", done: 1, total: 1 });
    const device = options.device ?? await openDevice(plan);
    if (options.device) checkDevice(plan, device, "the given device");
    /** @type {GPUBuffer[]} */
    const buffers = [];
    try {
      const planned = performance.now();
      const memory = await guarded(device, "memory", "the model's memory", () => allocate(device, plan, buffers));
      const uploaded = upload(device, new URL("model.bin", address), plan, memory, report)
        .then(() => performance.now() - planned);
      const compiled = compile(device, plan, report).then((found) => ({ ...found, ms: performance.now() - planned }));
      const [uploadTime, { pipelines, layouts, ms }] = await Promise.all([uploaded, compiled]);
      const dispatches = await guarded(device, "plan", "the steps", () => plan.entries.map(({ steps }, entry) =>
        steps.map((step) => ({
          pipeline: pipelines[step.shader],
          bindings: bind(device, layouts[step.shader], step, plan.shaders[step.shader], memory, entry),
          grid: step.grid,
        }))));
      const times = { plan: planned - began, constants: uploadTime, shaders: ms, load: performance.now() - began };
      return new Drupe(plan, address, device, !options.device, memory, dispatches, times);
    } catch (error) {
      buffers.forEach((buffer) => buffer.destroy());
      if (!options.device) device.destroy();
      throw error;
    }
  }

  /**
   * @private Use `load`.
   * @param {Plan} plan @param {URL} address @param {GPUDevice} device @param {boolean} owns @param {Memory} memory
   * @param {{pipeline: GPUComputePipeline, bindings: GPUBindGroup, grid: Expression}[][]} dispatches by entry
   * @param {Times} times
   */
  constructor(plan, address, device, owns, memory, dispatches, times) {
    /** The model's name. @type {string} */
    this.name = plan.model;
    /** What compiled it. @type {string} */
    this.producer = plan.producer;
    /** Where its `model.json` is; its assets lie beside. @type {URL} */
    this.address = address;
    /** Names of files that came with the model. @type {string[]} */
    this.assets = plan.assets;
    /** @type {{name: string, newRows: number, inputs: Tensor[], outputs: Tensor[]}[]} */
    this.entries = plan.entries.map(({ name, newRows, inputs, outputs }) => ({ name, newRows, inputs, outputs }));
    /** Of the first entry. @type {Tensor[]} */
    this.inputs = plan.entries[0].inputs;
    /** Of the first entry. @type {Tensor[]} */
    this.outputs = plan.entries[0].outputs;
    /** What is kept from run to run. @type {Tensor[]} */
    this.states = plan.states;
    /** Rows that states have room for. @type {number} */
    this.mostRows = mostRows(plan);
    /** Milliseconds that loading took: constants and shaders at the same time. @type {Times} */
    this.times = times;
    /** Bytes on the device. @type {number} */
    this.bytes = memory.all.reduce((sum, buffer) => sum + buffer.size, 0);
    /** Dispatches of a run of the first entry. @type {number} */
    this.steps = dispatches[0].length;
    /** Whose device it is, as far as the browser tells. @type {string} */
    this.adapter = describe(device.adapterInfo);
    this.#device = device;
    this.#owns = owns;
    this.#memory = memory;
    this.#dispatches = dispatches;
    device.lost.then(({ reason, message }) => {
      this.#gone ??= new DrupeError("device-lost", `the GPU was lost (${reason}): ${message}; load the model again`);
    });
  }

  /**
   * Runs an entry of the model on all its inputs, and gives all its outputs, flat, in the order of their shapes.
   *
   * With states it writes `newRows` of the entry behind the `rows` that there are; what lay there is overwritten, so to
   * go back is to give fewer rows.
   *
   * @param {Record<string, TypedArray>} inputs by name
   * @param {RunOptions} [options]
   * @returns {Promise<Record<string, TypedArray>>}
   */
  async run(inputs, { entry = this.entries[0].name, rows = 0 } = {}) {
    const number = this.entries.findIndex(({ name }) => name === entry);
    const wrong = (/** @type {string} */ what) => new DrupeError("input", what);
    const names = this.entries.map(({ name }) => name);
    if (number < 0) throw wrong(`there is no entry "${entry}"; there are ${quoted(names)}`);
    if (!Number.isInteger(rows) || rows < 0) throw wrong(`${rows} is no number of rows`);
    const { newRows } = this.entries[number];
    if (this.states.length > 0 && rows + newRows > this.mostRows) {
      throw new DrupeError("context", `${newRows} rows behind ${rows}: the states have room for ${this.mostRows}`);
    }
    const values = checkedInputs(this.entries[number].inputs, inputs);
    const run = this.#last.then(() => this.#runAlone(number, rows, values));
    this.#last = run.catch(() => {});
    return run;
  }

  /** @param {number} number the entry's @param {number} rows @param {TypedArray[]} values */
  async #runAlone(number, rows, values) {
    if (this.#gone) throw this.#gone;
    const { dims, staging } = this.#memory;
    const { inputs, outputs } = this.#memory.entries[number];
    const device = this.#device;
    try {
      const { checked } = watched(device, "run", "the steps", () => {
        values.forEach((value, index) => device.queue.writeBuffer(inputs[index], 0, wholeWords(value)));
        if (dims.open.length > 0 && rows !== this.#rows) {
          fillDims(dims, rows);
          device.queue.writeBuffer(dims.buffer, 0, dims.words);
          this.#rows = rows;
        }
        const encoder = device.createCommandEncoder({ label: this.name });
        const pass = encoder.beginComputePass();
        for (const { pipeline, bindings, grid } of this.#dispatches[number]) {
          const tasks = valueOf(grid, rows);
          if (tasks === 0) continue;
          const y = Math.ceil(tasks / MOST_WORKGROUPS);
          pass.setPipeline(pipeline);
          pass.setBindGroup(0, bindings);
          pass.dispatchWorkgroups(Math.ceil(tasks / y), y);
        }
        pass.end();
        let at = 0;
        for (const output of outputs) {
          encoder.copyBufferToBuffer(output, 0, staging, at, output.size);
          at += output.size;
        }
        device.queue.submit([encoder.finish()]);
      });
      const done = outputs.length > 0 ? staging.mapAsync(GPUMapMode.READ) : device.queue.onSubmittedWorkDone();
      await Promise.all([checked, done]);
      if (this.#gone) throw this.#gone;
      /** @type {Record<string, TypedArray>} */
      const results = {};
      let at = 0;
      this.entries[number].outputs.forEach((output, index) => {
        const bytes = staging.getMappedRange(at, outputs[index].size).slice(0, output.bytes);
        results[output.name] = new ARRAYS[output.dtype](bytes);
        at += outputs[index].size;
      });
      if (outputs.length > 0) staging.unmap();
      return results;
    } catch (error) {
      // A lost device fails in many ways; the loss is what to tell.
      await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 10))]);
      throw this.#gone ?? error;
    }
  }

  /** Gives the device's memory back, and the device if `load` opened it. */
  destroy() {
    if (this.#gone?.code === "destroyed") return;
    this.#gone = new DrupeError("destroyed", "the model was destroyed");
    this.#memory.all.forEach((buffer) => buffer.destroy());
    if (this.#owns) this.#device.destroy();
  }
}

// ---- the plan

/** @param {unknown} plan @returns {Plan} */
function checkedPlan(plan) {
  try {
    return checkedFields(/** @type {Plan} */ (plan));
  } catch (error) {
    if (error instanceof DrupeError) throw error;
    throw new DrupeError("plan", `this is no plan of drupe: ${/** @type {Error} */ (error).message}`, error);
  }
}

/** @param {Plan} plan @returns {Plan} */
function checkedFields(plan) {
  const wrong = (/** @type {string} */ what) => new DrupeError("plan", what);
  if (plan?.version !== VERSION) {
    throw wrong(`the plan's version is ${plan?.version}, this drupe.js reads ${VERSION}: take both from one drupe`);
  }
  if (plan.entries.length === 0) throw wrong("the plan has no entry");
  for (const tensor of [...plan.states, ...plan.entries.flatMap(({ inputs, outputs }) => [...inputs, ...outputs])]) {
    const { name, dtype, shape, bytes } = tensor;
    if (!ARRAYS[dtype]) throw wrong(`"${name}" is of ${dtype}, which this drupe.js does not know`);
    if (bytes !== length(tensor) * ARRAYS[dtype].BYTES_PER_ELEMENT) {
      throw wrong(`"${name}" of ${dtype}[${shape}] has ${bytes} bytes`);
    }
  }
  for (const entry of plan.entries) checkSteps(plan, entry, wrong);
  return plan;
}

/** @param {Plan} plan @param {Entry} entry @param {(what: string) => DrupeError} wrong */
function checkSteps(plan, entry, wrong) {
  const room = (/** @type {Range} */ { base, index }) => {
    if (base === "arena") return plan.arena;
    if (base === "constants") return plan.constants;
    return { input: entry.inputs, output: entry.outputs, state: plan.states }[base]?.[index]?.bytes ?? -1;
  };
  const most = Math.max(0, mostRows(plan) - entry.newRows);
  const isNumber = (/** @type {Expression} */ expression) => typeof expression === "number"
    || (typeof expression === "string" && expression === plan.rows)
    || (Array.isArray(expression) && expression.length === 3 && Object.hasOwn(OPERATIONS, expression[0])
      && expression.slice(1).every(isNumber));
  entry.steps.forEach((step, number) => {
    const shader = plan.shaders[step.shader];
    const where = `${entry.name ? `${entry.name}, ` : ""}step ${number} (${step.origin})`;
    if (!shader) throw wrong(`${where}: there is no shader ${step.shader}`);
    if (step.args.length !== shader.buffers || step.dims.length !== shader.dims) {
      throw wrong(`${where}: ${shader.name} takes ${shader.buffers} buffers and ${shader.dims} dims, `
        + `not ${step.args.length} and ${step.dims.length}`);
    }
    const odd = [step.grid, ...step.dims].find((expression) => !isNumber(expression));
    if (odd !== undefined) throw wrong(`${where}: ${JSON.stringify(odd)} is no expression`);
    for (const tasks of [valueOf(step.grid, 0), valueOf(step.grid, most)]) {
      if (!(tasks >= 0 && tasks <= MOST_WORKGROUPS ** 2)) {
        throw wrong(`${where}: ${tasks} tasks are more than WebGPU can dispatch`);
      }
    }
    for (const arg of step.args) {
      if (arg.offset % ALIGNMENT !== 0 || arg.bytes <= 0 || arg.offset + arg.bytes > padded(room(arg), GRANULE)) {
        throw wrong(`${where}: ${arg.bytes} bytes at ${arg.offset} are no range of ${arg.base} ${arg.index ?? ""}`);
      }
    }
    const overlap = overlapping(step.args);
    if (overlap) throw wrong(`${where}: arguments ${overlap.join(" and ")} overlap, which WebGPU never allows`);
  });
}

/**
 * The value of an expression where the states have `rows` rows.
 *
 * @param {Expression} expression @param {number} rows @returns {number}
 */
function valueOf(expression, rows) {
  if (typeof expression === "number") return expression;
  if (typeof expression === "string") return rows;
  const [operation, a, b] = expression;
  return OPERATIONS[operation](valueOf(a, rows), valueOf(b, rows));
}

/** Rows that states have room for. @param {Plan} plan */
const mostRows = ({ states }) => states.length > 0 ? Math.min(...states.map(({ shape }) => shape[0])) : 0;

/** Two arguments that share memory: all are bound to be written. @param {Range[]} args */
function overlapping(args) {
  const same = (/** @type {Range} */ a, /** @type {Range} */ b) => a.base === b.base
    && (a.base === "arena" || a.base === "constants" || a.index === b.index);
  for (const [second, b] of args.entries()) {
    const first = args.slice(0, second).findIndex((a) =>
      same(a, b) && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes);
    if (first >= 0) return [first, second];
  }
  return undefined;
}

const padded = (/** @type {number} */ bytes, /** @type {number} */ multiple) => Math.ceil(bytes / multiple) * multiple;

/** How many elements a tensor has. @param {{shape: number[]}} tensor */
const length = ({ shape }) => shape.reduce((product, extent) => product * extent, 1);

/** @param {URL} address */
async function download(address) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new DrupeError("network", `${address} cannot be fetched: ${/** @type {Error} */ (error).message}`, error);
  }
  if (!response.ok) throw new DrupeError("network", `${address}: ${response.status} ${response.statusText}`);
  return response;
}

// ---- the device

/** What the plan asks of a device. @param {Plan} plan @returns {Record<string, number>} */
function neededLimits(plan) {
  const tensors = [...plan.states, ...plan.entries.flatMap(({ inputs, outputs }) => [...inputs, ...outputs])]
    .map(({ bytes }) => bytes);
  const ranges = allSteps(plan).flatMap(({ args }) => args.map(({ bytes }) => padded(bytes, GRANULE)));
  const workgroup = Math.max(1, ...plan.shaders.map((shader) => shader.workgroup));
  /** @type {Record<string, number>} */
  const needed = {
    maxBufferSize: largest([plan.arena, ...tensors, ...ranges]),
    maxStorageBufferBindingSize: largest(ranges),
    maxComputeWorkgroupSizeX: workgroup,
    maxComputeInvocationsPerWorkgroup: workgroup,
    maxStorageBuffersPerShaderStage: largest(plan.shaders.map((shader) => shader.buffers)),
  };
  for (const [name, value] of Object.entries(plan.limits ?? {})) needed[name] = Math.max(needed[name] ?? 0, value);
  return needed;
}

/** The steps of all entries. @param {Pick<Plan, "entries">} plan */
const allSteps = ({ entries }) => entries.flatMap(({ steps }) => steps);

// Not Math.max(...): there may be more steps than a call takes arguments.
const largest = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.max(a, b), 0);

/** @param {Plan} plan @returns {Promise<GPUDevice>} */
async function openDevice(plan) {
  if (!globalThis.navigator?.gpu) {
    const context = globalThis.isSecureContext === false
      ? "pages must come over https or from localhost to use it"
      : "Chrome and Edge from 113, Safari from 26 and Firefox from 141 have it, on most systems";
    throw new DrupeError("no-webgpu", `this browser offers no WebGPU here: ${context}`);
  }
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new DrupeError("no-adapter", "WebGPU finds no GPU that it may use (its drivers may be blocked)");
  checkDevice(plan, adapter, describe(adapter.info));
  const requiredLimits = neededLimits(plan);
  // Constants come in as few buffers as the GPU allows.
  requiredLimits.maxBufferSize = Math.min(adapter.limits.maxBufferSize,
    Math.max(requiredLimits.maxBufferSize, plan.constants, 256 * 1024 * 1024));
  try {
    return await adapter.requestDevice({
      label: "drupe",
      requiredFeatures: /** @type {GPUFeatureName[]} */ (plan.features),
      requiredLimits,
    });
  } catch (error) {
    throw new DrupeError("no-adapter", `the GPU cannot be opened: ${/** @type {Error} */ (error).message}`, error);
  }
}

/**
 * Whether an adapter, or an opened device, has what the plan needs.
 *
 * @param {Plan} plan @param {GPUAdapter | GPUDevice} has @param {string} who
 */
function checkDevice(plan, has, who) {
  const missing = plan.features.filter((feature) => !has.features.has(feature));
  if (missing.length > 0) {
    throw new DrupeError("feature", `${plan.model} needs ${missing.join(", ")}, which ${who} does not have`);
  }
  const short = Object.entries(neededLimits(plan))
    .map(([name, value]) => ({ name, value, limit: /** @type {any} */ (has.limits)[name] }))
    .filter(({ value, limit }) => limit === undefined || value > limit);
  if (short.length > 0) {
    const list = short.map(({ name, value, limit }) => `${name} of ${value} (there: ${limit})`).join(", ");
    throw new DrupeError("limit", `${plan.model} needs ${list} of ${who}`);
  }
}

/** @param {GPUAdapterInfo | undefined} info */
function describe(info) {
  const parts = info ? [info.vendor, info.architecture, info.description || info.device] : [];
  return [...new Set(parts.filter(Boolean))].join(" ") || "this GPU";
}

/**
 * What `make` gives, unless WebGPU finds it wrong.
 *
 * @template T
 * @param {GPUDevice} device @param {ErrorCode} code @param {string} what @param {() => T} make
 * @returns {Promise<T>}
 */
async function guarded(device, code, what, make) {
  const { made, checked } = watched(device, code, what, make);
  await checked;
  return made;
}

/**
 * What `make` gives, before WebGPU has told whether it is right.
 *
 * @template T
 * @param {GPUDevice} device @param {ErrorCode} code @param {string} what @param {() => T} make
 * @returns {{made: T, checked: Promise<void>}}
 */
function watched(device, code, what, make) {
  device.pushErrorScope("validation");
  device.pushErrorScope("out-of-memory");
  // A lost device has no scopes, and an answer that does not matter.
  const pop = () => device.popErrorScope().catch(() => null);
  let made;
  /** @type {Promise<GPUError | null>[]} */
  let scopes = [];
  try {
    made = make();
  } finally {
    scopes = [pop(), pop()];
  }
  const checked = Promise.all(scopes).then(([memory, validation]) => {
    if (memory) throw new DrupeError("memory", `the GPU has no room for ${what}: ${memory.message}`);
    if (validation) throw new DrupeError(code, `WebGPU refuses ${what}: ${validation.message}`);
  });
  return { made, checked };
}

// ---- memory

/**
 * @typedef {{start: number, end: number, buffer: GPUBuffer}} Part a stretch of the constants
 * @typedef {{buffer: GPUBuffer, words: Int32Array<ArrayBuffer>, places: Map<string, number>,
 *   open: {dims: Expression[], at: number}[]}} Dims those of all steps, equal ones once; `open` depend on the rows
 * @typedef {{arena?: GPUBuffer, parts: Part[], states: GPUBuffer[],
 *   entries: {inputs: GPUBuffer[], outputs: GPUBuffer[]}[], dims: Dims, staging: GPUBuffer, all: GPUBuffer[]}} Memory
 */

/**
 * @param {GPUDevice} device @param {Plan} plan @param {GPUBuffer[]} all takes every buffer as it is made
 * @returns {Memory}
 */
function allocate(device, plan, all) {
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
  const make = (/** @type {string} */ label, /** @type {number} */ bytes, /** @type {number} */ usage) => {
    const buffer = device.createBuffer({ label, size: Math.max(padded(bytes, GRANULE), GRANULE), usage });
    all.push(buffer);
    return buffer;
  };
  const entries = plan.entries.map(({ inputs, outputs }) => ({
    inputs: inputs.map(({ name, bytes }) => make(name, bytes, STORAGE | COPY_DST)),
    outputs: outputs.map(({ name, bytes }) => make(name, bytes, STORAGE | COPY_SRC)),
  }));
  const laid = layDims(plan);
  const dims = { ...laid, buffer: make("dims", laid.words.byteLength, UNIFORM | COPY_DST) };
  device.queue.writeBuffer(dims.buffer, 0, dims.words);
  const results = entries.map(({ outputs }) => outputs.reduce((sum, { size }) => sum + size, 0));
  return {
    arena: plan.arena > 0 ? make("arena", plan.arena, STORAGE) : undefined,
    parts: splitConstants(plan, device.limits.maxBufferSize)
      .map(({ start, end }) => ({ start, end, buffer: make("constants", end - start, STORAGE | COPY_DST) })),
    states: plan.states.map(({ name, bytes }) => make(name, bytes, STORAGE)),
    entries,
    dims,
    staging: make("results", largest(results), MAP_READ | COPY_DST),
    all,
  };
}

/** Where the dims of steps lie, with their values for no rows. @param {Plan} plan @returns {Omit<Dims, "buffer">} */
function layDims(plan) {
  /** @type {Map<string, number>} */
  const places = new Map();
  const every = [];
  let end = 0;
  for (const { dims } of allSteps(plan)) {
    const key = JSON.stringify(dims);
    if (dims.length === 0 || places.has(key)) continue;
    places.set(key, end);
    every.push({ dims, at: end / 4 });
    end += padded(4 * dims.length, ALIGNMENT);
  }
  const words = new Int32Array(end / 4);
  fillDims({ words, open: every }, 0);
  const open = every.filter(({ dims }) => dims.some((expression) => typeof expression !== "number"));
  return { words, places, open };
}

/** Writes the values of open dims. @param {Pick<Dims, "words" | "open">} dims @param {number} rows */
function fillDims({ words, open }, rows) {
  for (const { dims, at } of open) words.set(dims.map((expression) => valueOf(expression, rows)), at);
}

/**
 * Cuts the constants into stretches that a buffer may hold, without cutting a step's range.
 *
 * @param {Pick<Plan, "entries">} plan @param {number} most
 * @returns {{start: number, end: number}[]}
 */
export function splitConstants(plan, most) {
  const ranges = allSteps(plan).flatMap(({ args }) => args.filter(({ base }) => base === "constants"))
    .map(({ offset, bytes }) => ({ start: offset, end: padded(offset + bytes, GRANULE) }))
    .sort((a, b) => a.start - b.start || b.end - a.end);
  /** @type {{start: number, end: number}[]} */
  const parts = [];
  for (const { start, end } of ranges) {
    const last = parts.at(-1);
    if (last && (end <= last.end || end - last.start <= most)) {
      last.end = Math.max(last.end, end);
    } else {
      parts.push({ start, end });
    }
  }
  return parts;
}

/**
 * Streams the constants to the device as they come.
 *
 * @param {GPUDevice} device @param {URL} address @param {Plan} plan @param {Memory} memory
 * @param {(progress: Progress) => void} report
 */
async function upload(device, address, plan, memory, report) {
  if (memory.parts.length === 0) return;
  const stream = (await download(address)).body;
  if (!stream) throw new DrupeError("network", `${address} is empty`);
  const reader = stream.getReader();
  let at = 0;
  let told = 0;
  /** Less than a word, from the piece before. */
  let rest = new Uint8Array(0);
  for (let last = false; !last;) {
    const { done, value } = await reader.read();
    last = done;
    let piece = value ?? new Uint8Array(0);
    if (rest.length > 0) {
      const joined = new Uint8Array(rest.length + piece.length);
      joined.set(rest);
      joined.set(piece, rest.length);
      piece = joined;
    }
    const whole = done ? piece.length : piece.length - piece.length % 4;
    writeConstants(device, memory.parts, at, piece.subarray(0, whole));
    at += whole;
    rest = piece.slice(whole);
    report({ stage: "constants", done: at, total: plan.constants });
    // The network may be faster than the GPU.
    if (at - told >= IN_FLIGHT) {
      device.queue.submit([]);
      await device.queue.onSubmittedWorkDone();
      told = at;
    }
  }
  if (at !== plan.constants) {
    const bytes = `${address} has ${at} bytes, and the plan ${plan.constants}`;
    throw new DrupeError("network", `${bytes}: do they belong together?`);
  }
}

/** @param {GPUDevice} device @param {Part[]} parts @param {number} at @param {Uint8Array} piece */
function writeConstants(device, parts, at, piece) {
  for (const { start, end, buffer } of parts) {
    const from = Math.max(start, at);
    const to = Math.min(end, at + piece.length);
    if (from < to) device.queue.writeBuffer(buffer, from - start, wholeWords(piece.subarray(from - at, to - at)));
  }
}

/** WebGPU writes whole words only. @param {TypedArray} values @returns {ArrayBufferView<ArrayBuffer>} */
function wholeWords(values) {
  if (values.byteLength % 4 === 0) return /** @type {ArrayBufferView<ArrayBuffer>} */ (values);
  const bytes = new Uint8Array(padded(values.byteLength, 4));
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return bytes;
}

/** @param {Tensor[]} wanted @param {Record<string, TypedArray>} given @returns {TypedArray[]} */
function checkedInputs(wanted, given) {
  const wrong = (/** @type {string} */ what) => new DrupeError("input", what);
  const names = wanted.map(({ name }) => name);
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) throw wrong(`there is no input "${name}"; the inputs are ${quoted(names)}`);
  }
  return wanted.map((tensor) => {
    const { name, dtype, shape } = tensor;
    const value = given[name];
    if (value === undefined) throw wrong(`the input "${name}" is missing; the inputs are ${quoted(names)}`);
    const fits = value instanceof ARRAYS[dtype] || (dtype === "f16" && value instanceof Uint16Array);
    const kind = /** @type {any} */ (value)?.constructor?.name ?? typeof value;
    if (!fits) throw wrong(`the input "${name}" is of ${dtype}: give it as ${ARRAYS[dtype].name}, not ${kind}`);
    if (value.length !== length(tensor)) {
      throw wrong(`the input "${name}" of shape [${shape}] has ${length(tensor)} elements, not ${value.length}`);
    }
    return value;
  });
}

const quoted = (/** @type {string[]} */ names) => names.map((name) => `"${name}"`).join(", ");

// ---- shaders

/**
 * Compiles all shaders at once.
 *
 * @param {GPUDevice} device @param {Plan} plan @param {(progress: Progress) => void} report
 * @returns {Promise<{pipelines: GPUComputePipeline[], layouts: GPUBindGroupLayout[]}>}
 */
async function compile(device, plan, report) {
  const total = plan.shaders.length;
  let done = 0;
  /** @type {Map<string, GPUBindGroupLayout>} */
  const made = new Map();
  const layouts = plan.shaders.map(({ buffers, dims }) => {
    const key = `${buffers} ${dims > 0}`;
    const layout = made.get(key) ?? bindingLayout(device, buffers, dims > 0);
    made.set(key, layout);
    return layout;
  });
  const pipelines = await Promise.all(plan.shaders.map(async ({ name, wgsl }, index) => {
    // The pipeline's error, or the compiler's messages below, tell what is wrong; the scope keeps the console quiet.
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: name, code: wgsl });
    device.popErrorScope().catch(() => null);
    const layout = device.createPipelineLayout({ bindGroupLayouts: [layouts[index]] });
    try {
      const pipeline = await device.createComputePipelineAsync({
        label: name,
        layout,
        compute: { module, entryPoint: "main" },
      });
      report({ stage: "shaders", done: ++done, total });
      return pipeline;
    } catch (error) {
      const { messages } = await module.getCompilationInfo();
      const lines = messages.filter(({ type }) => type === "error")
        .map(({ lineNum, linePos, message }) => `${lineNum}:${linePos}: ${message}`);
      const why = lines.length > 0 ? lines.join("\n") : /** @type {Error} */ (error).message;
      throw new DrupeError("shader", `the shader ${name} does not compile: ${why}`, error);
    }
  }));
  return { pipelines, layouts };
}

/** @param {GPUDevice} device @param {number} buffers @param {boolean} uniform */
function bindingLayout(device, buffers, uniform) {
  const visibility = GPUShaderStage.COMPUTE;
  /** @type {GPUBindGroupLayoutEntry[]} */
  const entries = Array.from({ length: buffers }, (_, binding) =>
    ({ binding, visibility, buffer: { type: "storage" } }));
  if (uniform) entries.push({ binding: buffers, visibility, buffer: { type: "uniform" } });
  return device.createBindGroupLayout({ entries });
}

/**
 * @param {GPUDevice} device @param {GPUBindGroupLayout} layout @param {Step} step @param {ShaderSource} shader
 * @param {Memory} memory @param {number} entry the number of the step's
 */
function bind(device, layout, step, shader, memory, entry) {
  /** @type {GPUBindGroupEntry[]} */
  const entries = step.args.map((arg, binding) => ({ binding, resource: place(arg, memory, entry) }));
  if (shader.dims > 0) {
    const offset = /** @type {number} */ (memory.dims.places.get(JSON.stringify(step.dims)));
    const size = padded(4 * shader.dims, GRANULE);
    entries.push({ binding: shader.buffers, resource: { buffer: memory.dims.buffer, offset, size } });
  }
  return device.createBindGroup({ label: step.origin, layout, entries });
}

/** @param {Range} range @param {Memory} memory @param {number} entry @returns {GPUBufferBinding} */
function place({ base, index, offset, bytes }, memory, entry) {
  const size = padded(bytes, GRANULE);
  switch (base) {
    case "arena":
      return { buffer: /** @type {GPUBuffer} */ (memory.arena), offset, size };
    case "input":
      return { buffer: memory.entries[entry].inputs[index], offset, size };
    case "output":
      return { buffer: memory.entries[entry].outputs[index], offset, size };
    case "state":
      return { buffer: memory.states[index], offset, size };
    case "constants": {
      const part = /** @type {Part} */ (memory.parts.find(({ start, end }) => start <= offset && offset + size <= end));
      return { buffer: part.buffer, offset: offset - part.start, size };
    }
  }
}
