"""Build the flatbuffer of a TFLite file: tensors, constants, operators, signature and metadata.

Importing this module imports the schema of ai-edge-litert, so other modules import it inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fleetfront.deploy.writers.tflite.versions import oldest_runtime
from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Array
from fleetfront.graphs.operators.base import Shape
from fleetfront.runtimes.litert.buffers import buffer_content

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError as error:
    raise missing("ai-edge-litert", "cpu", "Writing TFLite files") from error

#: Kernels, also of delegates, read constants in place with vector loads; the schema asks for this alignment.
_ALIGNMENT = 16
#: Bytes of the metadata that converters keep the oldest fitting runtime in.
_VERSION_BYTES = 16
_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
#: The placeholder for codes that outgrew the old one-byte field.
_LAST_OLD_CODE = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES

_KIND_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}

#: Where the labels of a graph are kept, as JSON.
LABELS = "fleetfront.labels"
MINIMUM_RUNTIME = "min_runtime_version"


class TfliteFile:
    """One subgraph and its signature while they grow. Tensors are known by their index."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tensors: list[Any] = []
        self._names: set[str] = set()
        #: Buffer 0 is empty by convention and belongs to every tensor without data.
        self._buffers: list[AlignedBuffer] = [AlignedBuffer(b"")]
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(self, name: str, shape: Shape, dtype: str) -> int:
        """A tensor that an operator or the caller fills; symbolic dimensions are 1 until the caller resizes them."""
        return self._add_tensor(name, shape, dtype, 0)

    def constant(self, name: str, array: Array) -> int:
        """A tensor with data; equal arrays become one."""
        data = np.ascontiguousarray(array)
        content = data.tobytes()
        key = (data.dtype.name, data.shape, content)
        if key not in self._constants:
            self._buffers.append(AlignedBuffer(content))
            self._constants[key] = self._add_tensor(name, data.shape, data.dtype.name, len(self._buffers) - 1)
        return self._constants[key]

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], *, table: str, version: int, **options: Any
    ) -> int:
        """Append an operator; ``options`` are the fields of its ``table`` of options, enumerations by name.

        Gives its first output.
        """
        made = schema.OperatorT(
            opcodeIndex=self._codes.setdefault((kind, version), len(self._codes)),
            inputs=list(inputs),
            outputs=list(outputs),
        )
        if table:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            made.builtinOptions = getattr(schema, f"{table}T")(**{k: _value(k, v) for k, v in options.items()})
        self._operators.append(made)
        return outputs[0]

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int], labels: Mapping[str, str]) -> bytes:
        """The file's bytes, with the signature ``serving_default`` over the named tensors."""
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
            signatureKey="serving_default",
        )
        model = schema.ModelT(
            version=_SCHEMA_VERSION,
            operatorCodes=[self._code(kind, version) for kind, version in self._codes],
            subgraphs=[subgraph],
            description=self._name,
            metadata=self._metadata(labels),
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        return pack_model(model)

    def _add_tensor(self, name: str, shape: Shape, dtype: str, buffer: int) -> int:
        # Quantisers know tensors by their names alone.
        unique = name if name not in self._names else f"{name};{len(self._tensors)}"
        self._names.add(unique)
        made = schema.TensorT(
            shape=[1 if isinstance(d, str) else int(d) for d in shape],
            type=_tensor_type(dtype),
            buffer=buffer,
            name=unique,
            hasRank=True,
        )
        if any(isinstance(d, str) for d in shape):
            made.shapeSignature = [-1 if isinstance(d, str) else int(d) for d in shape]
        self._tensors.append(made)
        return len(self._tensors) - 1

    def _code(self, kind: str, version: int) -> Any:
        code = getattr(schema.BuiltinOperator, kind)
        return schema.OperatorCodeT(deprecatedBuiltinCode=min(code, _LAST_OLD_CODE), builtinCode=code, version=version)

    def _metadata(self, labels: Mapping[str, str]) -> list[Any]:
        entries = {MINIMUM_RUNTIME: oldest_runtime(self._codes).encode().ljust(_VERSION_BYTES, b"\0")}
        if labels:
            entries[LABELS] = json.dumps(dict(labels), sort_keys=True).encode()
        made = []
        for name, content in entries.items():
            self._buffers.append(AlignedBuffer(content))
            made.append(schema.MetadataT(name=name, buffer=len(self._buffers) - 1))
        return made


class AlignedBuffer:
    """Content of a tensor or metadata. Packs like the schema's BufferT, but aligned, which generated code forgets."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def Pack(self, builder: Any) -> Any:
        if not self.content:
            schema.BufferStart(builder)
            return schema.BufferEnd(builder)
        size = len(self.content)
        builder.StartVector(1, size, _ALIGNMENT)
        builder.head -= size
        builder.Bytes[builder.head : builder.head + size] = self.content
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


def pack_model(model: Any) -> bytes:
    """The bytes of a model whose buffers are ``AlignedBuffer``s."""
    size = sum(len(buffer.content) + _ALIGNMENT for buffer in model.buffers)
    parts = sum(len(subgraph.tensors) + len(subgraph.operators) for subgraph in model.subgraphs)
    # A guess that is large enough saves copying the whole file each time that the builder doubles it.
    builder = flatbuffers.Builder(size + 512 * (parts + 8))
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def unpack_model(data: bytes) -> Any:
    """A file as the schema's objects, its buffers as ``AlignedBuffer``s. Raises InputError if it is no TFLite file."""
    if data[4:8] != _FILE_IDENTIFIER:
        raise InputError("These bytes are not a TFLite file.", "Give the content of a .tflite file.")
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.buffers = [AlignedBuffer(buffer_content(buffer, data)) for buffer in model.buffers]
    return model


def kind_name(code: Any) -> str:
    """The schema's name of an operator code, e.g. ``CONV_2D``."""
    number = int(max(code.builtinCode, code.deprecatedBuiltinCode))
    return _KIND_NAMES.get(number, f"OPERATOR_{number}")


def operator_versions(model: Any) -> list[tuple[str, int]]:
    """(operator, version) of every operator code of a file."""
    return [(kind_name(code), int(code.version)) for code in model.operatorCodes]


def as_text(name: Any) -> str:
    """A name of a file, which its readers give as bytes."""
    return name.decode() if isinstance(name, bytes) else str(name)


def custom_operators(model: Any) -> list[str]:
    """Names of the operators that a file takes from elsewhere than the runtime, sorted."""
    codes = [code.customCode for code in model.operatorCodes if code.customCode is not None]
    return sorted({as_text(code) for code in codes})


def is_int8(tensor: Any) -> bool:
    """Tell whether a tensor holds int8."""
    return bool(tensor.type == schema.TensorType.INT8)


def block_scales(model: Any, tensor: Any) -> Array | None:
    """The scales of an int4 tensor that has one for each block of a row; None of other tensors."""
    told = tensor.quantization
    is_in_blocks = told is not None and told.detailsType == schema.QuantizationDetails.BlockwiseQuantization
    if tensor.type != schema.TensorType.INT4 or not is_in_blocks:
        return None
    scales = model.subgraphs[0].tensors[told.details.scales]
    dtype = np.float16 if scales.type == schema.TensorType.FLOAT16 else np.float32
    return np.frombuffer(model.buffers[scales.buffer].content, dtype)


def is_float(tensor: Any) -> bool:
    """Tell whether a tensor holds float32."""
    return bool(tensor.type == schema.TensorType.FLOAT32)


def is_half(tensor: Any) -> bool:
    """Tell whether a tensor holds float16."""
    return bool(tensor.type == schema.TensorType.FLOAT16)


def metadata_entry(name: str, buffer: int) -> Any:
    """An entry of the table of metadata."""
    return schema.MetadataT(name=name, buffer=buffer)


def _value(field: str, value: Any) -> Any:
    if field == "padding":
        return getattr(schema.Padding, value)
    if field == "fusedActivationFunction":
        return getattr(schema.ActivationFunctionType, value)
    if field in ("inDataType", "outDataType"):
        return _tensor_type(value)
    return value


def _tensor_type(dtype: str) -> int:
    code: int | None = getattr(schema.TensorType, dtype.upper(), None)
    if code is None:
        raise InputError(f"TFLite has no tensors of type {dtype}.", "Use float32, float16, or an integer type.")
    return code
