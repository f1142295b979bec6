"""``--verify``: the best of a front are measured where its latencies come from, and its model is fitted with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.fit.fit import other_sittings
from fleetfront.pipelines.measure.profile import measure_networks
from fleetfront.pipelines.search_verify import Verified
from fleetfront.predictors.base import BlockCosts, HasClock, HasTarget
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.profilers.kinds.base import Capability
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.reading.observations import (
    Observations,
    choose_statistic,
    read_observations,
    summaries,
)
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.workspace import Workspace


@runtime_checkable
class _MeasuredHere(BlockCosts, HasTarget, HasClock, Protocol):
    """A fit of blocks whose target can be measured again."""


@dataclass(frozen=True, slots=True)
class DeviceVerifier:
    """Measures on the device of a target's fit, if it can be reached from here. A ``search.Verifier``."""

    space: SearchSpace
    store: Store
    workspace: Workspace
    rounds: int = 8
    progress: Progress = SILENT

    def check(self, target: ProblemTarget) -> None:
        """Raises InputError if the latencies of ``target`` do not come from a fit of a device within reach."""
        self._table(target)

    def verify(self, target: ProblemTarget, genotypes: Genotypes) -> Verified:
        """Measure k architectures int8[k, v], and fit again with them among the calibration networks.

        The model on disk stays as it is: networks that a search chose are no fair sample of the space.

        Raises:
            InputError: the latencies of ``target`` do not come from a fit of a device within reach.
            DeviceError: none of the architectures could be measured.
        """
        table = self._table(target)
        archs = self.space.arch_ids(genotypes)
        outcome = measure_networks(
            self.space,
            table.target,
            archs,
            store=self.store,
            rounds=self.rounds,
            clock=table.clock,
            workspace=self.workspace,
            progress=self.progress,
        )
        before = read_observations(self.store, table.target, self.space.name, table.clock)
        # What was known of other sittings stays known.
        sittings = other_sittings(self.store, before, choose_statistic(before))
        model = fit_model(self.space, _joined(before, outcome.observations), sittings=sittings).model
        measured = summaries(outcome.observations, Role.CALIBRATION, model.statistic)
        if not measured:
            raise DeviceError(
                f"None of {len(archs)} networks could be measured on {table.target}.", "See: fleetfront doctor"
            )
        values = np.array([measured.get(arch, np.nan) for arch in archs])
        return Verified(values, CalibratedTable(self.space, model))

    def _table(self, target: ProblemTarget) -> _MeasuredHere:
        table = target.cost
        kind = find_kind(table.target.device) if isinstance(table, _MeasuredHere) else None
        if not isinstance(table, _MeasuredHere) or kind is None or Capability.VERIFY not in kind.can:
            raise InputError(
                f"The networks of {target.name} cannot be measured here.",
                "Search without --verify, or on --device cpu.",
            )
        return table


def _joined(before: Observations, fresh: Observations) -> Observations:
    networks: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {
        **before.visits.get(Role.CALIBRATION, {}),
        **fresh.visits.get(Role.CALIBRATION, {}),
    }
    return replace(before, visits={**before.visits, Role.CALIBRATION: networks})
