"""Writers refuse operators that they would write as something else."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch.nn import functional

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError
from tests.deploy.test_writers_more_families import SOUND, TOKENS, function, given, multiplied, turned, x
from tests.deploy.written import Builder

Refused = Callable[[Builder], Sequence[str]]
STATES = {"shapes": ((5, 1, 2, 3),), "dtypes": ("float32",), "layouts": ("",), "matrices": 2}


def cell(b: Builder, *others: tuple[int, ...]) -> Sequence[str]:
    return b.add_all("lstm", [b.input("x", (5, 2, 4)), *map(b.array, others)], **STATES)


#: The writers that refuse, and the graph.
REFUSED: dict[str, tuple[str, Refused]] = {
    "erf": ("tflite", function("erf", torch.erf).build),
    "leakyrelu": ("tflite", function("leakyrelu", functional.leaky_relu).build),
    "cosh": ("onnx tflite", function("cosh", torch.cosh).build),
    "product along": ("onnx", lambda b: [b.add("reduce", [x(b, TOKENS)], function="prod", axes=(1,), keep=False)]),
    "average window": (
        "onnx",
        lambda b: [b.add("pool", [x(b, SOUND)], function="average", kernel=(2,), stride=(2,), padding=(0, 0))],
    ),
    "pad": ("onnx", lambda b: [b.add("rearrange", [x(b, TOKENS)], function="pad", **given(2, 6, 8))]),
    "resize of other words": (
        "onnx",
        lambda b: [b.add("resize", [b.input("x", SOUND)], mode="nearest1d", **given(2, 6, 22))],
    ),
    "matmul of a turned side": ("onnx", turned((2, 5, 4), (2, 6, 4), transpose_right=True).build),
    "matmul of a vector": ("tflite", multiplied((2, 5, 4), (4,)).build),
    "matmul into another type": (
        "onnx tflite",
        lambda b: [b.add("matmul", [b.input("x", (3, 4)), b.input("y", (4, 5))], dtype="int32")],
    ),
    "lstm in torch's order": ("onnx", lambda b: cell(b, (12, 4), (12, 3), (12,), (12,))),
    "lstm from a state": ("onnx", lambda b: cell(b, (1, 12, 4), (1, 12, 3), (1, 24), (1, 2, 3))),
    "lstm from a state and no bias": ("onnx", lambda b: cell(b, (1, 12, 4), (1, 12, 3), (1, 2, 3))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_rule_cannot_say_is_refused(name: str) -> None:
    writers, build = REFUSED[name]
    builder = Builder()
    graph = builder.build(build(builder), {"case": name})
    for writer in writers.split():
        with pytest.raises(InputError):
            {"onnx": write_onnx, "tflite": write_tflite}[writer](graph)
