"""Feed plans, with a stand-in for the engine and torch's CPU memory in place of a GPU's."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fleetfront.errors import InputError, MissingDependency
from fleetfront.profilers.gpu.programs.tensorrt import TensorRtProgram
from fleetfront.runtimes.base import Port
from fleetfront.runtimes.catalogue import load_runtime, runtime_for_file
from fleetfront.runtimes.tensorrt.runtime import TensorRtSession, output_tensor

torch = pytest.importorskip("torch")


class Doubling:
    """An engine that doubles its input wherever in memory it lies."""

    def __init__(self) -> None:
        self.inputs = (Port("x", (2, 3), "float32"),)
        self.outputs = (Port("y", (2, 3), "float32"),)
        self.enqueued: list[tuple[Mapping[str, int], int]] = []
        self.is_closed = False

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> None:
        import ctypes

        self.enqueued.append((dict(addresses), stream))
        floats = ctypes.c_float * 6
        source, target = floats.from_address(addresses["x"]), floats.from_address(addresses["y"])
        for place in range(6):
            target[place] = 2 * source[place]

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    stream = SimpleNamespace(cuda_stream=77, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)


def test_a_session_feeds_and_reads_by_name() -> None:
    engine: Any = Doubling()
    session = TensorRtSession(engine, "cpu")
    image = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run({"x": image})["y"], 2 * image)
    call = session.bind({"x": image + 1})
    call()
    call()
    assert engine.enqueued[-1] == engine.enqueued[-2]
    assert engine.enqueued[-1][1] == 77
    with pytest.raises(InputError, match="float64"):
        session.run({"x": image.astype(np.float64)})
    session.close()
    assert engine.is_closed


def test_a_program_takes_turns_over_its_inputs_and_shares_its_outputs() -> None:
    engine: Any = Doubling()
    program = TensorRtProgram(engine, "cpu", SimpleNamespace(cuda_stream=5), 3)
    for index in (0, 1, 2, 0):
        program.enqueue(index)
    fed = [addresses["x"] for addresses, _ in engine.enqueued]
    assert len(set(fed)) == 3
    assert fed[3] == fed[0]
    assert len({addresses["y"] for addresses, _ in engine.enqueued}) == 1
    assert {stream for _, stream in engine.enqueued} == {5}
    program.close()
    assert engine.is_closed


def test_outputs_without_a_fixed_shape_are_refused() -> None:
    with pytest.raises(InputError, match="no fixed shape"):
        output_tensor(torch, Port("y", ("?", 10), "float32"), "cpu")


def test_plans_are_known_by_their_ending_and_need_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    assert runtime_for_file(Path("network.trt")).name == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency):
        load_runtime("tensorrt").open(b"plan")
