"""ONNX Runtime's own profiler: start it, run a file, and read what it wrote."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.runtimes.operator_times import OperatorTime, OperatorTimes

#: What the profiler appends to a node's name where it tells its execution.
_EXECUTED = "_kernel_time"
_US_PER_MS = 1000.0
#: A node that works in the runtime's own layout is called by its output and this.
_OWN_LAYOUT = "_nchwc"
#: Operators that the runtime adds: images change to its own layout and back.
_OWN = ("ReorderInput", "ReorderOutput")
_HOW = "ONNX Runtime's profiler"


def profile_session(
    open_session: Callable[[str], Any], path: Path, feeds: Mapping[str, NDArray[Any]], runs: int
) -> OperatorTimes:
    """Times of a file whose session ``open_session`` opens with profiles under a given prefix; two runs warm up.

    Raises InputError if the profiler told nothing.
    """
    with TemporaryDirectory() as folder:
        session = open_session(str(Path(folder) / "profile"))
        for _ in range(runs + 2):
            session.run(None, dict(feeds))
        written = Path(session.end_profiling())
        events = json.loads(written.read_text(encoding="utf-8"))
    return read_profile(events, _nodes(path), warm_runs=2)


def _nodes(path: Path) -> dict[str, tuple[str, str]]:
    """Name -> kind and first output of the file's nodes; empty where they cannot be read, as in ``.ort`` files."""
    try:
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:
        return {}
    return {node.name: (node.op_type, node.output[0]) for node in graph.node if node.name and node.output}


def read_profile(
    events: Sequence[Mapping[str, Any]], nodes: Mapping[str, tuple[str, str]], *, warm_runs: int = 0
) -> OperatorTimes:
    """Read what the events of a profile say of each node: medians over runs, in the order of execution.

    ``nodes``: name -> kind and output of those in the file. A node that goes by the name or the output of one of
    another kind, or of none, is a fused one. Names are those of the file where it has such a node.

    Raises InputError if no node was executed.
    """
    by_output = {f"{output}{_OWN_LAYOUT}": name for name, (_, output) in nodes.items()}
    taken: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    totals = []
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_EXECUTED):
            node = name.removesuffix(_EXECUTED)
            node = by_output.get(node, node)
            taken.setdefault(node, []).append(float(event["dur"]) / _US_PER_MS)
            kinds[node] = str(event.get("args", {}).get("op_name", ""))
        elif name == "model_run":
            totals.append(float(event["dur"]) / _US_PER_MS)
    if not taken:
        raise InputError("The profiler told of no operator.", "Check that the file holds any.")
    found = tuple(
        OperatorTime(
            name,
            kinds[name],
            statistics.median(ms[warm_runs:] or ms),
            bool(nodes) and kinds[name] not in _OWN and nodes.get(name, ("", ""))[0] != kinds[name],
        )
        for name, ms in taken.items()
    )
    total = statistics.median(totals[warm_runs:] or totals) if totals else 0.0
    return OperatorTimes(found, total, _HOW, tuple(name for name in nodes if name not in taken))
