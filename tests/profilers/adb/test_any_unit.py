"""Rented phones: another unit of the model goes on where one stopped, and every row says which unit it is of."""

from collections.abc import Callable
from typing import Any

from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.kind import AdbKind, _options
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.kinds.base import Choices
from tests.adbd.fixtures import BENCHMARK_MODEL, GETPROP, as_phone


def getprop(unit: str) -> str:
    return GETPROP.replace("esac", f"  ro.serialno) echo {unit} ;;\nesac")


def test_two_units_are_one_device_where_any_will_do(
    phone: Any, make_daemon: Callable[..., Any], open_agent: Callable[..., AdbAgent],
    make_batch: Callable[..., VisitBatch],
) -> None:  # fmt: skip
    other = make_daemon()
    as_phone(other)
    other.install("benchmark_model", BENCHMARK_MODEL)
    (other.data / "output").write_bytes((phone.data / "output").read_bytes())
    for one, unit in ((phone, "A1"), (other, "B2")):
        one.install("getprop", getprop(unit))
    strict = [open_agent(one.address).describe() for one in (phone, other)]
    assert strict[0]["unit"] != strict[1]["unit"]
    agents = [open_agent(one.address, options=AgentOptions(is_any_unit=True)) for one in (phone, other)]
    assert agents[0].describe() == agents[1].describe() == {k: v for k, v in strict[0].items() if k != "unit"}
    rows = [row for agent in agents for rows in agent.run(make_batch(agent.target, 1)) for row in rows]
    assert {row.before["unit"] for row in rows} == {one["unit"] for one in strict}


def test_the_option_is_a_setting_of_phones() -> None:
    assert "is_any_unit" in AdbKind.settings
    for more in ({}, {"is_sustained": True}):
        assert _options(Choices(settings={"is_any_unit": True, **more})).is_any_unit
        assert not _options(Choices(settings=more)).is_any_unit
