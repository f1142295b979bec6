"""The key by which devices know this machine: the one that ``adb`` uses, made once however many ask for it at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner

from fleetfront.errors import InputError
from fleetfront.files import one_at_a_time
from fleetfront.progress import Progress


def load_key(path: Path | None, progress: Progress) -> PythonRSASigner:
    """The key at ``path``, or the one that ``adb`` uses. A missing one is made, readable by the user alone, and told.

    Raises InputError for a key that cannot be read or written.
    """
    home = os.environ.get("ANDROID_USER_HOME")
    try:
        path = path or (Path(home) if home else Path.home() / ".android") / "adbkey"
        public = path.with_name(f"{path.name}.pub")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with one_at_a_time(path.parent):
                if not path.exists():
                    _make_key(path)
                    progress.note(f"Made a new ADB key, {path}. The device may ask to allow it: accept on its screen.")
        return PythonRSASigner(public.read_text() if public.exists() else "", path.read_text())
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The ADB key {path or ''} cannot be used ({error}).",
            "Check its permissions, move it away (a new one is made), or set ANDROID_USER_HOME to a folder for keys.",
        ) from error


def _make_key(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        keygen(str(made))
        made.chmod(0o600)
        # The private half last: whoever finds it finds the other.
        made.with_name(f"{path.name}.pub").replace(path.with_name(f"{path.name}.pub"))
        made.replace(path)
