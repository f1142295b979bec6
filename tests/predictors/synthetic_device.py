"""A device that exists only as arithmetic: known truth, noisy visits, networks that are not quite sums."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import SAMPLES_IN, Clock
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space
from fleetfront.targets import Target

TARGET = Target("synthetic", "litert")


@dataclass(frozen=True)
class SyntheticDevice:
    """Blocks cost work, traffic and a launch; 7 x 7 kernels are dear; every layer has a whim of its own.

    A network is ``1.12 * sum + 0.2 ms + 3e-8 ms * params``, times a whim of ``network_whim`` that no model can know.
    """

    space: OfaMbv3Space
    noise: float = 0.02
    network_whim: float = 0.01
    seed: int = 0

    def block_ms(self) -> NDArray[np.float64]:
        rng = np.random.default_rng([self.seed, 1])
        blocks = self.space.vocabulary
        features, names = self.space.block_features(blocks)
        column = dict(zip(names, features.T, strict=True))
        ms = column["macs"] / 2e7 + column["activation_elements"] / 4e7 + column["params"] / 3e8 + 0.004
        groups, _ = self.space.interpolation_groups()
        whim = rng.lognormal(0.0, 0.15, groups.max() + 1)[groups]
        return ms * whim * np.where(column["kernel"] == 7, 1.6, 1.0)

    def network_ms(self, genotypes: Genotypes) -> NDArray[np.float64]:
        total = self.space.additive(self.block_ms())(genotypes)
        whim = [np.random.default_rng([self.seed, 2, *row.tolist()]).standard_normal() for row in genotypes]
        return (1.12 * total + 0.2 + 3e-8 * self.space.params(genotypes)) * (1 + self.network_whim * np.array(whim))

    def observe(
        self,
        *,
        calibration: int = 20,
        validation: int = 100,
        visits: int = 6,
        resolutions: Iterable[int] | None = None,
        without: Iterable[str] = (),
        clock: Clock = Clock.WALL,
    ) -> Observations:
        """``resolutions`` are those whose blocks are measured (default: the ends), ``without`` are keys left out."""
        space, rng = self.space, np.random.default_rng([self.seed, 3])

        def visited(ms: float) -> NDArray[np.float64]:
            return ms * (1 + np.abs(rng.normal(0, self.noise, visits)))

        ends = (space.resolutions[0], space.resolutions[-1])
        chosen = sorted({int(i) for r in (resolutions or ends) for i in space.blocks_at(r)})
        truth, keys, absent = self.block_ms(), [block.key for block in space.vocabulary], set(without)
        blocks = {keys[i]: visited(truth[i]) for i in chosen if keys[i] not in absent}
        networks: dict[Role, dict[str, NDArray[np.float64]]] = {}
        for stream, (role, count) in enumerate(((Role.VALIDATION, validation), (Role.CALIBRATION, calibration))):
            genotypes = space.sample(count, np.random.default_rng([self.seed, 4, stream]))
            archs, ms = space.arch_ids(genotypes), self.network_ms(genotypes) if count else np.empty(0)
            networks[role] = {arch: visited(value) for arch, value in zip(archs, ms, strict=True)}
        environment = {"cpu": "Abacus 1", "runtime": "litert", "runtime_version": "2.3.0"}
        return Observations(
            TARGET, space.name, clock, {Role.BLOCK: blocks, **networks}, seconds=12.5, environment=environment
        )


def keep(store: Store, seen: Observations, campaign: str = "synthetic-1", began_ns: int = 0) -> None:
    """Write observations into a store as the visits of one campaign, three runs a visit, the middle one fastest; it
    begins now, or when ``began_ns`` says.
    """
    rows, started, unit = [], 0, SAMPLES_IN[seen.metric.name]
    for role, things in seen.visits.items():
        for key, visits in things.items():
            for number, ms in enumerate(visits):
                started += 1
                ns = round(ms * seen.metric.divisor(unit))
                rows.append(
                    Measurement(
                        target=seen.target,
                        space=seen.space,
                        role=role,
                        key=key,
                        clock=seen.clock,
                        samples=(2 * ns, ns, ns + 5),
                        campaign=campaign,
                        round=number,
                        started_ns=started,
                        metric=seen.metric.name,
                        unit=unit,
                        after={"visit_ns": 10 * ns},
                    )
                )
    plan = {"tasks": {role.value: [[key, "file"] for key in things] for role, things in seen.visits.items()}}
    with pytest.MonkeyPatch.context() as clock:
        if began_ns:
            clock.setattr(time, "time_ns", lambda: began_ns)
        store.add_campaign(campaign, seen.target, seen.space, "identity", plan, dict(seen.environment))
    store.append(rows)
