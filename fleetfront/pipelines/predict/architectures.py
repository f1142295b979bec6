"""Predict: latency (and accuracy) of architectures given as strings. Which models, the caller decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import AccuracyModel, CostModel, HasClock, HasRange, HasTarget, quality_of
from fleetfront.quantities import ACCURACY
from fleetfront.spaces.base import Genotypes, SearchSpace


def predict_archs(
    space: SearchSpace,
    arch_ids: Sequence[str],
    models: Mapping[str, CostModel],
    accuracy: AccuracyModel | None = None,
) -> list[dict[str, Any]]:
    """One row for each architecture and device (``models``: name -> model), architectures in the order given.

    A row has ``arch``, ``device``, the metric as ``latency_ms`` and ``latency_std_ms``, the ends of its 90 % interval
    as ``latency_low_ms`` and ``latency_high_ms`` (these three None, with the reason as ``not_promised``, where nothing
    is promised for when they are run), ``tier``, and ``target`` and ``clock`` where the model has them; with
    ``accuracy`` also ``accuracy`` and ``accuracy_std`` in percent, ``accuracy_tier``, and
    ``accuracy_is_beyond_range`` where its model has a range; None with ``accuracy_note`` for architectures that it
    refuses.

    Raises:
        InputError: if an architecture is not of the space.
    """
    genotypes = space.parse(arch_ids)
    spelled = space.arch_ids(genotypes)
    known = _accuracies(accuracy, genotypes) if accuracy is not None else [{} for _ in spelled]
    columns = []
    for device, model in models.items():
        estimate = model.predict(genotypes)
        name, unit = model.metric.name, model.metric.unit
        facts = {"device": device, "tier": estimate.tier.value}
        if isinstance(model, HasTarget):
            facts["target"] = str(model.target)
        if isinstance(model, HasClock):
            facts["clock"] = str(model.clock)
        numbers: dict[str, list[Any]] = {
            f"{name}_{unit}": estimate.mean.tolist(),
            f"{name}_std_{unit}": estimate.promised_std,
        }
        if estimate.within is not None:
            numbers[f"{name}_std_same_sitting_{unit}"] = estimate.within.tolist()
        for end, values in zip(("low", "high"), estimate.interval, strict=True):
            numbers[f"{name}_{end}_{unit}"] = estimate.promised(values)
        numbers["may_be_far_off"] = estimate.may_be_far_off.tolist()
        rows = zip(*numbers.values(), strict=True)
        columns.append(
            [
                dict(zip(numbers, row, strict=True)) | facts | ({} if told else {"not_promised": estimate.unpromised})
                for row, told in zip(rows, estimate.is_promised.tolist(), strict=True)
            ]
        )
    return [{"arch": arch, **column[index], **known[index]} for index, arch in enumerate(spelled) for column in columns]


def _accuracies(accuracy: AccuracyModel, genotypes: Genotypes) -> list[dict[str, Any]]:
    """One dict a row. If the model refuses, halves are asked, so that those it can answer for are answered."""
    try:
        estimate = accuracy.predict(genotypes)
    except InputError as error:
        if len(genotypes) == 1:
            return [{"accuracy": None, "accuracy_std": None, "accuracy_tier": None, "accuracy_note": str(error)}]
        return [row for half in np.array_split(genotypes, 2) for row in _accuracies(accuracy, half)]
    tier = estimate.tier.value
    quality = quality_of(accuracy)
    named = {} if quality == ACCURACY else {"accuracy_of": quality.title}
    rows = [
        {"accuracy": mean, "accuracy_std": std, "accuracy_tier": tier, **named}
        for mean, std in zip(quality.shown(estimate.mean).tolist(), estimate.std.tolist(), strict=True)
    ]
    if not isinstance(accuracy, HasRange):
        return rows
    beyond = accuracy.beyond_range(genotypes).tolist()
    return [{**row, "accuracy_is_beyond_range": is_beyond} for row, is_beyond in zip(rows, beyond, strict=True)]
