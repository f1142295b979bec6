"""Hosts that are this machine, and no adb server of the user's."""

from tests.adbd.fixtures import no_adb_server
from tests.far_hosts.fixtures import desk, hosts

__all__ = ["desk", "hosts", "no_adb_server"]
