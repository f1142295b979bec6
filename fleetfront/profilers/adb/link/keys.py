"""The user's ADB key: the same ``~/.android/adbkey`` that ``adb`` uses, made if there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from fleetfront.errors import InputError, missing
from fleetfront.progress import SILENT, Progress


class Signer(Protocol):
    """What the hand-shake needs of a key."""

    def Sign(self, data: bytes) -> bytes:
        """The signature of a daemon's 20-byte token."""

    def GetPublicKey(self) -> str | bytes:
        """The public key in ADB's own form, as the device keeps it."""


def default_key() -> Path:
    """``$ANDROID_USER_HOME/adbkey`` or ``~/.android/adbkey``. Raises InputError for an account without a home."""
    folder = os.environ.get("ANDROID_USER_HOME")
    try:
        return (Path(folder) if folder else Path.home() / ".android") / "adbkey"
    except RuntimeError as error:
        raise InputError(
            "This account has no home directory to keep an adb key in.", "Set ANDROID_USER_HOME to a folder."
        ) from error


def load_or_create_key(path: Path | None = None, progress: Progress = SILENT) -> Signer:
    """The key at ``path`` (the user's by default). A missing one is made, readable by the user alone, and that is said.

    Raises:
        MissingDependency: adb-shell is not installed.
        InputError: the key cannot be read or written.
    """
    try:
        from adb_shell.auth.keygen import keygen
        from adb_shell.auth.sign_pythonrsa import PythonRSASigner
    except ImportError as error:
        raise missing("adb-shell", "mobile", "Reaching a device without an adb server") from error
    path = path or default_key()
    public = path.with_name(path.name + ".pub")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            previous = os.umask(0o077)
            try:
                keygen(str(path))
            finally:
                os.umask(previous)
            progress.note(f"Made a new ADB key, {path}. The device will ask whether to allow it: accept on its screen.")
        signer: Signer = PythonRSASigner(public.read_text() if public.exists() else "", path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"The ADB key {path} cannot be used ({error}).",
            "Check its permissions, or move it away: a new one is made.",
        ) from error
    return signer
