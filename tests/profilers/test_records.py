from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.base import Visit, VisitBatch, batch_from_json, batch_to_json
from fleetfront.profilers.records import (
    Measurement,
    Role,
    measurement_from_json,
    measurement_to_json,
    measurement_uuid,
)
from fleetfront.quantities import Clock
from fleetfront.targets import Target

facts = st.dictionaries(
    st.text(max_size=8), st.one_of(st.integers(-(2**62), 2**62), st.text(max_size=8), st.booleans()), max_size=3
)
measurements = st.builds(
    Measurement,
    target=st.builds(Target, st.just("cpu"), st.sampled_from(["litert", "onnxruntime"]), threads=st.integers(1, 9)),
    space=st.text(max_size=8),
    role=st.sampled_from(Role),
    key=st.text(max_size=20),
    clock=st.sampled_from(Clock),
    samples=st.lists(st.integers(0, 2**63 - 1), max_size=8).map(tuple),
    campaign=st.text(max_size=8),
    round=st.integers(0, 1000),
    started_ns=st.integers(0, 2**62),
    before=facts,
    after=facts,
    flags=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    error=st.none() | st.text(max_size=20),
)


@settings(max_examples=40, deadline=None)
@given(measurements)
def test_a_measurement_survives_the_way_through_json(measurement: Measurement) -> None:
    assert measurement_from_json(json.loads(json.dumps(measurement_to_json(measurement)))) == measurement


@pytest.mark.parametrize("damage", [{"role": "king"}, {"samples": None}, {"clock": 3}, {"target": "nonsense"}])
def test_something_else_is_refused(damage: dict[str, object], target: Target) -> None:
    whole = measurement_to_json(Measurement(target, "s", Role.BLOCK, "k", Clock.WALL, (1,), "c", 0, 0))
    with pytest.raises(InputError):
        measurement_from_json({**whole, **damage})
    with pytest.raises(InputError, match="no Measurement"):
        measurement_from_json({})


def test_a_batch_survives_the_way_through_json(target: Target) -> None:
    visits = (Visit("a", Role.BLOCK, "k", "f", 3, 9), Visit("b", Role.ANCHOR, "k2", "f"))
    batch = VisitBatch(target, "space", "campaign", 3, visits, {"f": "/tmp/f.onnx"})
    assert batch_from_json(json.loads(json.dumps(batch_to_json(batch)))) == batch
    hurried = replace(batch, seconds_left=12.5)
    assert batch_from_json(json.loads(json.dumps(batch_to_json(hurried)))) == hurried
    with pytest.raises(InputError, match="no VisitBatch"):
        batch_from_json({"target": str(target)})


def test_rows_of_a_visit_have_identities_of_their_own_that_repeat() -> None:
    identities = {measurement_uuid(visit, clock) for visit in ("a", "b") for clock in (Clock.WALL, Clock.THREAD_CPU)}
    assert len(identities) == 4
    assert measurement_uuid("a", Clock.WALL) in identities
