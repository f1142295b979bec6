// Classify an image with @FILE@ in a browser: npm install onnxruntime-web, serve this folder, and tell the page where
// the package is:
//   <script type="importmap">{"imports": {"onnxruntime-web/wasm":
//     "https://cdn.jsdelivr.net/npm/onnxruntime-web/dist/ort.wasm.min.mjs"}}</script>
import * as ort from 'onnxruntime-web/wasm';

@include common.mjs@
@include canvas.mjs@

// In the bundle the file lies one folder up; pasted into an app, beside this one.
const opened = ort.InferenceSession.create(new URL('../@FILE@', import.meta.url).href).catch(() =>
  ort.InferenceSession.create(new URL('@FILE@', import.meta.url).href));

export async function classify(rgb) {
  const session = await opened;
  const input = new ort.Tensor('@DTYPE@', prepare(rgb), @SHAPE@);
  const results = await session.run({'@INPUT@': input});
  return best(Array.from(results['@OUTPUT@'].data));
}
