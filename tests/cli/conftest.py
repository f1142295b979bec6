"""The devices over ADB that commands are tried on."""

from tests.adbd.fixtures import adb_server, adbd_root, daemon, make_daemon, models, no_adb_server, phone

__all__ = ["adb_server", "adbd_root", "daemon", "make_daemon", "models", "no_adb_server", "phone"]
