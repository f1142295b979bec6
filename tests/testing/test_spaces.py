"""Every space that fleetfront brings conforms, and each fault is found."""

import pytest

from fleetfront.spaces.catalogue import load_space, space_names
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.spaces import SPACE_CHECKS, SPACE_FAULTS, faulty_space


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", space_names())
def test_every_space_conforms(name, check):
    check(load_space(name))


@pytest.mark.parametrize("fault", SPACE_FAULTS)
def test_each_fault_is_found(fault):
    assert failures(SPACE_CHECKS, faulty_space(load_space("nasbench201"), fault))
