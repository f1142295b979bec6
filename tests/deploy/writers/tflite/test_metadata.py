"""Read what a TFLite file says of itself; MediaPipe reads it in tests/apps."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import FORMATS
from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.tflite import metadata
from fleetfront.deploy.writers.tflite.metadata import (
    METADATA,
    FileDescription,
    describe_file,
)
from fleetfront.deploy.writers.tflite.writer import minimum_runtime, write_tflite
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from tests.deploy.writers.tflite.reading import read_labels, read_metadata


def network() -> Graph:
    rng, b = np.random.default_rng(0), GraphBuilder("small")
    x = b.conv2d(
        b.input("input", (1, 3, 8, 8), layout="NCHW"), b.weight("w", rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    )
    x = b.add("flatten", [b.add("global_average_pool", [b.add("hard_swish", [x])])])
    return b.build([b.add("linear", [x, b.weight("v", rng.normal(size=(2, 4)).astype(np.float32))], "logits")])


def test_a_described_file_computes_the_same_and_holds_its_labels() -> None:
    description = FileDescription("net", "knows cats", "MIT", ("Katze", "Hündin"), (127.5,), (127.5,))
    plain = write_tflite(network())
    data = describe_file(plain, description)
    assert data == describe_file(plain, description)
    assert prove(network(), data, "litert").passed
    assert read_labels(data) == ("Katze", "Hündin")
    assert read_labels(plain) == ()
    written = read_metadata(data)
    assert written[METADATA][4:8] == b"M001"
    for text in ("net", "knows cats", "MIT", "labels.txt"):
        assert text.encode() in written[METADATA]


def test_int8_operators_say_which_version_they_are() -> None:
    from fleetfront.deploy.writers.tflite.flatbuffer import kind_name, unpack_model

    kind = FORMATS["tflite"]
    rng = np.random.default_rng(0)
    fed = [rng.normal(size=(1, 8, 8, 3)).astype(np.float32) for _ in range(8)]
    quantised = kind.quantise(kind.write(kind.int8(network())), [{"input": image} for image in fed])
    data = describe_file(quantised, FileDescription("net", ""))
    versions = {kind_name(code): code.version for code in unpack_model(data).operatorCodes}
    assert (versions["CONV_2D"], versions["ADD"], versions["FULLY_CONNECTED"]) == (3, 2, 4)
    assert minimum_runtime(data) == "tflite 1.14.0"


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(InputError, match="not a TFLite file"):
        describe_file(b"12345678", FileDescription("net", ""))


def test_int8_versions_are_those_of_tensorflows_own_files(shared_data: Path) -> None:
    """Files that TensorFlow's converter wrote; it knows no others for these kinds."""
    from fleetfront.deploy.writers.tflite.flatbuffer import is_int8, kind_name, unpack_model

    seen: dict[str, set[int]] = {}
    for path in sorted((shared_data / "model_files").glob("*.tflite")):
        model = unpack_model(path.read_bytes())
        tensors = model.subgraphs[0].tensors
        for operator in model.subgraphs[0].operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if any(index >= 0 and is_int8(tensors[index]) for index in operator.inputs):
                seen.setdefault(kind_name(code), set()).add(code.version)
    assert {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "SOFTMAX"} <= set(seen)
    for kind, versions in seen.items():
        assert metadata._INT8_VERSIONS.get(kind, 1) in versions, kind
    # Not in those files; lite/tools/versioning/op_version.cc.
    assert [metadata._INT8_VERSIONS[kind] for kind in ("MAX_POOL_2D", "MUL", "PAD", "LOGISTIC")] == [2, 2, 2, 2]


def test_scores_are_told_as_features_of_a_known_kind() -> None:
    """Slots and numbers of mediapipe/tasks/metadata/metadata_schema.fbs, read without our own writer."""
    import flatbuffers.table
    from flatbuffers.number_types import UOffsetTFlags

    data = read_metadata(describe_file(write_tflite(network()), FileDescription("net", "", labels=("a", "b"))))[
        METADATA
    ]

    def field(table: flatbuffers.table.Table, slot: int) -> int:
        place = table.Offset(4 + 2 * slot)
        assert place, slot
        return int(table.Pos + place)

    def child(table: flatbuffers.table.Table, slot: int) -> flatbuffers.table.Table:
        return flatbuffers.table.Table(table.Bytes, table.Indirect(field(table, slot)))

    def first(table: flatbuffers.table.Table, slot: int) -> flatbuffers.table.Table:
        start = table.Vector(field(table, slot) - table.Pos)
        return flatbuffers.table.Table(table.Bytes, table.Indirect(start))

    root = flatbuffers.table.Table(data, flatbuffers.encode.Get(UOffsetTFlags.packer_type, data, 0))
    subgraph = first(root, 3)
    for slot, kind in ((2, 2), (3, 1)):  # inputs are images, outputs features
        content = child(first(subgraph, slot), 3)
        assert data[field(content, 0)] == kind
        child(content, 1)
