"""Run a user's Python file: import it with what lies beside it, and say in a line why it fails."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError

#: Characters of a foreign reason.
_LONGEST = 600


@contextlib.contextmanager
def neighbours(path: Path) -> Iterator[None]:
    """The files beside a user's file can be imported, as when it is run, and what it prints goes to stderr."""
    folder = str(path.resolve().parent)
    for beside in Path(folder).glob("*.py"):
        # Of another user's folder and never to be found again, a module of that name would be taken for this one.
        origin = getattr(sys.modules.get(beside.stem), "__file__", None)
        if origin is not None and str(Path(origin).parent) not in (folder, *sys.path):
            del sys.modules[beside.stem]
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what users' code prints is not the command's answer
            yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def import_file(path: Path) -> Any:
    """The module of a Python file, run anew. Raises InputError if it is none or fails."""
    module_name = f"fleetfront_user_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"{path} is not a Python file.", "Write module.py:factory.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported: {reason_of(error)}", "Repair it.") from error
    return module


def reason_of(error: BaseException) -> str:
    """The first paragraph of what began it: exporters wrap their reasons in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    paragraph = " ".join(str(error).strip().split("\n\n")[0].split())
    return f"{type(error).__name__}: {paragraph}"[:_LONGEST]
