"""Write what a finished TFLite file says of itself: metadata as MediaPipe Tasks reads it, labels packed in, and the
oldest runtime that its operators need. Field numbers are those of MediaPipe's ``tasks/metadata/metadata_schema.fbs``,
1.5.0.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetfront.deploy.writers.tflite.versions import oldest_runtime
from fleetfront.errors import InputError, missing

#: Name of the metadata that MediaPipe looks for, its identifier, and the version whose fields are used.
METADATA = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"

LABELS_FILE = "labels.txt"

# Enumerations of the schema.
_TENSOR_AXIS_LABELS, _UNKNOWN, _RGB, _FEATURE, _IMAGE, _NORMALIZATION = 2, 0, 1, 1, 2, 1

#: The version of an operator that takes int8, where that is not its first, as in TensorFlow's
#: lite/tools/versioning/op_version.cc.
_INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
    "TRANSPOSE": 2,
}

#: The same of narrow weights beside float inputs that are rounded as they come, a scale a channel, and of fully
#: connected int4 weights with a scale a block: the last that LiteRT 2.3 opens.
_HYBRID_VERSIONS = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 12, "TRANSPOSE_CONV": 2}
_BLOCKS_VERSION = 14
#: Of what widens narrow weights with a scale a channel when a file is opened.
_CHANNELS_VERSION = 5

#: Not a valid time in a zip archive would be zero; equal content must give equal bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class FileDescription:
    """A description of a file for an app's developer, who may have the file alone.

    Attributes:
        name, description, licence: free text.
        labels: one a class; empty if unknown.
        mean, std: of ``(byte - mean) / std``, for inputs that are floats; empty where bytes go straight in.
        is_rgb: whether the image's channels come as MediaPipe feeds them.
    """

    name: str
    description: str
    licence: str = ""
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    is_rgb: bool = True


def describe_file(data: bytes, description: FileDescription) -> bytes:
    """The same network with its metadata, labels and the oldest runtime that has its operators, 16-byte aligned.

    Equal arguments give equal bytes.

    Raises:
        InputError: ``data`` is no TFLite file, or has other than one input and output.
        MissingDependency: ai-edge-litert is not installed.
    """
    from fleetfront.deploy.writers.tflite.flatbuffer import (
        MINIMUM_RUNTIME,
        AlignedBuffer,
        operator_versions,
        pack_model,
        unpack_model,
    )

    model = unpack_model(data)
    subgraph = model.subgraphs[0]
    if len(subgraph.inputs) != 1 or len(subgraph.outputs) != 1:
        raise InputError("The TFLite file has several inputs or outputs.", "Describe image classifiers only.")
    _set_versions(model)
    entries = {
        MINIMUM_RUNTIME: oldest_runtime(operator_versions(model)).encode().ljust(16, b"\0"),
        METADATA: _metadata(description),
    }
    for name, content in entries.items():
        _set_entry(model, name, AlignedBuffer(content))
    finished: bytes = pack_model(model)
    return _with_labels(finished, description.labels)


def _set_versions(model: Any) -> None:
    """A quantiser leaves the float operators' versions, which old runtimes would believe and then fail."""
    from fleetfront.deploy.writers.tflite.flatbuffer import block_scales, is_float, is_int8, kind_name

    tensors = model.subgraphs[0].tensors
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        fed = [tensors[index] for index in operator.inputs if index >= 0]
        if any(is_int8(tensor) for tensor in fed):
            versions = _HYBRID_VERSIONS if any(is_float(tensors[index]) for index in operator.outputs) else {}
            name = kind_name(code)
            version = versions.get(name, _INT8_VERSIONS.get(name, 1))
            if name == "DEQUANTIZE" and len(fed[0].quantization.scale) > 1:
                version = _CHANNELS_VERSION
            code.version = max(code.version, version)
        elif any(block_scales(model, tensor) is not None for tensor in fed):
            code.version = max(code.version, _BLOCKS_VERSION)


def _set_entry(model: Any, name: str, buffer: Any) -> None:
    from fleetfront.deploy.writers.tflite.flatbuffer import metadata_entry

    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name in (name, name.encode()):
            model.buffers[entry.buffer] = buffer
            return
    model.buffers.append(buffer)
    model.metadata.append(metadata_entry(name, len(model.buffers) - 1))


def _with_labels(data: bytes, labels: Sequence[str]) -> bytes:
    """Labels as an archive behind the flatbuffer, uncompressed so that runtimes can map them."""
    if not labels:
        return data
    buffer = io.BytesIO()
    buffer.write(data)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, _ZIP_TIME), "".join(f"{label}\n" for label in labels))
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Table:
    """Slot -> value: text, tables, lists of tables or floats; ``codes`` are one-byte fields."""

    values: Mapping[int, Any]
    codes: Mapping[int, int]


def _table(values: Mapping[int, Any], codes: Mapping[int, int] | None = None) -> _Table:
    return _Table({slot: value for slot, value in values.items() if value not in ("", [], ())}, codes or {})


def _metadata(description: FileDescription) -> bytes:
    try:
        import flatbuffers
    except ImportError as error:
        raise missing("ai-edge-litert", "cpu", "Writing TFLite files") from error
    units = []
    if description.mean:
        options = _table({0: list(description.mean), 1: list(description.std)})
        units = [_table({1: options}, {0: _NORMALIZATION})]
    # MediaPipe refuses colours that it does not know, and would feed RGB to a file that says nothing.
    content = _table({1: _table({}, {0: _RGB if description.is_rgb else _UNKNOWN})}, {0: _IMAGE})
    image = _table({0: "image", 1: "The image to classify.", 3: content, 4: units})
    files = []
    if description.labels:
        files = [_table({0: LABELS_FILE, 1: "One class a line."}, {2: _TENSOR_AXIS_LABELS})]
    scores = _table({0: "scores", 1: "One a class.", 3: _table({1: _table({})}, {0: _FEATURE}), 6: files})
    subgraph = _table({2: [image], 3: [scores]})
    root = _table(
        {
            0: description.name,
            1: description.description,
            3: [subgraph],
            5: description.licence,
            7: _PARSER_VERSION,
        }
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, root), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, table: _Table) -> int:
    """Children come first in a flatbuffer, so they are written on the way back up."""
    offsets = {slot: _write_value(builder, value) for slot, value in table.values.items()}
    builder.StartObject(1 + max([*offsets, *table.codes], default=-1))
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, code in table.codes.items():
        builder.PrependInt8Slot(slot, code, 0)
    return int(builder.EndObject())


def _write_value(builder: Any, value: Any) -> int:
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, _Table):
        return _write(builder, value)
    if isinstance(value[0], _Table):
        offsets = [_write(builder, item) for item in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    return int(builder.CreateNumpyVector(np.asarray(value, dtype=np.float32)))
