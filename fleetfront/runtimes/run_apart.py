"""Run a model file of somebody else's on given inputs in a process of its own: a crash, an endless loop or a hunger for
memory ends with it.

Requests and answers are ``.npz`` files, so that nothing that the process says is more than numbers:
``python -m fleetfront.runtimes.run_apart RUNTIME FILE INPUTS.npz OUTPUTS.npz``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.errors import FileError, FleetfrontError, InputError
from fleetfront.runtimes.base import Session, native_words
from fleetfront.runtimes.catalogue import load_runtime, places

Arrays = Mapping[str, NDArray[Any]]

#: Seconds for opening a file and a few inferences.
LONGEST_S = 120.0
#: What a process may address: Python, a runtime and 64 MiB for each of its threads; weights are held as file, as read
#: and as packed.
_MOST_MEMORY, _TIMES_FILE = 12 << 30, 8
#: Of all outputs together; test vectors hold fewer.
MOST_OUTPUT_BYTES = 64 << 20
#: Between the number of an inference and a tensor's name.
_SEPARATOR = ":"
_REFUSED = "refused"


def run_apart(path: Path, runtime: str, feeds: Sequence[Arrays], longest_s: float = LONGEST_S) -> list[Arrays]:
    """The outputs by name of each inference; inputs of one image are repeated where the file wants a larger batch.

    Raises:
        MissingDependency: the runtime is not installed.
        InputError: the file cannot be opened or run on these inputs.
        FileError: the runtime crashed on it, did not end in time, or gave more than ``MOST_OUTPUT_BYTES``.
    """
    load_runtime(runtime).version()
    with tempfile.TemporaryDirectory() as held:
        inputs, outputs = Path(held) / "inputs.npz", Path(held) / "outputs.npz"
        numbered = [(place, *item) for place, one in enumerate(feeds) for item in one.items()]
        write_arrays(inputs, {f"{place}{_SEPARATOR}{name}": array for place, name, array in numbered})
        # -P: a module that lies in the present folder, perhaps the bundle itself, must not be imported.
        module = ("-P", "-m", "fleetfront.runtimes.run_apart")
        command = [sys.executable, *module, runtime, str(path.resolve()), str(inputs), str(outputs)]
        quiet = subprocess.DEVNULL
        try:
            status = subprocess.run(command, stdout=quiet, stderr=quiet, timeout=longest_s, check=False).returncode
        except subprocess.TimeoutExpired as error:
            raise FileError(f"{path.name} did not end in {longest_s:g} s in {runtime}.", "Do not use it.") from error
        if not outputs.exists():
            raise FileError(f"{runtime} crashed on {path.name} (exit status {status}).", "Do not use it here.")
        try:
            answers = read_arrays(outputs, MOST_OUTPUT_BYTES)
        except ValueError as error:
            raise FileError(f"{runtime} gave no whole answer on {path.name} ({error}).", "Do not use it.") from error
    if _REFUSED in answers:
        message, remedy = (str(text) for text in answers[_REFUSED])
        raise InputError(message, remedy)
    found: list[dict[str, NDArray[Any]]] = [{} for _ in feeds]
    for name, array in answers.items():
        place, _, output = name.partition(_SEPARATOR)
        found[int(place)][output] = array
    return list(found)


def _run(session: Session, feeds: Arrays) -> Arrays:
    sizes = {port.name: port.shape[0] for port in session.inputs if port.shape}
    batch = next((size for size in sizes.values() if isinstance(size, int)), 1)
    is_single = batch > 1 and all(array.shape[:1] == (1,) for array in feeds.values())
    fed = {name: np.repeat(array, batch, axis=0) if is_single else array for name, array in feeds.items()}
    results = session.run(fed)
    return {name: array[:1] if is_single else array for name, array in results.items()}


def _bound_memory(runtime: str, path: Path) -> None:
    """Keep this process from taking all memory, unless it needs a driver: those address far more than they use."""
    if runtime not in places("cpu"):
        return
    with contextlib.suppress(ImportError, OSError, ValueError):  # a lower bound is set already, or none can be
        import resource

        allowed = _MOST_MEMORY + _TIMES_FILE * path.stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def main(runtime: str, path: str, inputs: str, outputs: str) -> None:
    """Answer one request."""
    answers: dict[str, Any] = {}
    _bound_memory(runtime, Path(path))
    try:
        session = load_runtime(runtime).open(Path(path))
        for name, array in read_arrays(Path(inputs)).items():
            place, _, port = name.partition(_SEPARATOR)
            answers.setdefault(place, {})[port] = array
        results = {place: _run(session, feeds) for place, feeds in answers.items()}
        given = sum(array.nbytes for one in results.values() for array in one.values())
        if given > MOST_OUTPUT_BYTES:
            raise FileError(f"{Path(path).name} gives {given:,} bytes of outputs.", "No bundle of ours has so many.")
        answers = {f"{place}{_SEPARATOR}{name}": array for place, one in results.items() for name, array in one.items()}
    except FleetfrontError as error:
        answers = {_REFUSED: np.array([error.message, error.remedy])}
    # A native runtime may raise anything.
    except Exception as error:
        said = f"{Path(path).name} cannot be run on its test vectors in {runtime}: {native_words(error)}."
        answers = {_REFUSED: np.array([said, "Another version of the runtime may do."])}
    write_arrays(Path(outputs), answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
