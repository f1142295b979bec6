"""Every space that fleetfront brings conforms, and each fault is found."""

import pytest

from fleetfront.spaces.catalogue import load_space, space_names
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.spaces import SPACE_CHECKS, SPACE_FAULTS, faulty_space


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", space_names())
def test_every_space_conforms(name, check):
    check(load_space(name))


@pytest.mark.parametrize("fault", [fault for fault in SPACE_FAULTS if "probabilities" not in fault])
def test_each_fault_is_found(fault):
    # Gradients are tried on the space of examples/plugin.
    space = load_space("nasbench201" if "executed" in fault else "ofa-mbv3-mini")
    assert failures(SPACE_CHECKS, faulty_space(space, fault))
