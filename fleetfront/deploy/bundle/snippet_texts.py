"""The snippets' texts, one a runtime and language. ``@NAME@`` is replaced by ``snippets``; nothing here is run."""

from __future__ import annotations

_JS_COMMON = """\
// The network takes @SIDE@ x @SIDE@ pixels. classify() wants them as RGB bytes, row by row: @SIDE@ * @SIDE@ * 3 values.
const SIDE = @SIDE@;
const ORDER = @ORDER@; // which of R, G, B comes first, second, third
const MEAN = @MEAN@, STD = @STD@;
export const LABELS = @LABELS@;

function prepare(rgb) {
  const pixels = SIDE * SIDE;
  if (rgb.length !== 3 * pixels) throw new Error(`expected ${3 * pixels} bytes, got ${rgb.length}`);
  const input = new @ARRAY@(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let place = 0; place < 3; place++) {
      const channel = ORDER[place];
      const value = rgb[3 * pixel + channel];
      input[@PLACE@] = @VALUE@;
    }
  }
  return input;
}

function best(scores) {
  const index = scores.indexOf(Math.max(...scores));
  return {index, label: LABELS[index] ?? String(index), score: scores[index]};
}
"""

_JS_CANVAS = """\

// The pixels of an <img>, <video> or ImageBitmap, cut as the network was trained.
export function pixelsOf(image) {
  const width = image.videoWidth ?? image.naturalWidth ?? image.width;
  const height = image.videoHeight ?? image.naturalHeight ?? image.height;
  const share = @CROP@;
  const cut = Math.min(width, height) * share;
  const [w, h] = share < 1 ? [cut, cut] : [width, height];
  const context = new OffscreenCanvas(SIDE, SIDE).getContext('2d');
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h, 0, 0, SIDE, SIDE);
  const rgba = context.getImageData(0, 0, SIDE, SIDE).data;
  return Uint8Array.from({length: 3 * SIDE * SIDE}, (_, i) => rgba[4 * Math.floor(i / 3) + (i % 3)]);
}
"""

PYTHON = """\
\"\"\"Classify an image with @FILE@: python @SNIPPET@ photo.jpg

Needs @PACKAGE@ and numpy; pillow to read image files.
\"\"\"

import sys
from pathlib import Path

import numpy as np
@PY_IMPORT@

FOLDER = Path(__file__).resolve().parent.parent
SIDE = @SIDE@
CROP = @CROP@  # share of the image's shorter side that is looked at; 1 squeezes the whole image
MEAN, STD = np.float32(@MEAN@), np.float32(@STD@)
LABELS = @LABELS@


def prepare(pixels):
    \"\"\"The input for pixels uint8[@SIDE@, @SIDE@, 3], RGB.\"\"\"
    if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels of {SIDE} x {SIDE} x 3, got {pixels.dtype} {pixels.shape}")
    image = @PY_VALUE@
    return np.ascontiguousarray(@PY_LAYOUT@)[None]


def pixels_of(path):
    \"\"\"An image file's pixels, cut as the network was trained.\"\"\"
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if CROP < 1:
        edge = min(image.size) * CROP
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + edge, top + edge)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


@PY_RUNTIME@
def classify(pixels):
    \"\"\"(index, label, score) of the likeliest class of pixels uint8[@SIDE@, @SIDE@, 3].\"\"\"
    scores = run(prepare(pixels))[0]
    index = int(np.argmax(scores))
    return index, LABELS[index] if LABELS else str(index), float(scores[index])


if __name__ == "__main__":
    print(*classify(pixels_of(sys.argv[1])))
"""

PYTHON_ONNX = """\
session = onnxruntime.InferenceSession(str(FOLDER / "@FILE@"), providers=["CPUExecutionProvider"])


def run(image):
    \"\"\"The scores of one image.\"\"\"
    return session.run(["@OUTPUT@"], {"@INPUT@": image})[0]

"""

PYTHON_TFLITE = """\
interpreter = Interpreter(model_path=str(FOLDER / "@FILE@"))
interpreter.allocate_tensors()
runner = interpreter.get_signature_runner("serving_default")


def run(image):
    \"\"\"The scores of one image.\"\"\"
    return runner(**{"@INPUT@": image})["@OUTPUT@"]

"""

