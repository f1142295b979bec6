"""Fill the templates of code that runs a bundle's files in Python, Node.js, browsers, Kotlin and Swift with those very
files' names and numbers.

Templates lie in ``snippets/<runtime>``. In them ``@NAME@`` is a value, and a line ``@include FILE@`` a file of
``snippets/shared``. Those for Python end in ``.txt``, since they are Python only when they are filled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files as resources

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.bundle.manifest import BundleFile
from fleetfront.deploy.contract import DYNAMIC, InputContract
from fleetfront.errors import InputError
from fleetfront.runtimes.catalogue import all_facts, facts_for_format

FOLDER = "snippets"


def fill_snippets(
    files: Sequence[BundleFile], preprocessing: Preprocessing, contract: InputContract, labels: Sequence[str]
) -> dict[str, str]:
    """Path in the bundle -> text. Each runtime's snippets run its first file, those of ONNX Runtime an ``.ort`` file if
    there is no ``.onnx``; where two runtimes have a snippet of one name, the first of ``all_facts`` gives it.

    Snippets feed one image at a time, so files of a larger fixed batch have none.
    """
    made: dict[str, str] = {}
    if contract.batch not in (1, DYNAMIC):
        return made
    for runtime in all_facts().values():
        found = [file for ending in runtime.formats for file in files if file.format == ending]
        for name in runtime.snippets if found else ():
            if contract.batch == DYNAMIC and name in runtime.fixed_batch_snippets:
                continue
            values = _values(found[0], preprocessing, contract, labels) | {"SNIPPET": f"{FOLDER}/{name}"}
            made.setdefault(
                f"{FOLDER}/{name}",
                _filled(_template(f"{runtime.name}/{name}{'.txt' if name.endswith('.py') else ''}"), values),
            )
    return made


def _template(path: str) -> str:
    text = (resources("fleetfront.deploy.bundle") / FOLDER / path).read_text(encoding="utf-8")
    return re.sub(r"^@include (\S+)@\n", lambda match: _template(f"shared/{match.group(1)}"), text, flags=re.MULTILINE)


def _filled(text: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise InputError(
                f"A snippet asks for {match.group(1)!r}.", "Give it one in deploy/bundle/fill_snippets.py."
            )
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
    python_value = "pixels" if is_bytes else "((pixels.astype(np.float32) / 255 - MEAN) / STD)"
    if contract.input == "unit":
        scaled, swift_scaled, python_value = "value / 255", "Float(value) / 255", "(pixels.astype(np.float32) / 255)"
    values = {
        "FILE": file.path,
        "PACKAGE": facts_for_format(file.format).packages[0].name,
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
        "VECTOR_INPUT": f"input.{file.input.layout.lower()}.{file.input.dtype}",
        "ARRAY": "Uint8Array" if is_bytes else "Float32Array",
        "PLACE": "3 * pixel + place" if is_last else "place * pixels + pixel",
        "VALUE": "value" if is_bytes else scaled,
        "PY_VALUE": python_value + ("[..., ::-1]" if contract.channels == "bgr" else ""),
        "PY_LAYOUT": "image" if is_last else "image.transpose(2, 0, 1)",
        "SWIFT_TYPE": "UInt8" if is_bytes else "Float",
        "SWIFT_VALUE": "value" if is_bytes else swift_scaled,
        "ORT_TYPE": "uInt8" if is_bytes else "float",
        "JAVA_TYPE": "UINT8" if is_bytes else "FLOAT",
    }
    return values | _kotlin(contract, is_last, order, shape, preprocessing)


def _kotlin(
    contract: InputContract, is_last: bool, order: Sequence[int], shape: Sequence[int], preprocessing: Preprocessing
) -> dict[str, str]:
    is_bytes = contract.input == "uint8"
    put = {
        "uint8": "input.put(channel(pixel, c).toByte())",
        "unit": "input.putFloat(channel(pixel, c) / 255f)",
        "float": "input.putFloat((channel(pixel, c) / 255f - MEAN[c]) / STD[c])",
    }[contract.input]
    loops = ("for (pixel in pixels) for (c in ORDER)", "for (c in ORDER) for (pixel in pixels)")
    return {
        "BYTES": f"3 * SIDE * SIDE{'' if is_bytes else ' * 4'}",
        "KOTLIN_LOOP": f"{loops[0] if is_last else loops[1]} {put}",
        "KOTLIN_ORDER": ", ".join(map(str, order)),
        "KOTLIN_MEAN": ", ".join(f"{float(value)}f" for value in preprocessing.mean),
        "KOTLIN_STD": ", ".join(f"{float(value)}f" for value in preprocessing.std),
        "KOTLIN_SHAPE": ", ".join(map(str, shape)),
    }
