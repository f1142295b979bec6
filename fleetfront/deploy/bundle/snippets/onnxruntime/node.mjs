// Classify an image with @FILE@ in Node.js: npm install onnxruntime-node
import {fileURLToPath} from 'node:url';
import * as ort from 'onnxruntime-node';

@include common.mjs@

const session = await ort.InferenceSession.create(fileURLToPath(new URL('../@FILE@', import.meta.url)));

export async function classify(rgb) {
  const input = new ort.Tensor('@DTYPE@', prepare(rgb), @SHAPE@);
  const results = await session.run({'@INPUT@': input});
  return best(Array.from(results['@OUTPUT@'].data));
}
