"""Code that runs a bundle's files in Python, Node.js, browsers, Kotlin and Swift, with those very files' names and
numbers filled in. The texts are in ``snippet_texts``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle import snippet_texts as texts
from fleetfront.deploy.bundle.manifest import BundleFile
from fleetfront.deploy.contract import DYNAMIC, InputContract
from fleetfront.errors import InputError

FOLDER = "snippets"

#: Format -> (name of the snippet, its text), in the order in which formats are preferred for Kotlin and Swift.
_TEXTS: dict[str, tuple[tuple[str, str], ...]] = {
    "tflite": (
        ("classify_tflite.py", texts.PYTHON.replace("@PY_RUNTIME@", texts.PYTHON_TFLITE)),
        ("browser-litert.mjs", texts.BROWSER_TFLITE),
        ("Classifier.kt", texts.KOTLIN_TFLITE),
        ("Classifier.swift", texts.SWIFT_TFLITE),
    ),
    "onnx": (
        ("classify_onnx.py", texts.PYTHON.replace("@PY_RUNTIME@", texts.PYTHON_ONNX)),
        ("node.mjs", texts.NODE),
        ("browser-onnx.mjs", texts.BROWSER_ONNX),
        ("Classifier.kt", texts.KOTLIN_ONNX),
        ("Classifier.swift", texts.SWIFT_ONNX),
    ),
}
# Full builds of ONNX Runtime open an .ort file as they open its .onnx twin.
_TEXTS["ort"] = _TEXTS["onnx"]

#: Snippets for runtimes that refuse a dynamic batch.
_FIXED_BATCH = ("browser-litert.mjs",)

_PYTHON_IMPORTS = {
    "tflite": "from ai_edge_litert.interpreter import Interpreter",
    "onnx": "import onnxruntime",
    "ort": "import onnxruntime",
}
_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "ort": "onnxruntime"}


def snippets(
    files: Sequence[BundleFile], preprocessing: Preprocessing, contract: InputContract, labels: Sequence[str]
) -> dict[str, str]:
    """Path in the bundle -> text. Each format's snippets run its first file, those of ONNX Runtime an ``.ort`` file if
    there is no ``.onnx``.

    Snippets feed one image at a time, so files of a larger fixed batch have none, and LiteRT.js takes no dynamic batch.
    """
    made: dict[str, str] = {}
    if contract.batch not in (1, DYNAMIC):
        return made
    for format_name, entries in _TEXTS.items():
        file = next((file for file in files if file.format == format_name), None)
        if file is None:
            continue
        for name, text in entries:
            if contract.batch == DYNAMIC and name in _FIXED_BATCH:
                continue
            values = _values(file, preprocessing, contract, labels) | {"SNIPPET": f"{FOLDER}/{name}"}
            made.setdefault(f"{FOLDER}/{name}", _filled(text, values))
    return made


def _filled(text: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise InputError(f"A snippet asks for {match.group(1)!r}.", "Give it a value in deploy/snippets.py.")
        return values[match.group(1)]

    return re.sub(r"@([A-Z_]+)@", value, text)


def _values(
    file: BundleFile, preprocessing: Preprocessing, contract: InputContract, labels: Sequence[str]
) -> dict[str, str]:
    is_bytes, is_last = contract.input == "uint8", file.input.layout == "NHWC"
    order = [2, 1, 0] if contract.channels == "bgr" else [0, 1, 2]
    shape = [1 if isinstance(d, str) else d for d in file.input.shape]
    mean, std = list(preprocessing.mean), list(preprocessing.std)
    scaled = "(value / 255 - MEAN[channel]) / STD[channel]"
    swift_scaled = "(Float(value) / 255 - Self.mean[channel]) / Self.std[channel]"
    values = {
        "FILE": file.path,
        "PACKAGE": _PACKAGES[file.format],
        "INPUT": file.input.name,
        "OUTPUT": file.output.name,
        "SIDE": str(preprocessing.size),
        "CLASSES": str(file.output.shape[-1]),
        "CROP": str(float(preprocessing.crop_share)),
        "LABELS": json.dumps(list(labels), ensure_ascii=False),
        "MEAN": str(mean),
        "STD": str(std),
        "ORDER": str(order),
        "SHAPE": str(shape),
        "DTYPE": file.input.dtype,
        "ARRAY": "Uint8Array" if is_bytes else "Float32Array",
        "PLACE": "3 * pixel + place" if is_last else "place * pixels + pixel",
        "VALUE": "value" if is_bytes else scaled,
        "PY_IMPORT": _PYTHON_IMPORTS[file.format],
        "PY_VALUE": ("pixels" if is_bytes else "((pixels.astype(np.float32) / 255 - MEAN) / STD)")
        + ("[..., ::-1]" if contract.channels == "bgr" else ""),
        "PY_LAYOUT": "image" if is_last else "image.transpose(2, 0, 1)",
        "SWIFT_TYPE": "UInt8" if is_bytes else "Float",
        "SWIFT_VALUE": "value" if is_bytes else swift_scaled,
        "ORT_TYPE": "uInt8" if is_bytes else "float",
        "JAVA_TYPE": "UINT8" if is_bytes else "FLOAT",
    }
    return values | _kotlin(is_bytes, is_last, order, shape, preprocessing)


def _kotlin(
    is_bytes: bool, is_last: bool, order: Sequence[int], shape: Sequence[int], preprocessing: Preprocessing
) -> dict[str, str]:
    put = (
        "input.put(channel(pixel, c).toByte())"
        if is_bytes
        else "input.putFloat((channel(pixel, c) / 255f - MEAN[c]) / STD[c])"
    )
    loops = ("for (pixel in pixels) for (c in ORDER)", "for (c in ORDER) for (pixel in pixels)")
    return {
        "BYTES": f"3 * SIDE * SIDE{'' if is_bytes else ' * 4'}",
        "KOTLIN_LOOP": f"{loops[0] if is_last else loops[1]} {put}",
        "KOTLIN_ORDER": ", ".join(map(str, order)),
        "KOTLIN_MEAN": ", ".join(f"{float(value)}f" for value in preprocessing.mean),
        "KOTLIN_STD": ", ".join(f"{float(value)}f" for value in preprocessing.std),
        "KOTLIN_SHAPE": ", ".join(map(str, shape)),
    }
