"""Read what a TFLite file says of itself; MediaPipe reads it in tests/apps."""

import numpy as np
import pytest

from fleetfront.deploy.formats import FORMATS
from fleetfront.deploy.proof import prove
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
    quantised = kind.quantise(kind.write(kind.int8(network())), "input", fed)
    data = describe_file(quantised, FileDescription("net", ""))
    versions = {kind_name(code): code.version for code in unpack_model(data).operatorCodes}
    assert (versions["CONV_2D"], versions["ADD"], versions["FULLY_CONNECTED"]) == (3, 2, 4)
    assert minimum_runtime(data) == "tflite 1.14.0"


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(InputError, match="not a TFLite file"):
        describe_file(b"12345678", FileDescription("net", ""))