NODE = (
    """\
// Classify an image with @FILE@ in Node.js: npm install onnxruntime-node
import {fileURLToPath} from 'node:url';
import * as ort from 'onnxruntime-node';

"""
    + _JS_COMMON
    + """
const session = await ort.InferenceSession.create(fileURLToPath(new URL('../@FILE@', import.meta.url)));

export async function classify(rgb) {
  const input = new ort.Tensor('@DTYPE@', prepare(rgb), @SHAPE@);
  const results = await session.run({'@INPUT@': input});
  return best(Array.from(results['@OUTPUT@'].data));
}
"""
)

BROWSER_ONNX = (
    """\
// Classify an image with @FILE@ in a browser: npm install onnxruntime-web, serve this folder, and tell the page where
// the package is:
//   <script type="importmap">{"imports": {"onnxruntime-web/wasm":
//     "https://cdn.jsdelivr.net/npm/onnxruntime-web/dist/ort.wasm.min.mjs"}}</script>
import * as ort from 'onnxruntime-web/wasm';

"""
    + _JS_COMMON
    + _JS_CANVAS
    + """
const session = await ort.InferenceSession.create(new URL('../@FILE@', import.meta.url).href);

export async function classify(rgb) {
  const input = new ort.Tensor('@DTYPE@', prepare(rgb), @SHAPE@);
  const results = await session.run({'@INPUT@': input});
  return best(Array.from(results['@OUTPUT@'].data));
}
"""
)

BROWSER_TFLITE = (
    """\
// Classify an image with @FILE@ in a browser: npm install @litertjs/core, serve this folder and the package's wasm
// folder, and tell the page where the packages are:
//   <script type="importmap">{"imports": {
//     "@litertjs/core": "/node_modules/@litertjs/core/dist/index.js",
//     "@litertjs/wasm-utils": "/node_modules/@litertjs/wasm-utils/dist/index.js"}}</script>
import {Tensor, loadAndCompile, loadLiteRt} from '@litertjs/core';

"""
    + _JS_COMMON
    + _JS_CANVAS
    + """
await loadLiteRt(globalThis.LITERT_WASM ?? '/node_modules/@litertjs/core/wasm/');
const model = await loadAndCompile(new URL('../@FILE@', import.meta.url).href, {accelerator: 'wasm'});

export async function classify(rgb) {
  const input = new Tensor(prepare(rgb), @SHAPE@);
  const results = await model.run({'@INPUT@': input});
  const scores = Array.from(await results['@OUTPUT@'].data());
  input.delete();
  for (const tensor of Object.values(results)) tensor.delete();
  return best(scores);
}
"""
)

_KOTLIN_COMMON = """\
    // Pixels as Bitmap.getPixels gives them (0xAARRGGBB), SIDE * SIDE of them.
    private fun prepare(pixels: IntArray): ByteBuffer {
        require(pixels.size == SIDE * SIDE)
        val input = ByteBuffer.allocateDirect(@BYTES@).order(ByteOrder.nativeOrder())
        @KOTLIN_LOOP@
        input.rewind()
        return input
    }
"""

_KOTLIN_COMPANION = """\
    companion object {
        const val FILE = "@FILE@"
        const val INPUT = "@INPUT@"
        const val OUTPUT = "@OUTPUT@"
        const val SIDE = @SIDE@
        const val CLASSES = @CLASSES@
        private val ORDER = intArrayOf(@KOTLIN_ORDER@)
        private val MEAN = floatArrayOf(@KOTLIN_MEAN@)
        private val STD = floatArrayOf(@KOTLIN_STD@)

        // R is bits 16 to 23, G 8 to 15, B 0 to 7.
        private fun channel(pixel: Int, index: Int) = (pixel shr (16 - 8 * index)) and 0xFF
    }
"""

KOTLIN_TFLITE = (
    """\
// Classify a bitmap's pixels with @FILE@ on Android. Put the file and labels.txt into src/main/assets and add
// implementation("com.google.ai.edge.litert:litert:1.4.1") to build.gradle.kts.
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

class Classifier(context: Context) : AutoCloseable {
    private val interpreter = context.assets.openFd(FILE).use { file ->
        file.createInputStream().channel.use {
            Interpreter(it.map(FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength))
        }
    }

    // Scores, one a class.
    fun classify(pixels: IntArray): FloatArray {
        val scores = Array(1) { FloatArray(CLASSES) }
        interpreter.runSignature(mapOf(INPUT to prepare(pixels)), mapOf(OUTPUT to scores), "serving_default")
        return scores[0]
    }

"""
    + _KOTLIN_COMMON
    + """
    override fun close() = interpreter.close()

"""
    + _KOTLIN_COMPANION
    + "}\n"
)

