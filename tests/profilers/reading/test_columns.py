"""Columns of rows that are read many at once: the same as of rows read one by one, whatever lies among them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fleetfront.profilers.reading import plain_rows
from fleetfront.profilers.reading.columns import Visits, collect_pieces, collect_rows
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store import queries
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target

CPU = Target("cpu", "litert")
PLAIN = {"suspended_ns": -190, "clock_ns": 10**18, "waited_ns": 5, "load_1m": 0.5, "cores": [1]}
COST = {"clock_cost_ns": {"thread-cpu": 1072, "wall": 120}}
#: Conditions that readers see otherwise than as numbers, or not at all.
STRANGE: list[dict[str, object]] = [
    {"others_ns": "damaged", "throttles": None, "frequency_khz": True},
    {"waited_ns": float("inf"), "clock_cost_ns": 7, "visit_ns": 1.5},
    {"clock_ns": 2**63 - 1},
    {"clock_ns": 2**70},
]


def visit(n: int, after: dict[str, object] | None = None, **changes: object) -> list[Measurement]:
    before = {**PLAIN, "clock_ns": 10**18 + n}
    told = {**PLAIN, **COST, "visit_ns": 9 + n} if after is None else after
    given: dict[str, object] = {"samples": (5 + n, 7, 9), "before": before, "after": told, **changes}
    return [
        Measurement(CPU, "space", Role.BLOCK, f"k{n % 3}", clock, campaign=f"c{n % 2}", round=n, started_ns=n, **given)  # type: ignore[arg-type]
        for clock in (Clock.THREAD_CPU, Clock.WALL)
    ]


ROWS = {
    "plain": [row for n in range(9) for row in visit(n)],
    "failed": [*visit(1), *visit(2, samples=(), error="no such operator"), *visit(3)],
    "flagged": [*visit(1), *visit(2, flags=("throttled",)), *visit(3, flags=("repeated", "x"))],
    "wide samples": [*visit(1), *visit(2, samples=(2**40, 3))],
    "no time at all": [*visit(1), *visit(2, samples=(0, 3))],
    "no conditions": [*visit(1), *visit(2, {}, before={}), *visit(3)],
    "strange conditions": [row for n, after in enumerate(STRANGE) for row in visit(n, after)],
    "layouts in turn": [row for n in range(8) for row in visit(n, {"visit_ns": n} if n % 2 else None)],
}


def of_one(visits: Visits) -> dict[str, object]:
    """Everything that readers see of rows."""
    told = {one.name: getattr(visits, one.name) for one in fields(visits)}
    facts = told.pop("facts")[told.pop("visit")]
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in told.items()} | {
        "facts": np.nan_to_num(facts, nan=-1.0, posinf=-2.0).tolist()
    }


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("at_once", [1, 4, 2000])
def test_columns_are_the_same_however_rows_are_read(
    tmp_path: Path, name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_AT_ONCE", at_once)
    with Store(tmp_path / "store.sqlite") as store:
        store.append(ROWS[name])
        store.append([Measurement(CPU, "space", Role.BLOCK, "k", Clock.WALL, (1,), "c0", 0, 0, "energy", "uJ")])
        found = collect_pieces(store.pieces(CPU, "space", "latency", None))
        assert of_one(found) == of_one(collect_rows(store.rows(CPU, "space", metric="latency")))
        assert len(found) == len(ROWS[name])
        plain = [plain_rows.read_plain(piece) is not None for piece in store.pieces(CPU, "space", "latency", None)]
        assert all(plain) == (name in {"plain", "layouts in turn"})


def test_damage_is_seen(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        store.append(ROWS["plain"])
        connection = store._connection
        for trigger in ("measurements_no_update", "visits_no_update", "series_no_update"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("PRAGMA foreign_keys = OFF")
        for sentence in (
            "UPDATE measurements SET samples = zeroblob(17) WHERE id = 1",
            "UPDATE visits SET numbers = x'00' WHERE id = 2",
            "UPDATE visits SET layout = 99 WHERE id = 3",
            "UPDATE measurements SET round = 'three' WHERE id = 9",
            "UPDATE measurements SET started_ns = 0.5 WHERE id = 10",
            "UPDATE series SET unit = 'apples' WHERE id = 3",
            "UPDATE series SET role = 'pilot' WHERE id = 4",
        ):
            connection.execute("BEGIN")
            connection.execute(sentence)
            found = of_one(collect_pieces(store.pieces(CPU, "space", "latency", None)))
            assert found == of_one(collect_rows(store.rows(CPU, "space", metric="latency"))), sentence
            assert found != of_one(collect_rows(iter(()))), sentence
            connection.execute("ROLLBACK")
