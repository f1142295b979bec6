// Classify an image with @FILE@ in Node.js: npm install onnxruntime-node
// As a program: node @SNIPPET@ photo.jpg (npm install sharp, too), or with a file of @SIDE@ * @SIDE@ * 3 RGB bytes, *.rgb.
import {existsSync, readFileSync, realpathSync} from 'node:fs';
import {fileURLToPath, pathToFileURL} from 'node:url';
import * as ort from 'onnxruntime-node';

@include common.mjs@

const places = [new URL('@FILE@', import.meta.url), new URL('../@FILE@', import.meta.url)].map(fileURLToPath);
const session = await ort.InferenceSession.create(places.find(existsSync) ?? places[1]);

export async function classify(rgb) {
  const input = new ort.Tensor('@DTYPE@', prepare(rgb), @SHAPE@);
  const results = await session.run({'@INPUT@': input});
  return best(Array.from(results['@OUTPUT@'].data));
}

// The RGB bytes of an image file, cut as the network was trained.
export async function pixelsOf(path) {
  if (path.endsWith('.rgb')) return new Uint8Array(readFileSync(path));
  const {default: sharp} = await import('sharp');
  const plain = sharp(path).rotate().removeAlpha().toColourspace('srgb').raw();
  const {data, info} = await plain.toBuffer({resolveWithObject: true});
  const share = @CROP@;
  const cut = Math.round(Math.min(info.width, info.height) * share);
  const [width, height] = share < 1 ? [cut, cut] : [info.width, info.height];
  const left = Math.round((info.width - width) / 2), top = Math.round((info.height - height) / 2);
  const part = sharp(data, {raw: info}).extract({left, top, width, height});
  return new Uint8Array(await part.resize(SIDE, SIDE, {fit: 'fill', kernel: 'linear'}).raw().toBuffer());
}

// Compare each step with the bundle's test vectors.
async function check() {
  const read = (name) => {
    const data = readFileSync(new URL(`test-vectors/${name}`, pathToFileURL(places.find(existsSync))));
    return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  };
  const off = (a, b) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  const input = new @ARRAY@(read('picture.@VECTOR_INPUT@.bin')), want = new Float32Array(read('picture.torch.bin'));
  console.log('input: off by', off(prepare(new Uint8Array(read('picture.pixels.rgb'))), input));
  const results = await session.run({'@INPUT@': new ort.Tensor('@DTYPE@', input, @SHAPE@)});
  const got = Array.from(results['@OUTPUT@'].data);
  console.log('scores: off from torch by', off(got, want), 'of', Math.max(...want) - Math.min(...want));
  console.log('class:', best(got).index, "torch's:", best(Array.from(want)).index);
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  if (!process.argv[2]) throw new Error('usage: node @SNIPPET@ photo.jpg, or --check');
  if (process.argv[2] === '--check') await check();
  else {
    const {index, label, score} = await classify(await pixelsOf(process.argv[2]));
    console.log(index, label, score);
  }
}
