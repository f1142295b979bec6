"""Run a user's function for architectures, or their genes, that come as lines of JSON, and answer with lines of JSON:
``python -m fleetfront.predictors.accuracy.call_worker FILE FUNCTION``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

#: Of an exception's text.
_LONGEST = 500


def main(file: str, name: str) -> None:
    """Answer until the questions end; what the user's code prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # As where the file is run: what lies beside it can be imported.
    sys.path.insert(0, str(Path(file).parent))
    function = _loaded(Path(file), name, answers)
    if function is None:
        return
    _tell(answers, {})
    for line in sys.stdin:
        _tell(answers, _asked(function, json.loads(line)))


def _loaded(file: Path, name: str, answers: TextIO) -> Callable[[str], Any] | None:
    try:
        found = importlib.util.spec_from_file_location(file.stem, file)
        if found is None or found.loader is None:
            raise ImportError("it is no Python file")
        module = importlib.util.module_from_spec(found)
        sys.modules[file.stem] = module
        found.loader.exec_module(module)
    # A user's file may raise anything.
    except BaseException as error:
        _tell(answers, {"error": _spelled(error)})
        return None
    function = getattr(module, name, None)
    if not callable(function):
        has = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        _tell(answers, {"error": f"it has no function {name!r}, only {', '.join(has) or 'none'}"})
        return None
    return function  # type: ignore[no-any-return]


def _asked(function: Callable[..., Any], arch: str | dict[str, Any]) -> dict[str, Any]:
    try:
        told = function(**arch) if isinstance(arch, dict) else function(arch)
        if isinstance(told, Mapping):
            return {"accuracy": {str(name): float(value) for name, value in told.items()}}
        return {"accuracy": float(told)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return {"error": _spelled(error)}


def _spelled(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST]


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
