"""Answer for a model file from the store: what was timed of these bytes, with inputs of these shapes.

Where a file fixes every size, its SHA-256 says all. Where it leaves one open, only rows that tell what they were fed
are believed, and for those shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fleetfront.graphs.graph import Graph
from fleetfront.graphs.input_shapes import Port
from fleetfront.pipelines.knowledge.files import known_of_file
from fleetfront.profilers.file_facts import batch_of
from fleetfront.profilers.records import Measurement
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target

#: Distance between the halves of a file's visits as a share of its time is no less than this: clocks and moods.
_LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Asked:
    """A model whose time is asked for, with inputs of known shapes.

    Attributes:
        file: the path as given, or the module's name.
        sha256: of the file's bytes; of the graph for a module.
        graph: its operators, at the shapes that are asked for.
        ports: the inputs as the file declares them, in the graph's order; None where it does not tell.
        suffix: of the file, without its dot; empty for a module, which may be written for any runtime.
        precision: of most weights.
    """

    file: str
    sha256: str
    graph: Graph
    ports: tuple[Port, ...] | None
    suffix: str
    precision: str

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input that is asked for, by its name in the file."""
        names = self.graph.inputs if self.ports is None else [port.name for port in self.ports]
        fed = (self.graph.tensors[name].shape for name in self.graph.inputs)
        return {name: tuple(map(int, shape)) for name, shape in zip(names, fed, strict=True)}

    @cached_property
    def batch(self) -> int:
        """Images or sequences of one inference; ``UNKNOWN_BATCH`` where the inputs do not tell."""
        ports = self.ports
        if ports is None:
            ports = tuple(Port(name, shape, "") for name, shape in self.shapes.items())
        return batch_of(ports, list(self.shapes.values()))

    @property
    def is_fixed(self) -> bool:
        """Tell whether the file itself says every size of its inputs."""
        return self.ports is not None and all(port.shape == self.shapes[port.name] for port in self.ports)

    def was_fed(self, after: Mapping[str, Any]) -> bool:
        """Tell whether a visit with these conditions ran the file with inputs of the shapes that are asked for."""
        return self.is_fixed or fed_shapes(after) == self.shapes


def fed_shapes(after: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """The shape of each input that a visit fed, from its conditions; None if they do not tell."""
    try:
        return {str(name): tuple(map(int, shape)) for name, shape, _ in after["inputs"]}
    except (KeyError, TypeError, ValueError):
        return None


def shapes_text(shapes: Mapping[str, tuple[int, ...]] | None) -> str:
    """Shapes as ``--shape`` takes them."""
    if shapes is None:
        return "sizes that were not kept"
    return " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in shapes.items())


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of a file that a store holds.

    Attributes:
        found: target -> ms and its standard deviation with the shapes asked for, from the newest campaign.
        others: device -> the shapes that it was timed with instead, newest first, in words.
    """

    found: Mapping[Target, tuple[float, float]]
    others: Mapping[str, tuple[str, ...]]


def timed_of(path: Path, asked: Asked, clock: Clock | None = None) -> Timed:
    """Read times of a file from the store at ``path``, under one clock or (None) that of each target's newest row."""
    found: dict[Target, tuple[float, float]] = {}
    others: dict[str, dict[str, None]] = {}
    if not path.is_file():
        return Timed(found, {})
    strange: list[Measurement] = []

    def was_so_fed(row: Measurement) -> bool:
        if asked.was_fed(row.after):
            return True
        strange.append(row)
        return False

    with Store(path, read_only=True) as store:
        for known in known_of_file(store, asked.sha256, clock=clock, counts=was_so_fed):
            ms, std = float(known.estimate.mean[0]), float(known.estimate.std[0])
            found.setdefault(known.target, (ms, max(_LEAST_SPREAD * ms, std)))
    for row in reversed(strange):
        others.setdefault(row.target.device, {})[shapes_text(fed_shapes(row.after))] = None
    return Timed(found, {device: tuple(texts) for device, texts in others.items()})
