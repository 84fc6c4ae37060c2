#!/usr/bin/env node
/**
 * Whether Chrome's WebGPU (Dawn) accepts models in the web format, with features that software GPUs lack:
 *
 *     node testsuite/web/check_plan.mjs FOLDER...
 *
 * drupe.js loads each model and runs it once, on Dawn's null device, which checks everything - shaders, bindings,
 * overlaps, limits - and executes nothing. It has shader-f16 and subgroups, which headless Chromium has not.
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

let failed = 0;
for (const folder of process.argv.slice(2)) {
  try {
    const url = `http://127.0.0.1:${server.address().port}${path.resolve(folder)}/`;
    const model = await Drupe.load(url);
    const zeros = ({ dtype, shape }) => new (arrayOf(dtype))(shape.reduce((a, b) => a * b, 1));
    await model.run(Object.fromEntries(model.inputs.map((input) => [input.name, zeros(input)])));
    console.log(`${folder}: ${model.name}: ${model.steps} dispatches, ${model.bytes} bytes`);
    model.destroy();
  } catch (error) {
    failed += 1;
    console.log(`${folder}: ${error.code ?? error.name}: ${error.message}`);
  }
}
// Dawn keeps the process alive.
process.exit(failed > 0 ? 1 : 0);
