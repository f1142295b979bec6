"""See what only a GPU can show. Everything here is skipped where there is none."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import FleetfrontError
from fleetfront.graphs.batch import with_batch
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.gpu.agent import GpuOptions
from fleetfront.profilers.gpu.open_agent import gpu_target, open_gpu_agent
from fleetfront.profilers.gpu.programs.torch import TorchOpener
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock
from fleetfront.runtimes.cuda_device import open_cuda_device
from fleetfront.spaces.catalogue import load_space


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    pytest.importorskip("torch")
    try:
        open_cuda_device("cuda:0")
    except FleetfrontError as error:
        pytest.skip(f"no GPU: {error.message}")


def convolutions(batch: int, count: int = 4) -> Graph:
    builder = GraphBuilder("convolutions")
    data = builder.input("x", (batch, 32, 28, 28), layout="NCHW")
    rng = np.random.default_rng(0)
    for number in range(count):
        weight = builder.weight(f"w{number}", (0.05 * rng.normal(size=(32, 32, 3, 3))).astype(np.float32))
        data = builder.conv2d(data, weight, padding=1)
    return builder.build([data])


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_a_block_and_a_network_are_timed(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "net.graph"
    path.write_bytes(convolutions(4).to_bytes())
    target = gpu_target("cuda:0", "torch", precision, 4)
    agent = open_gpu_agent(target, tmp_path, options=GpuOptions(energy_s=0.0))
    visits = (Visit("a", Role.BLOCK, "block", "f", 3, 5), Visit("b", Role.VALIDATION, "network", "f", 3, 5))
    try:
        for rows in agent.run(VisitBatch(target, "s", "c", 0, visits, {"f": str(path)})):
            assert [row.error for row in rows] == [None, None]
            assert [row.clock for row in rows] == [Clock.WALL, Clock.DEVICE]
            assert 0 < min(rows[1].samples) <= min(rows[0].samples)
    finally:
        agent.close()


def test_memory_running_out_is_one_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    small, large = tmp_path / "small.graph", tmp_path / "large.graph"
    small.write_bytes(convolutions(1).to_bytes())
    builder = GraphBuilder("large")
    data = builder.input("x", (512, 1, 64, 64), layout="NCHW")
    # A million channels of 64 x 64 pixels in 512 images: 8 TB, from 8 MB of input and 4 MB of weights.
    weight = builder.weight("w", np.ones((1_000_000, 1, 1, 1), np.float32))
    large.write_bytes(builder.build([builder.conv2d(data, weight)]).to_bytes())
    target = gpu_target("cuda:0", "torch", "fp32", 1)
    agent = open_gpu_agent(target, tmp_path, options=GpuOptions(energy_s=0.0))
    visits = (Visit("a", Role.BLOCK, "large", "l", 1, 2), Visit("b", Role.BLOCK, "small", "s", 1, 2))
    try:
        full, right = agent.run(VisitBatch(target, "s", "c", 0, visits, {"s": str(small), "l": str(large)}))
    finally:
        agent.close()
    assert full[0].error is not None
    assert "out of memory" in full[0].error
    assert right[0].error is None


def test_replays_of_a_graph_compute_what_the_module_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.graph"
    path.write_bytes(convolutions(2).to_bytes())
    watch, opener = CudaStopwatch(0), TorchOpener("cuda:0", "fp32")
    program = opener.open(path, 2)
    kept = {}

    def work() -> None:
        with torch.inference_mode():
            kept["y"] = program._module(*program._inputs[0])

    try:
        for _ in range(3):
            watch.run(work)
        watch.synchronize()
        eager = kept["y"].clone()
        replay = watch.capture(work)
        watch.laps_ns([replay])
        assert torch.equal(kept["y"], eager)
    finally:
        opener.close()


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_captures_that_share_memory_do_not_spoil_each_other(tmp_path: Path, precision: str) -> None:
    torch = pytest.importorskip("torch")
    space = load_space("ofa-mbv3-mini")
    graph = next(iter(space.subnet_graphs(space.sample(1, np.random.default_rng(0))[0]).values()))[0]
    path = tmp_path / "net.graph"
    path.write_bytes(with_batch(graph, 8).to_bytes())
    watch, opener = CudaStopwatch(0), TorchOpener("cuda:0", precision)
    program = opener.open(path, 2)
    kept = {}

    def work(index: int) -> None:
        with torch.inference_mode():
            kept[index] = program._module(*program._inputs[index])

    try:
        for index in (0, 1, 0, 1):
            watch.run(lambda index=index: work(index))  # type: ignore[misc]
        watch.synchronize()
        eager = {index: kept[index].clone() for index in (0, 1)}
        first = watch.capture(lambda: work(0))
        second = watch.capture(lambda: work(1), first)
        watch.laps_ns([second, first, second])
        for index in (0, 1):
            assert torch.isfinite(eager[index]).all()
            torch.testing.assert_close(kept[index], eager[index], rtol=1e-3, atol=1e-3)
        assert not torch.equal(kept[0], kept[1])
    finally:
        opener.close()
