"""Check that what a trained strategy leaves behind keeps its promises: networks of the space, limits, a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fleetfront.errors import FileError, InputError
from fleetfront.predictors.base import CostModel
from fleetfront.search.generators.answers import by_preference, cost_reach, front_of, within_limit
from fleetfront.search.generators.generator import Generator, load_generator
from fleetfront.spaces.base import Genotypes
from fleetfront.testing.checks import Fault, expect, expect_refusal, with_fault


@dataclass(frozen=True, slots=True)
class GeneratorCase:
    """A generator, and a device that it answers for.

    Attributes:
        models: the device's cost models, one for each of ``generator.training.costs``.
    """

    generator: Generator
    models: tuple[CostModel, ...]


def check_proposals(case: GeneratorCase) -> None:
    """Proposals are distinct canonical networks of allowed choices, the same each time."""
    generator, wishes = case.generator, case.generator.wishes.sweep(9)
    rows = generator.propose(case.models, wishes, 4)
    again = generator.propose(case.models, wishes, 4)
    expect(np.array_equal(rows, again), "the same wishes give the same proposals")
    expect(rows.dtype == np.int8 and rows.ndim == 2, f"proposals are int8[k, v], not {rows.dtype}{rows.shape}")
    expect(np.array_equal(generator.space.canonical(rows), rows), "proposals are canonical")
    expect(len(np.unique(rows, axis=0)) == len(rows), "each is proposed once")
    offset = np.cumsum([0, *(len(values) for values in generator.space.choices)])[:-1]
    active = generator.space.active(rows)
    expect(generator.allowed.numpy()[(offset + rows)[active]].all(), "only allowed choices are made")


def check_front(case: GeneratorCase) -> None:
    """A front ascends in cost and in accuracy, and its costs are what the device's model says."""
    front = front_of(case.generator, case.models)
    expect(len(front.genotypes) > 0, "a front is not empty")
    expect(np.allclose(front.costs[:, 0], case.models[0].predict(front.genotypes).mean), "costs are the model's own")
    if front.costs.shape[1] == 1:
        expect(np.all(np.diff(front.costs[:, 0]) >= 0), "a front ascends in cost")
        expect(np.all(np.diff(front.accuracy) >= 0), "and in accuracy")


def check_limits(case: GeneratorCase) -> None:
    """A limit is kept wherever a network keeps it, and one below the cheapest is refused."""
    low, high = cost_reach(case.generator, case.models[0])
    for share in (0.0, 0.25, 0.5, 1.0):
        limit = low * (high / low) ** share
        found = within_limit(case.generator, case.models, limit)
        cost = float(case.models[0].predict(found.genotypes).mean[0])
        expect(cost <= limit, f"the limit {limit:.4g} is kept, not passed with {cost:.4g}")
    expect_refusal(InputError, "an impossible limit is refused", within_limit, case.generator, case.models, low * 1e-3)


def check_preferences(case: GeneratorCase) -> None:
    """More preference for accuracy gives no less of it."""
    found = [by_preference(case.generator, case.models, share).accuracy[0] for share in (0.0, 0.5, 1.0)]
    expect(found == sorted(found), f"accuracy ascends with its preference, not {found}")


def check_file(case: GeneratorCase) -> None:
    """A saved generator answers as before; weights that are no numbers are refused."""
    generator, wishes = case.generator, case.generator.wishes.sweep(9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        generator.save(path)
        loaded = load_generator(path, generator.space)
        before, after = (one.propose(case.models, wishes, 2) for one in (generator, loaded))
        expect(np.array_equal(before, after), "what is loaded proposes what was saved")
        mean, again = (one.accuracy.predict(before)[0] for one in (generator, loaded))
        expect(np.allclose(mean, again), "and believes the same of accuracy")
        broken = load_generator(path, generator.space)
        with torch.no_grad():
            next(iter(broken.network.parameters())).fill_(torch.nan)
        broken.save(path)
        expect_refusal(FileError, "weights that are no numbers are refused", load_generator, path, generator.space)


GENERATOR_CHECKS: tuple[Callable[[GeneratorCase], None], ...] = (
    check_proposals,
    check_front,
    check_limits,
    check_preferences,
    check_file,
)


def _uncanonical(propose: Callable[..., Genotypes], *arguments: Any) -> Genotypes:
    rows = propose(*arguments).copy()
    rows[:, 0] = -1
    return rows


#: Faults by the promise that they break; ``faulty_generator`` puts one in.
_FAULTS: dict[str, Fault] = {
    "nothing is proposed": lambda propose, *arguments: propose(*arguments)[:0],
    "proposals are outside the space": _uncanonical,
    "proposals change": lambda propose, *arguments: np.random.default_rng().permutation(propose(*arguments))[:-1],
}
GENERATOR_FAULTS = tuple(_FAULTS)


def faulty_generator(case: GeneratorCase, fault: str) -> GeneratorCase:
    """The case with one of ``GENERATOR_FAULTS`` put into its generator. Raises KeyError on others."""
    return replace(case, generator=with_fault(case.generator, propose=_FAULTS[fault]))
