"""Find runtimes by name, by their names on a kind of device, and by the files they open.

A package offers a runtime through an entry point of the group ``fleetfront.runtimes``: its value is a ``RuntimeFacts``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from shlex import quote

from fleetfront.errors import InputError, unknown
from fleetfront.plugins import load_plugin, plugin_names
from fleetfront.runtimes.base import Runtime
from fleetfront.runtimes.facts import OnDevice, RuntimeFacts
from fleetfront.runtimes.litert.facts import FACTS as LITERT
from fleetfront.runtimes.litert.facts import TENSORFLOW_LITE, TFLITE_RUNTIME
from fleetfront.runtimes.onnxruntime.facts import FACTS as ONNXRUNTIME
from fleetfront.runtimes.tensorrt.facts import FACTS as TENSORRT
from fleetfront.runtimes.torch.facts import FACTS as TORCH
from fleetfront.targets import PRECISIONS, Target, split_spelled

GROUP = "fleetfront.runtimes"
#: The first that a kind of device has is the one that serves where the user names none.
_OWN = (LITERT, TORCH, ONNXRUNTIME, TENSORRT, TFLITE_RUNTIME, TENSORFLOW_LITE)
_OF_TORCH = (
    "Name the function that makes its network, and time what that writes: fleetfront export --torch FILE.py:FACTORY\n"
)
_OF_KERAS = "Write it as a .tflite: fleetfront export --keras {}\n"
#: Endings of files that hold networks for programs, not for runtimes -> how to make a file for these.
_WRITTEN_ANEW = {
    **dict.fromkeys(("pt", "pth", "ckpt", "safetensors", "bin"), _OF_TORCH),
    **dict.fromkeys(("keras", "h5"), _OF_KERAS.format("MODEL")),
    "pb": _OF_KERAS.format("FOLDER, the folder of the SavedModel"),
}


@cache
def all_facts() -> Mapping[str, RuntimeFacts]:
    """Name -> record of every runtime, installed or not; fleetfront's own come before packages' of the same name.

    Raises:
        InputError: a package's entry point does not load or is no record.
    """
    found = {facts.name: facts for facts in _OWN}
    for name in plugin_names(GROUP):
        if name not in found:
            found[name] = _from_package(name)
    return found


def facts_of(runtime: str) -> RuntimeFacts:
    """The record of a runtime under any of its names, e.g. LiteRT's for ``tflite-gpu``.

    Raises:
        InputError: there is none of that name; the message has the nearest.
    """
    found = find_facts(runtime)
    if found is None:
        raise unknown("runtime", runtime, (name for facts in all_facts().values() for name in facts.names))
    return found


def find_facts(runtime: str) -> RuntimeFacts | None:
    """The same, or None: imported measurements are of runtimes that nobody here knows."""
    return next((facts for facts in all_facts().values() if runtime in facts.names), None)


def places(kind: str) -> Mapping[str, OnDevice]:
    """Runtime of a target -> what it is on a kind of device (``cpu``, ``cuda``, ``adb``)."""
    return {place.name: place for facts in all_facts().values() for place in facts.on.get(kind, ())}


def place_of(kind: str, runtime: str) -> OnDevice:
    """The place of a target's runtime on a kind of device.

    Raises:
        InputError: such devices have no runtime of that name; the message has the nearest.
    """
    known = places(kind)
    if runtime not in known:
        raise unknown(f"runtime of a device of the kind {kind}", runtime, known)
    return known[runtime]


def check_parts(parts: Iterable[str], targets: Iterable[Target] = ()) -> None:
    """Raise InputError for a part of a narrowed device, ``cpu/onnxruntime/int8``, that no target has, with the nearest;
    parts of ``targets`` are known beside runtimes and precisions.
    """
    known = {name for facts in all_facts().values() for name in facts.names} | set(PRECISIONS)
    known |= {part for target in targets for part in split_spelled(str(target))[1:]}
    for part in parts:
        if part not in known and not re.fullmatch(r"[tb]\d+|b\?", part, re.A):
            raise unknown(
                "runtime or precision", part, (name for name in known if not re.fullmatch(r"[tb][\d?]+", name))
            )


def options_of(name: str) -> str:
    """The options of ``profile`` that name a device, plain or narrowed: ``cpu/onnxruntime/int8``, ``cuda:0/b64``."""
    device, *parts = split_spelled(name)
    runtimes = [part for part in parts if find_facts(part) is not None]
    precisions = [part for part in parts if part in PRECISIONS]
    words = [f"--device {quote(device)}", *(f"--runtime {quote(part)}" for part in runtimes)]
    counts = [(part[0], part[1:]) for part in parts if re.fullmatch("[tb][0-9]+", part)]
    words += [f"--precision {part}" for part in precisions]
    return " ".join([*words, *(f"--{'threads' if kind == 't' else 'batch'} {count}" for kind, count in counts)])


def load_runtime(name: str) -> Runtime:
    """The runtime of that name, to open files on this machine. Loads nothing heavy until a file is opened.

    Raises:
        InputError: there is none of that name; the message has the nearest.
    """
    if name not in all_facts():
        raise unknown("runtime", name, all_facts())
    module, code = all_facts()[name].code.split(":")
    made: Runtime = getattr(import_module(module), code)()
    return made


def runtime_for_file(path: Path) -> Runtime:
    """The runtime that opens files with the ending of ``path``, the first of them that is installed.

    Raises:
        InputError: none does.
    """
    file_format = path.suffix.lower().removeprefix(".")
    usual = facts_for_format(file_format, f" ({path})")
    serving = (facts for facts in all_facts().values() if file_format in facts.formats)
    return load_runtime(next((facts for facts in serving if facts.packages[0].installed()), usual).name)


def facts_for_format(file_format: str, where: str = "") -> RuntimeFacts:
    """The record of the runtime that opens a kind of file, named by its suffix without the dot.

    Raises:
        InputError: none does; ``where`` goes into the message.
    """
    for facts in all_facts().values():
        if file_format in facts.formats:
            return facts
    known = dict.fromkeys(f".{ending}" for facts in all_facts().values() for ending in facts.formats)
    raise InputError(
        f"No runtime here opens files that end in '.{file_format}'{where}.",
        f"{_WRITTEN_ANEW.get(file_format, '')}Known: {', '.join(known)}.",
    )


def _from_package(name: str) -> RuntimeFacts:
    plugin = load_plugin(GROUP, name, "runtime")
    if plugin is None or not isinstance(plugin.value, RuntimeFacts) or plugin.value.name != name:
        origin = plugin.origin if plugin else f"Runtime {name!r}"
        raise InputError(f"{origin} is no RuntimeFacts of that name.", "Implement fleetfront.runtimes.facts.")
    return plugin.value
