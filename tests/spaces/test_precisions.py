"""A space in several precisions keeps every promise of the space, and names the precision of each network."""

from collections.abc import Callable

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.spaces import base
from fleetfront.spaces.base import HasPrecisions, SearchSpace, plain_space
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import PrecisionSpace, with_precisions
from fleetfront.testing.checks import check_name
from fleetfront.testing.spaces import SPACE_CHECKS

NAMES = ("ofa-mbv3-mini@fp32,int8", "nasbench201@fp16,fp32,int8")
OFFERED = (
    "Additive",
    "DescribesBlocks",
    "DescribesNetworks",
    "ExecutesDeadBranches",
    "HasSupernet",
    "Interpolable",
    "MayDisconnect",
    "Relaxable",
    "RelaxesActivity",
    "WritesNetworks",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
def test_it_keeps_the_promises_of_spaces(check: Callable[[SearchSpace], None], name: str) -> None:
    check(load_space(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("capability", OFFERED)
def test_it_offers_what_the_space_offers_and_no_more(capability: str, name: str) -> None:
    space, protocol = load_space(name), getattr(base, capability)
    assert isinstance(space, protocol) == isinstance(plain_space(space), protocol)


def test_each_network_is_there_once_in_every_precision() -> None:
    plain, space = load_space("ofa-mbv3-mini"), joint()
    networks = plain.sample(5, np.random.default_rng(0))
    both = np.concatenate([space.in_precision(networks, name) for name in ("fp32", "int8")])
    archs = plain.arch_ids(networks)
    assert space.arch_ids(both) == [*(f"{arch}@fp32" for arch in archs), *(f"{arch}@int8" for arch in archs)]
    assert np.array_equal(space.parse(space.arch_ids(both)), both)
    assert np.array_equal(space.without(both), np.concatenate([networks, networks]))
    assert np.array_equal(space.macs(both), np.tile(plain.macs(networks), 2))
    assert space.to_config(both[5])["precision"] == "int8"
    assert isinstance(space, HasPrecisions)
    assert not isinstance(plain, HasPrecisions)


def test_a_network_without_a_precision_or_with_a_strange_one_is_refused() -> None:
    arch = joint().arch_ids(joint().sample(1, np.random.default_rng(0)))[0].partition("@")[0]
    with pytest.raises(InputError, match="its precision is missing"):
        joint().parse([arch])
    with pytest.raises(InputError, match="int9"):
        joint().parse([f"{arch}@int9"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ofa-mbv3-mini@int9", "precision"),
        ("ofa-mbv3-mini@", "precision"),
        ("hw-gpt-s@fp32,int8", "tables alone"),
        ("ofa-mbv3-mini@fp32@int8", "precision"),
        ("mini@fp32", "search space"),
    ],
)
def test_what_is_no_space_in_precisions_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_space(name)


def test_precisions_of_precisions_are_refused() -> None:
    with pytest.raises(InputError, match="several precisions already"):
        with_precisions(joint(), ["fp32"])


def joint() -> PrecisionSpace:
    return with_precisions(load_space("ofa-mbv3-mini"), ["int8", "fp32"])


def test_a_network_with_its_precision_is_told_from_one_that_is_none() -> None:
    plain = load_space("ofa-mbv3-mini")
    (arch,) = plain.arch_ids(plain.sample(1, np.random.default_rng(0)))
    with pytest.raises(InputError, match="@w8 is the precision of a file") as raised:
        plain.parse([f"{arch}@w8"])
    assert raised.value.remedy == f"Give {arch!r}, and where files are written --precisions w8."
    with pytest.raises(InputError, match="too many characters"):
        plain.parse([f"{arch}@w9"])
