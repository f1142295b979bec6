"""Run a user's Python file: import it with what lies beside it, and say in a line why it fails."""

from __future__ import annotations

import ast
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


#: This package is no file of a user's, where it lies beside one.
_OURSELVES = __name__.partition(".")[0]
#: File beside a user's -> nanoseconds of its last change when it was last imported or read here.
_CHANGED: dict[Path, int] = {}
#: File -> what it was seen to import in ways that its text does not show.
_SEEN: dict[Path, set[Path]] = {}


@contextlib.contextmanager
def watched_imports(path: Path) -> Iterator[set[Path]]:
    """The files beside a user's file, or in packages there, that it imports, itself left out: whole when this ends.

    They are found in its text, and in that of what it imports; what else is imported while this lasts counts, too, and
    what other files of the folder import does not. Of them, those that changed since they were imported are so anew.
    """
    folder, found = path.resolve().parent, set[Path]()
    for file in _imported(path.resolve(), folder):
        if _CHANGED.get(file, changed := file.stat().st_mtime_ns) != changed:
            for name in [name for name, module in list(sys.modules.items()) if _origin(module) == file]:
                del sys.modules[name]
    before = set(sys.modules)
    yield found
    new = {name: _origin(module) for name, module in list(sys.modules.items()) if name not in before}
    seen = _SEEN.setdefault(path.resolve(), set())
    seen |= {one for name, one in new.items() if one is not None and _lies_beside(name, one, folder)}
    found |= _imported(path.resolve(), folder) | {one for one in seen if one.is_file()}
    _CHANGED.update({one: one.stat().st_mtime_ns for one in found})


def _origin(module: object) -> Path | None:
    origin = getattr(module, "__file__", None)
    return Path(origin) if isinstance(origin, str) and origin.endswith(".py") else None


def _lies_beside(name: str, origin: Path, folder: Path) -> bool:
    """Tell whether a module is one of ``folder``, rather than of what is installed somewhere below it."""
    top = name.partition(".")[0]
    return (
        top != _OURSELVES
        and origin.is_relative_to(folder)
        and origin.relative_to(folder).parts[0] in (top, f"{top}.py")
    )


def _imported(path: Path, folder: Path) -> set[Path]:
    """Files under ``folder`` that the text of a file, and of what it imports, names."""
    found, left = set[Path](), [path]
    while left:
        file = left.pop()
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # running it says so
        named = {one for node in ast.walk(tree) for one in _named(node, file, folder)}
        left += named - found - {path}
        found |= named - {path}
    return found


def _named(node: ast.AST, file: Path, folder: Path) -> Iterator[Path]:
    """The files under ``folder`` that a statement of ``file`` imports."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (steps := alias.name.split("."))[0] != _OURSELVES:
                yield from _files_of(folder, steps)
    elif isinstance(node, ast.ImportFrom):
        start = folder if not node.level else file.parents[node.level - 1]
        if not start.is_relative_to(folder):
            return
        steps = node.module.split(".") if node.module else []
        if not node.level and steps[:1] == [_OURSELVES]:
            return
        for alias in node.names:
            yield from _files_of(start, [*steps, alias.name])


def _files_of(start: Path, steps: list[str]) -> Iterator[Path]:
    """The packages on the way of a dotted name, and the module at its end."""
    for step in steps:
        if (module := start / f"{step}.py").is_file():
            yield module
            return
        start = start / step
        if (package := start / "__init__.py").is_file():
            yield package
        elif not start.is_dir():
            return