KOTLIN_ONNX = (
    """\
// Classify a bitmap's pixels with @FILE@ on Android. Put the file and labels.txt into src/main/assets and add
// implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0") to build.gradle.kts.
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.Context
import java.nio.ByteBuffer
import java.nio.ByteOrder

class Classifier(context: Context) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(context.assets.open(FILE).use { it.readBytes() })

    // Scores, one a class.
    fun classify(pixels: IntArray): FloatArray {
        val shape = longArrayOf(@KOTLIN_SHAPE@)
        OnnxTensor.createTensor(environment, prepare(pixels), shape, OnnxJavaType.@JAVA_TYPE@).use { input ->
            session.run(mapOf(INPUT to input), setOf(OUTPUT)).use { results ->
                @Suppress("UNCHECKED_CAST")
                return (results.get(OUTPUT).get().value as Array<FloatArray>)[0]
            }
        }
    }

"""
    + _KOTLIN_COMMON
    + """
    override fun close() = session.close()

"""
    + _KOTLIN_COMPANION
    + "}\n"
)

_SWIFT_COMMON = """\
    static let side = @SIDE@
    static let classes = @CLASSES@
    static let order = @ORDER@
    static let mean: [Float] = @MEAN@
    static let std: [Float] = @STD@

    /// RGB bytes row by row, side * side * 3 of them, as the file wants them.
    private func prepare(_ rgb: [UInt8]) -> Data {
        precondition(rgb.count == Self.side * Self.side * 3)
        let pixels = Self.side * Self.side
        var input = [@SWIFT_TYPE@](repeating: 0, count: 3 * pixels)
        for pixel in 0..<pixels {
            for place in 0..<3 {
                let channel = Self.order[place]
                let value = rgb[3 * pixel + channel]
                input[@PLACE@] = @SWIFT_VALUE@
            }
        }
        return input.withUnsafeBytes { Data($0) }
    }
"""

SWIFT_TFLITE = (
    """\
// Classify an image with @FILE@ on iOS. Add the file and labels.txt to the app's resources, and
// the pod TensorFlowLiteSwift to its Podfile.
import Foundation
import TensorFlowLite

final class Classifier {
    static let file = "@FILE@"
    static let input = "@INPUT@"
    static let output = "@OUTPUT@"
"""
    + _SWIFT_COMMON
    + """
    private let interpreter: Interpreter

    init() throws {
        let path = Bundle.main.path(forResource: Self.file, ofType: nil)!
        interpreter = try Interpreter(modelPath: path)
        try interpreter.allocateTensors()
    }

    /// Scores, one a class.
    func classify(_ rgb: [UInt8]) throws -> [Float] {
        try interpreter.copy(prepare(rgb), toInputAt: 0)
        try interpreter.invoke()
        return try interpreter.output(at: 0).data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }
}
"""
)

SWIFT_ONNX = (
    """\
// Classify an image with @FILE@ on iOS. Add the file and labels.txt to the app's resources, and
// the pod onnxruntime-objc to its Podfile.
import Foundation
import onnxruntime_objc

final class Classifier {
    static let file = "@FILE@"
    static let input = "@INPUT@"
    static let output = "@OUTPUT@"
"""
    + _SWIFT_COMMON
    + """
    private let session: ORTSession

    init() throws {
        let path = Bundle.main.path(forResource: Self.file, ofType: nil)!
        session = try ORTSession(env: ORTEnv(loggingLevel: .warning), modelPath: path, sessionOptions: nil)
    }

    /// Scores, one a class.
    func classify(_ rgb: [UInt8]) throws -> [Float] {
        let data = NSMutableData(data: prepare(rgb))
        let value = try ORTValue(tensorData: data, elementType: .@ORT_TYPE@, shape: @SHAPE@)
        let results = try session.run(withInputs: [Self.input: value], outputNames: [Self.output], runOptions: nil)
        // The scores lie in the memory of the results.
        return try withExtendedLifetime(results) {
            try (results[Self.output]!.tensorData() as Data).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
    }
}
"""
)
