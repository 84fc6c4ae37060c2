#!/usr/bin/env node
/**
 * Whether Chrome's WebGPU (Dawn) accepts models in the web format, or single shaders in WGSL:
 *
 *     node testsuite/web/check.mjs FOLDER|FILE.wgsl...
 *
 * It checks on Dawn's null device, which checks everything - shaders, bindings, overlaps, limits - and executes
 * nothing. It has shader-f16 and subgroups, which headless Chromium has not. A model is loaded by drupe.js and its
 * entries are run once; a shader is made a pipeline, with entry point `main`. What is wrong is printed, a line each.
 */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const dawn = path.join(root, ".deps/web/node_modules/webgpu/index.js");
const { create, globals } = await import(pathToFileURL(dawn).href).catch(() => {
  console.error("there is no Dawn: `./x setup web` installs it");
  process.exit(2);
});
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, "navigator", { value: { gpu: create(["backend=null"]) } });
const { Drupe, arrayOf } = await import(pathToFileURL(path.join(root, "backends/driver/web/drupe.js")).href);

const server = createServer((request, response) => {
  readFile(decodeURIComponent(request.url)).then(
    (content) => response.end(content),
    () => response.writeHead(404).end(),
  );
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const files = `http://127.0.0.1:${server.address().port}`;

async function checkModel(folder) {
  const model = await Drupe.load(`${files}${path.resolve(folder)}/`);
  const zeros = ({ dtype, shape }) => new (arrayOf(dtype))(shape.reduce((a, b) => a * b, 1));
  for (const { name: entry, inputs } of model.entries) {
    await model.run(Object.fromEntries(inputs.map((input) => [input.name, zeros(input)])), { entry });
  }
  const { name, steps, bytes } = model;
  model.destroy();
  return `${name}: ${steps} dispatches, ${bytes} bytes`;
}

let device;

async function checkShader(file) {
  const adapter = await navigator.gpu.requestAdapter();
  const { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX, maxStorageBuffersPerShaderStage,
    maxComputeWorkgroupStorageSize } = adapter.limits;
  device ??= await adapter.requestDevice({
    requiredFeatures: [...adapter.features],
    requiredLimits: { maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX, maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupStorageSize },
  });
  const code = await readFile(file, "utf8");
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const error = await device.popErrorScope();
  if (error) throw error;
  await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  return "a shader";
}

let failed = 0;
for (const what of process.argv.slice(2)) {
  try {
    const found = await (what.endsWith(".wgsl") ? checkShader(what) : checkModel(what));
    console.log(`${what}: ${found}`);
  } catch (error) {
    failed += 1;
    console.log(`${what}: ${error.code || error.constructor.name}: ${error.message}`);
  }
}
// Dawn keeps the process alive.
process.exit(failed > 0 ? 1 : 0);
