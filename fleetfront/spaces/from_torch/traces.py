"""Keep what a family's networks are made of: traced once, then read from a file of the cache."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fleetfront import __version__
from fleetfront.errors import InputError
from fleetfront.files import write_whole
from fleetfront.plain import from_plain, to_plain
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.from_torch.family_file import WHOLE, FamilyFile, Genes, Value, spell_genes
from fleetfront.spaces.from_torch.tables import Slot, learn_slots
from fleetfront.user_code import reason_of
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.spaces.from_torch.tracing import Tracer

#: Beginnings of places that hold no part: operators after one, and weights of none.
BETWEEN, LOOSE = "after ", "weights "


def spell_calls(held: str, calls: int) -> str:
    """The content of a place, with how often an inference calls it; that alone where it is once."""
    return held if calls == 1 else f"{held}*{calls}"


def split_calls(held: str) -> tuple[str, int]:
    """``spell_calls`` read back."""
    one, _, calls = held.partition("*")
    return one, int(calls or 1)


@dataclass(frozen=True, slots=True)
class Described:
    """The facts of a part, the same wherever it occurs.

    Attributes:
        label: class of its first module.
        inputs: shape of each tensor that it is fed, without the batch.
        macs, params: multiply-accumulates, and numbers in its weights.
        moved: numbers that its operators read and write.
        operators: how many it has.
        genes, place: of one network that has it, and where there.
    """

    label: str
    inputs: tuple[tuple[int, ...], ...]
    macs: int
    params: int
    moved: int
    operators: int
    genes: dict[str, Value]
    place: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """Names of classes of modules: those that are taken apart into parts, and those that never are; and whether the
    networks only run on stand-ins of real tensors.
    """

    apart: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    stand_ins: bool = False


@dataclass(frozen=True)
class FamilyParts:
    """The parts of a family's networks: places, and what each holds; every part by its signature."""

    slots: tuple[Slot, ...]
    described: dict[str, Described]
    decisions: Decisions

    @cached_property
    def loose(self) -> tuple[tuple[Slot, tuple[int, ...]], ...]:
        """Places of weights of no part, with how many numbers these have for each combination of genes."""
        return tuple(
            (slot, tuple(int(held or 0) for held in slot.held)) for slot in self.slots if slot.place.startswith(LOOSE)
        )


#: Of what is kept; older forms counted shared weights twice.
_FORM = 2
#: Of torch, where tensors without data meet a question for their numbers.
_BY_NUMBERS = ("DynamicOutputShapeException", "DataDependentOutputException", "GuardOnDataDependentSymNode")


@dataclass(frozen=True, slots=True)
class _Kept:
    made_by: str
    parts: FamilyParts


def family_parts(file: FamilyFile, progress: Progress = SILENT) -> FamilyParts:
    """The parts of a family's networks, from the cache where this very file was traced before.

    Raises InputError if a network cannot be made or run, or if what they are made of cannot be told.
    """
    path = Workspace.default().cache / "families" / f"{file.digest}.json"
    made_by = _maker()
    with contextlib.suppress(OSError, ValueError):
        kept = from_plain(_Kept, path.read_bytes())
        if kept.made_by == made_by:
            return kept.parts
    parts = _traced(file, progress)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(to_plain(_Kept(made_by, parts))).encode())
    return parts


def _maker() -> str:
    import torch

    return f"fleetfront {__version__}, torch {torch.__version__}, form {_FORM}"


def _traced(file: FamilyFile, progress: Progress) -> FamilyParts:
    from fleetfront.spaces.from_torch.tracing import Tracer

    names, choices = list(file.choices), list(file.choices.values())
    tracer = Tracer(file)
    largest = {name: values[-1] for name, values in file.choices.items()}
    _check_numbers(file, largest)
    tracer.settle(largest)

    def trace(genotype: tuple[int, ...]) -> dict[str, str]:
        return tracer.trace(
            {name: choices[at][gene] for at, (name, gene) in enumerate(zip(names, genotype, strict=True))}
        )

    counts = [len(values) for values in choices]
    while True:
        before = tracer.decisions
        slots = learn_slots(counts, names, trace, progress)
        if tracer.decisions == before:
            break
        # A later network showed that a module must stay whole: what was traced before was cut otherwise.
        tracer = Tracer(file, tracer.decisions)
    occurring = {split_calls(held)[0] for slot in slots for held in slot.held}
    return FamilyParts(slots, {key: one for key, one in tracer.described.items() if key in occurring}, tracer.decisions)


def _check_numbers(file: FamilyFile, genes: Genes) -> None:
    """Compute one network. Raises InputError if an output is no number: every file of it would be refused later."""
    import torch

    from fleetfront.spaces.from_torch.exporting import check_numbers, quiet_torch

    for name, (module, sample, _) in file.of(genes).items():
        said = spell_genes(genes) if name == WHOLE else f"part {name!r} of {spell_genes(genes)}"
        with torch.no_grad(), quiet_torch():
            try:
                results = module(*[one.clone() for one in sample])
            except Exception as error:
                raise does_not_run(name, genes, error) from error
        check_numbers(module, results, f"The network {said}" if name == WHOLE else f"The {said}")


def does_not_run(name: str, genes: Genes, error: Exception) -> InputError:
    """The error of a network, or of its part ``name``, that fails on what its file feeds it."""
    is_whole = name == WHOLE
    which = f"The {'network' if is_whole else f'part {name!r} of'} {spell_genes(genes)}"
    if type(error).__name__ in _BY_NUMBERS:
        return InputError(
            f"{which} has shapes, or branches, that depend on the numbers that it is fed ({reason_of(error)}).",
            "Let shapes depend on genes alone: a mask or torch.topk in place of what picks out, one branch fixed.",
        )
    return InputError(
        f"{which} does not run on its inputs: {reason_of(error)}",
        f"Let {'inputs' if is_whole else 'parts'}(**genes) give what its forward takes.",
    )


def tracer_of(file: FamilyFile, parts: FamilyParts) -> Tracer:
    """A tracer that takes networks apart as ``parts`` were."""
    from fleetfront.spaces.from_torch.tracing import Tracer

    return Tracer(file, parts.decisions)
