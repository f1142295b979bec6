"""Blocks are timed in files whose weights alone are narrow, and operators are not."""

from pathlib import Path

import pytest

from fleetfront.deploy.quantise.precisions import Piece
from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.pipelines.measure.operators import check_operators
from fleetfront.pipelines.measure.profile import file_writer
from fleetfront.profilers.file_facts import file_precision
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import Target


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_every_kind_of_block_is_written(runtime: str, precision: str, tmp_path: Path) -> None:
    space = ofa_mbv3_mini()
    suffix, write = file_writer(Target("cpu", runtime, precision))
    path = tmp_path / f"block{suffix}"
    for block in space.vocabulary[::40]:
        path.write_bytes(write(space.block_graph(block), Piece.BLOCK))
        # Blocks of convolutions alone have no weight of 4 bits.
        assert file_precision(path) in (precision, "w8")
        load_runtime(runtime).open(path).close()
    builder = GraphBuilder("pool")
    data = builder.input("x", (1, 4, 8, 8), layout="NCHW")
    path.write_bytes(write(builder.build([builder.add("global_average_pool", [data], "y")]), Piece.BLOCK))
    load_runtime(runtime).open(path).close()


@pytest.mark.parametrize("precision", ["int8", "w8", "w4"])
def test_operators_of_narrow_files_are_not_measured_by_themselves(precision: str) -> None:
    with pytest.raises(InputError, match=precision):
        check_operators(precision)
