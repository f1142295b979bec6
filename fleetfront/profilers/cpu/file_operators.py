"""Time the operators of one file in a runtime of this machine, as the runtime tells them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fleetfront.errors import InputError
from fleetfront.runtimes.base import Runtime
from fleetfront.runtimes.feeds import GivenInputs, load_arrays, make_feeds
from fleetfront.runtimes.operator_times import OperatorTimes, TellsOperatorTimes


def time_file_operators(
    runtime: Runtime,
    path: Path,
    *,
    threads: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    arrays: Path | None = None,
) -> OperatorTimes:
    """Time the operators of the file at ``path`` as its runtime tells them, on the inputs given or drawn.

    Raises InputError if the runtime tells none, or does not open the file or run it so.
    """
    if not isinstance(runtime, TellsOperatorTimes):
        raise InputError(
            f"{runtime.name} does not tell times of operators here.", "Use --runtime onnxruntime or litert on a CPU."
        )
    session = runtime.open(path, threads=threads)
    try:
        given = GivenInputs(dict(shapes or {}), load_arrays(arrays) if arrays else {})
        feeds, _ = make_feeds(session, np.random.default_rng(0), given)
    finally:
        session.close()
    return runtime.operator_times(path, feeds, threads=threads)
