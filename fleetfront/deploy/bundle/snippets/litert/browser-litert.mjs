// Classify an image with @FILE@ in a browser: npm install @litertjs/core, serve this folder and the package's wasm
// folder, and tell the page where the packages are:
//   <script type="importmap">{"imports": {
//     "@litertjs/core": "/node_modules/@litertjs/core/dist/index.js",
//     "@litertjs/wasm-utils": "/node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>
// A bundler's output has no node_modules: copy the wasm folder into its public files, and name it before this is loaded:
//   globalThis.LITERT_WASM = '/wasm/';
import {Tensor, loadAndCompile, loadLiteRt} from '@litertjs/core';

@include common.mjs@
@include canvas.mjs@

async function open() {
  await loadLiteRt(globalThis.LITERT_WASM ?? '/node_modules/@litertjs/core/wasm/');
  // In the bundle the file lies one folder up; pasted into an app, beside this one.
  return loadAndCompile(new URL('../@FILE@', import.meta.url).href, {accelerator: 'wasm'}).catch(() =>
    loadAndCompile(new URL('@FILE@', import.meta.url).href, {accelerator: 'wasm'}));
}
const opened = open();

export async function classify(rgb) {
  const model = await opened;
  const input = new Tensor(prepare(rgb), @SHAPE@);
  const results = await model.run({'@INPUT@': input});
  const scores = Array.from(await results['@OUTPUT@'].data());
  input.delete();
  for (const tensor of Object.values(results)) tensor.delete();
  return best(scores);
}
