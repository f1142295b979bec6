"""Answer for networks in several precisions: the accuracy in float less what each precision costs, which is learnt.

The accuracy of a network in int8 is its own, never that of the network in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors import base
from fleetfront.predictors.base import UNSTATED, AccuracyModel, precision_of, quality_of
from fleetfront.quantities import ACCURACY, Z90, Estimate, Quality, Tier
from fleetfront.spaces.base import Genotypes, HasPrecisions
from fleetfront.text_tables import parse_number

#: What accuracies are taken to be of where their source does not say.
FLOAT = "fp32"
#: The least networks of which the farthest but one bounds what nine tenths of others lose.
LEAST_NETWORKS = 9


@dataclass(frozen=True, slots=True)
class Drop:
    """The accuracy that networks lose in a precision.

    Attributes:
        points: the median, in points of top-1.
        std: such a deviation that nine tenths of networks are within ``Z90`` of it.
        tier: where it comes from.
        source: the same in words.
        networks: how many it was learnt from; 0 where somebody stated it.
    """

    points: float
    std: float
    tier: Tier
    source: str
    networks: int = 0

    @classmethod
    def learn(cls, points: Sequence[float], tier: Tier, source: str) -> Drop:
        """The drop of networks like those that lost ``points``.

        The deviation is that of the ceil(0.9 (n + 1))-th of n, by their distance from the median: another network is
        within it with a probability of 0.9, whatever the distribution (conformal prediction; Vovk et al. 2005).

        Raises InputError on fewer than ``LEAST_NETWORKS``, which bound nothing.
        """
        if len(points) < LEAST_NETWORKS:
            raise InputError(
                f"{len(points)} networks do not tell what a precision costs others.",
                f"Judge at least {LEAST_NETWORKS}.",
            )
        middle = float(np.median(points))
        away = np.sort(np.abs(np.asarray(points) - middle))
        reach = float(away[math.ceil(0.9 * (len(points) + 1)) - 1])
        return cls(middle, reach / Z90, tier, source, len(points))

    def to_json(self) -> dict[str, Any]:
        """The value of a precision under ``drops`` in ``fronts.json``."""
        return {
            "points": self.points,
            "std": self.std,
            "tier": self.tier.value,
            "source": self.source,
            "networks": self.networks,
        }

    @classmethod
    def of_json(cls, drop: Mapping[str, Any]) -> Drop:
        """Read ``to_json`` back."""
        return cls(drop["points"], drop["std"], Tier(drop["tier"]), drop["source"], drop["networks"])


#: Top-1 on ImageNet in float and in int8, of the same networks, as torchvision's documentation tables both ("Quantized
#: models", version 0.12): MobileNetV2 and V3-Large (trained further in int8), ShuffleNetV2 x0.5 and x1.0, ResNet-18 and
#: -50, ResNeXt-101, Inception V3, GoogLeNet (quantised after training).
PUBLISHED = (
    (71.878, 71.658),
    (74.042, 73.004),
    (60.552, 57.972),
    (69.362, 68.360),
    (69.758, 69.494),
    (76.130, 75.920),
    (79.312, 78.986),
    (77.294, 77.176),
    (69.778, 69.826),
)


def published_drop() -> Drop:
    """The drop of nine other networks in int8 on other images: a guess where nobody knows better."""
    lost = [before - after for before, after in PUBLISHED]
    return Drop.learn(lost, Tier.ESTIMATED, f"{len(lost)} networks of torchvision on ImageNet")


def parse_drop(text: str) -> tuple[str, Drop]:
    """``int8=0.8+-0.4`` as a precision and what it costs. Raises InputError on anything else."""
    precision, _, said = text.partition("=")
    points, separator, std = said.partition("+-")
    try:
        values = parse_number(points), parse_number(std) if separator else 0.0
    except ValueError:
        values = (math.nan, math.nan)
    if not (0 <= values[1] <= 100 and -100 <= values[0] <= 100) or not separator:
        raise InputError(
            f"--drop {text[:40]!r} does not say what a precision costs.",
            "Write points of accuracy with their standard deviation: --drop int8=0.8+-0.4.",
        )
    return precision, Drop(*values, Tier.ESTIMATED, "stated by --drop")


class PrecisionAccuracy:
    """Accuracy of networks in several precisions: what a model says of them in float, less the precision's drop.

    An AccuracyModel. It offers whatever the model in float offers.
    """

    def __init__(self, space: HasPrecisions, networks: AccuracyModel, drops: Mapping[str, Drop]) -> None:
        """Raises InputError if a precision has no drop, or the model answers with something else than accuracy."""
        self.space, self.networks_in_float, self.drops = space, networks, dict(drops)
        lacking = [name for name in space.precisions if name not in drops]
        if lacking:
            raise InputError(
                f"Nobody knows what {', '.join(lacking)} costs in accuracy.", f"Say it: --drop {lacking[0]}=0.8+-0.4."
            )
        if quality_of(networks) != ACCURACY:
            raise InputError(
                f"{networks.source} answers with {quality_of(networks).name}, and what a precision costs is told in "
                "points of accuracy.",
                "Leave --precisions out, or use another --accuracy.",
            )

    @property
    def source(self) -> str:
        """That of the model in float."""
        return self.networks_in_float.source

    @property
    def tier(self) -> Tier:
        """The model's own where every network is in float, else predicted: ``tiers`` tells each."""
        return self.networks_in_float.tier if set(self.space.precisions) <= {FLOAT} else Tier.PREDICTED

    def tiers(self, genotypes: Genotypes) -> list[str]:
        """Where the accuracy of each of n networks comes from."""
        own = self.networks_in_float.tier.value
        tiers = {name: own if name == FLOAT else self.drops[name].tier.value for name in self.space.precisions}
        return [tiers[name] for name in self.space.precisions_of(genotypes)]

    def costs_of_precisions(self) -> dict[str, dict[str, Any]]:
        """Precision -> what it costs, but for float, as plain values."""
        return {name: self.drops[name].to_json() for name in self.space.precisions if name != FLOAT}

    @property
    def fingerprint(self) -> str:
        """Differs where the model's does, and where a precision costs something else."""
        inside = self.networks_in_float
        content = inside.fingerprint if isinstance(inside, base.HasFingerprint) else inside.source
        return f"{content} {sorted((name, drop.points, drop.std) for name, drop in self.drops.items())}"

    @property
    def quality(self) -> Quality:
        """Accuracy in percent."""
        return ACCURACY

    @property
    def required(self) -> Mapping[str, Any]:
        """Genes that the model in float answers for one value of."""
        inside = self.networks_in_float
        return inside.required if isinstance(inside, base.RequiresGenes) else {}

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Percent of n networks, each in its precision; at least 0. The deviation is of both, float and drop.

        The model in float is asked once for each network, however many precisions of it are among them.
        """
        return self._asked_of(self.networks_in_float.predict, genotypes)

    def _asked_of(self, predict: Callable[[Genotypes], Estimate], genotypes: Genotypes) -> Estimate:
        networks, of = _distinct(self.space.without(genotypes))
        floats = predict(networks)
        return self._dropped(Estimate(floats.mean[of], floats.std[of], floats.tier), genotypes)

    def _dropped(self, floats: Estimate, genotypes: Genotypes) -> Estimate:
        of = np.array([(self.drops[name].points, self.drops[name].std) for name in self.space.precisions])
        points, std = of[genotypes[:, -1]].T
        return Estimate(np.maximum(floats.mean - points, 0.0), np.hypot(floats.std, std), self.tier)


def _distinct(networks: Genotypes) -> tuple[Genotypes, NDArray[np.intp]]:
    """The distinct rows of int8[n, v] in order of appearance, and of each of n which of them it is."""
    _, first, of = np.unique(networks, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return networks[first[order]], np.argsort(order)[of.reshape(-1)]


class _HasLowest:
    networks_in_float: Any
    drops: Mapping[str, Drop]

    @property
    def lowest(self) -> float:
        most = max(0.0, *(drop.points + Z90 * drop.std for drop in self.drops.values()))
        return max(0.0, float(self.networks_in_float.lowest) - most)


class _HasRange:
    networks_in_float: Any
    space: HasPrecisions

    def beyond_range(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.networks_in_float.beyond_range(self.space.without(genotypes))
        return found


class _HasHeldOut:
    networks_in_float: Any
    _asked_of: Any

    def held_out(self, genotypes: Genotypes) -> Estimate:
        found: Estimate = self._asked_of(self.networks_in_float.held_out, genotypes)
        return found

    @property
    def held_out_images(self) -> int:
        return int(self.networks_in_float.held_out_images)


class _ListsNetworks:
    networks_in_float: Any
    space: HasPrecisions

    def networks(self) -> Genotypes:
        inside = self.networks_in_float.networks()
        count = len(self.space.precisions)
        genes = np.repeat(np.arange(count, dtype=np.int8), len(inside))[:, None]
        return np.concatenate([np.tile(inside, (count, 1)), genes], axis=1)


class _KeepsCalls:
    networks_in_float: Any

    def keep_calls(self, folder: Path) -> None:
        self.networks_in_float.keep_calls(folder)


#: What an accuracy model may offer -> what forwards it.
_CAPABILITIES: tuple[tuple[type, type], ...] = (
    (base.HasLowest, _HasLowest),
    (base.HasRange, _HasRange),
    (base.HasHeldOut, _HasHeldOut),
    (base.ListsNetworks, _ListsNetworks),
    (base.KeepsCalls, _KeepsCalls),
)


def in_precisions(space: HasPrecisions, networks: AccuracyModel, drops: Mapping[str, Drop]) -> PrecisionAccuracy:
    """The accuracies of networks in several precisions, of a model that knows them in float.

    A source that does not say which precision its accuracies are of is taken to mean float. Raises InputError where
    it says another, a precision has no drop, or the model answers with something else than accuracy.
    """
    stated = precision_of(networks)
    if stated not in (FLOAT, UNSTATED):
        raise InputError(f"{networks.source} is of networks in {stated}.", "Leave --precisions out.")
    parts = tuple(part for capability, part in _CAPABILITIES if isinstance(networks, capability))
    kind = type(PrecisionAccuracy.__name__, (PrecisionAccuracy, *parts), {})
    made: PrecisionAccuracy = kind(space, networks, {FLOAT: Drop(0.0, 0.0, networks.tier, "as given"), **drops})
    return made
