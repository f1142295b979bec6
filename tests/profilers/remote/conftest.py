"""Hosts that are this machine, and no adb server of the user's."""

from tests.adbd.fixtures import no_adb_server
from tests.far_hosts.fixtures import hosts

__all__ = ["hosts", "no_adb_server"]
