"""Find what the last verb left for the next: the newest front, and weights that are known for a space."""

from __future__ import annotations

import json
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.chosen_classes import split_classes
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.spaces.supernet.published import PUBLISHED, weights_path
from fleetfront.workspace import Workspace

_FRONTS = "fronts"


def remember_fronts(folder: Path, workspace: Workspace) -> None:
    """Note that the newest front lies in ``folder``. Raises InputError if the workspace cannot be written."""
    write_json(workspace.latest, {_FRONTS: str(folder.absolute())})


def latest_fronts(workspace: Workspace) -> Path:
    """The folder of the newest front. Raises InputError if there is none (any more)."""
    remedy = "Run: fleetfront search --device cpu, or name one with --front."
    try:
        folder = Path(json.loads(workspace.latest.read_text())[_FRONTS])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("No front has been searched yet.", remedy) from error
    if not folder.exists():
        raise InputError(f"The newest front, {folder}, is gone.", remedy)
    return folder


def known_weights(space: str, workspace: Workspace, accuracy_source: str = "") -> Path:
    """Weights of a space: those of an accuracy source ``supernet:PATH``, else fetched ones, else the newest trained.

    Raises InputError with the command that gets some if there are none.
    """
    kind, _, measured_with = split_classes(accuracy_source)[0].partition(":")
    if kind == "supernet" and Path(measured_with).is_file():
        return Path(measured_with)
    if weights_path(space, workspace).is_file():
        return weights_path(space, workspace)
    trained = sorted(workspace.weights.glob(f"{space}-*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    trained = [path for path in trained if not path.name.endswith(".state.safetensors")]
    if trained:
        return trained[-1]
    get = (
        f"fleetfront doctor --fetch-weights {space}"
        if space in PUBLISHED
        else f"fleetfront train FOLDER --space {space}"
    )
    raise InputError(
        f"There are no weights of {space}.", f"Run: {get}, or give --weights FILE, or --random-weights for speed alone."
    )
