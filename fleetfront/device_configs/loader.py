"""Finding and reading device configs: the shipped YAML files, and the user's own, which may override them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fleetfront.device_configs.facts import DeviceConfig, Fact
from fleetfront.errors import InputError, unknown
from fleetfront.targets import Target
from fleetfront.workspace import config_folder

if TYPE_CHECKING:
    from fleetfront.device_configs.schema import DeviceModel
    from fleetfront.device_configs.yaml_file import Document

_SHIPPED = Path(__file__).parent

#: A config with every fact and a page of notes is 4 KiB.
_MAX_BYTES = 64 * 1024

#: Mistakes shown at once; more would hide the first.
_SHOWN = 5

_NEEDS_OWN = ("name", "title")


def device_folders() -> list[Path]:
    """Folders searched for ``NAME.yaml``, first wins: ``FLEETFRONT_DEVICES``, the user's config folder, the shipped.

    Raises InputError if ``FLEETFRONT_DEVICES`` names something that is not a folder.
    """
    folders = []
    for text in filter(None, os.environ.get("FLEETFRONT_DEVICES", "").split(os.pathsep)):
        folder = Path(os.path.expanduser(text))
        if not folder.is_dir():
            raise InputError(
                f"FLEETFRONT_DEVICES names {text!r}, which is not a folder.",
                f"Create it, or correct the variable (several folders are separated by {os.pathsep!r}).",
            )
        folders.append(folder)
    settings = config_folder()
    if settings is not None and (settings / "devices").is_dir():
        folders.append(settings / "devices")
    return [*folders, _SHIPPED]


def device_names() -> list[str]:
    """The names of all device configs, sorted. Files are not opened, so a broken one is listed too."""
    return sorted({path.stem for folder in device_folders() for path in folder.glob("*.yaml") if path.is_file()})


def load_device(name: str) -> DeviceConfig:
    """The config called ``name``, or the one that gives ``name`` as an alias.

    Raises InputError for an unknown name (with the near misses) and for a file that breaks the schema (with file, line,
    key and what was expected).
    """
    config = find_devices([name]).get(name)
    if config is None:
        raise unknown("device", name, device_names())
    return config


def find_devices(names: Sequence[str]) -> dict[str, DeviceConfig]:
    """The configs of those names (or aliases) that have one. Files are read for aliases once a process, unless they
    change.

    Raises InputError if the file of a name breaks the schema.
    """
    paths = {name: next(_files(name), None) for name in dict.fromkeys(names)}
    found = {name: _read(path) for name, path in paths.items() if path is not None}
    if len(found) < len(paths):
        for known in device_names():
            path = next(_files(known))
            wanted = [name for name in _aliases(path, _stamp(path)) if name in paths and name not in found]
            config = _read_quietly(path) if wanted else None
            if config is not None:
                found |= dict.fromkeys(wanted, config)
    return found


def load_file(path: Path) -> DeviceConfig:
    """The config in one YAML file wherever it lies; ``like`` is looked up in the usual folders."""
    return _read(path)


def _files(name: str) -> Iterator[Path]:
    for folder in device_folders():
        path = folder / f"{name}.yaml"
        if Path(name).name == name and path.is_file():
            yield path


def _stamp(path: Path) -> tuple[int, int]:
    """Differs where a file was written anew."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1024)
def _aliases(path: Path, stamp: tuple[int, int]) -> tuple[str, ...]:
    config = _read_quietly(path)
    return () if config is None else tuple(config.aliases)


def _read_quietly(path: Path) -> DeviceConfig | None:
    """None for a broken file: somebody who asks for another device is not stopped by it."""
    try:
        return _read(path)
    except InputError:
        return None


def _read(path: Path) -> DeviceConfig:
    from fleetfront.device_configs.schema import problems

    document = _document(path, _stamp(path))
    model, found = problems(_merged(document, path))
    if model is None:
        lines = sorted((document.line(at), ".".join(str(part) for part in at), text) for at, text in found)
        shown = [f"line {line}: {key}: {text}" for line, key, text in lines[:_SHOWN]]
        more = f" (and {len(lines) - _SHOWN} more)" if len(lines) > _SHOWN else ""
        raise InputError(
            f"{path} is not a device config. {'; '.join(shown)}{more}.",
            "Correct these lines; docs/devices.md describes every key.",
        )
    if model.name != path.stem:
        raise InputError(
            f"{path}: line {document.line(('name',))}: name is {model.name!r}, but the file is called {path.name}.",
            f"Call the file {model.name}.yaml, or write name: {path.stem}.",
        )
    return _config(model, path)


@functools.lru_cache(maxsize=1024)
def _document(path: Path, stamp: tuple[int, int]) -> Document:
    from fleetfront.device_configs.yaml_file import read_yaml

    document = read_yaml(path, _MAX_BYTES)
    if not isinstance(document.value, dict):
        raise InputError(f"{path} is not a device config: it holds no keys.", "Write lines such as name: my_phone.")
    return document


def _merged(document: Document, path: Path) -> dict[str, Any]:
    """The file's own keys laid over those of the device that ``like`` names; one level only."""
    own: dict[str, Any] = dict(document.value)
    like = own.pop("like", None)
    if like is None:
        return own
    where = f"{path}: line {document.line(('like',))}"
    if not isinstance(like, str):
        raise InputError(f"{where}: like is {like!r}.", "Write the name of another device.")
    base_path = next((other for other in _files(like) if other.resolve() != path.resolve()), None)
    if base_path is None:
        error = unknown("device", like, (name for name in device_names() if name != path.stem))
        raise InputError(f"{where}: {error.message}", error.remedy)
    base: dict[str, Any] = dict(_document(base_path, _stamp(base_path)).value)
    if "like" in base:
        raise InputError(f"{where}: {like!r} is itself like {base['like']!r}.", f"Write like: {base['like']}.")
    try:
        _read(base_path)
    except InputError as error:
        # Its mistakes would otherwise be told as if they stood in this file.
        raise InputError(f"{where}: {like!r} cannot be taken over: {error.message}", error.remedy) from error
    merged = {key: value for key, value in base.items() if key not in (*_NEEDS_OWN, "aliases")} | own
    for key in ("target", "facts"):
        if isinstance(base.get(key), dict) and isinstance(own.get(key), dict):
            merged[key] = base[key] | own[key]
    return merged


def _config(model: DeviceModel, path: Path) -> DeviceConfig:
    target = model.target
    return DeviceConfig(
        name=model.name,
        title=model.title,
        kind=model.kind,
        target=Target(model.name, target.runtime, target.precision, target.threads, target.batch, target.delegate),
        setting=model.setting,
        facts=MappingProxyType({key: Fact(fact.value, fact.source) for key, fact in model.facts.items()}),
        aliases=tuple(model.aliases),
        timing_resolution_ms=model.timing_resolution_ms,
        notes=model.notes,
        path=str(path),
    )
