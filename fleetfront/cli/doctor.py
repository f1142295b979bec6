"""``fleetfront doctor``: what is installed here and what each part of it is for; downloads only when asked to."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict

import click

from fleetfront import __version__
from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import json_option, quiet_option
from fleetfront.errors import DeviceError, InputError, MissingDependency
from fleetfront.workspace import Workspace


@click.command()
@click.option("--fetch-weights", metavar="SPACE", help="Download the published supernet weights of a space.")
@click.option(
    "--fetch-benchmark-model",
    is_flag=False,
    flag_value="",
    metavar="[DEVICE|ABI[@VERSION]]",
    help="Download Google's benchmark_model, for the attached phone, adb:HOST:PORT or an ABI; of a release of LiteRT.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 if anything optional is missing.")
@json_option
@quiet_option
def doctor(
    fetch_weights: str | None, fetch_benchmark_model: str | None, strict: bool, as_json: bool, quiet: bool
) -> None:
    """Check what is installed; fetch weights on request.

    Nothing is downloaded unless a --fetch option asks for it; the file's SHA-256 is recorded at the first download and
    verified ever after.

    \b
    Examples:
      fleetfront doctor
      fleetfront doctor --json
      fleetfront doctor --fetch-weights ofa-mbv3-w1.2
      fleetfront doctor --fetch-benchmark-model
      fleetfront doctor --fetch-benchmark-model adb:192.168.1.7:5555
      fleetfront doctor --fetch-benchmark-model arm64-v8a@2.1.5
    """
    if fetch_weights is not None:
        _fetch(fetch_weights, as_json, quiet)
        return
    if fetch_benchmark_model is not None:
        _fetch_benchmark_model(fetch_benchmark_model, as_json, quiet)
        return
    from fleetfront.pipelines.gpu_parts import gpu_parts
    from fleetfront.pipelines.packages import line_for, optional_packages

    packages = optional_packages()
    absent = [package for package in packages if package.version is None]
    parts = gpu_parts()
    if as_json:
        print_json(
            {
                "fleetfront": __version__,
                "python": platform.python_version(),
                "workspace": str(Workspace.default().root),
                "packages": [asdict(package) for package in packages],
                "gpu": [asdict(part) for part in parts],
            }
        )
    else:
        hint(f"fleetfront {__version__}, Python {platform.python_version()} ({sys.executable})")
        hint(f"Measurements and models: {Workspace.default().root}")
        for damage in _damage():
            warn(damage)
        print_table(
            ("package", "version", "needed for"), [(p.name, p.version or "missing", p.purpose) for p in packages]
        )
        if absent:
            hint(f"Missing: {line_for(absent)}")
        hint("\nFor GPUs of this machine:")
        print_table(("part", "found", "needed for"), [(p.name, p.found or "missing", p.purpose) for p in parts])
        for line in dict.fromkeys(part.install for part in parts if not part.is_there):
            hint(f"Missing: {line}")
    if strict and absent:
        raise MissingDependency(f"{len(absent)} optional packages are missing.", f"Run: {line_for(absent)}")
    next_command(line_for(absent) if absent else "fleetfront quickstart")


def _damage() -> list[str]:
    """Those of the user's own measurements that cannot be read; nothing where there are none."""
    from fleetfront.profilers.store.store import Store

    path = Workspace.default().store
    if not path.is_file():
        return []
    try:
        with Store(path, read_only=True) as store:
            return store.find_damage()
    except InputError as error:
        return [str(error)]


def _fetch(space: str, as_json: bool, quiet: bool) -> None:
    from fleetfront.spaces.supernet.published import PUBLISHED, fetch_weights

    if space in PUBLISHED:
        hint(f"From {PUBLISHED[space].url} ({PUBLISHED[space].licence})")
    with progress(quiet) as shown:
        path = fetch_weights(space, Workspace.default(), shown)
    if as_json:
        print_json({"space": space, "path": str(path)})
    else:
        echo(str(path))
    next_command(f"fleetfront deploy --knee --weights {path}")


def _fetch_benchmark_model(abi: str, as_json: bool, quiet: bool) -> None:
    from fleetfront.profilers.adb.open_agent import PREFIX, describe_adb_device
    from fleetfront.profilers.adb.runners.fetch import fetch_benchmark_model
    from fleetfront.profilers.kinds.catalogue import find_kind

    with progress(quiet) as shown:
        try:
            named, _, version = abi.partition("@")
            device = abi if find_kind(abi) is not None else f"{PREFIX}{abi}" if ":" in abi else ""
            if device:
                named, version = "", ""
            wanted = named or describe_adb_device(device or "adb", progress=shown).abis[0]
        except DeviceError as error:
            raise DeviceError(
                error.message,
                f"{error.remedy} Here: --fetch-benchmark-model DEVICE, or name the ABI: "
                "--fetch-benchmark-model arm64-v8a (most phones).",
            ) from error
        found = fetch_benchmark_model(wanted, Workspace.default().cache, version=version, progress=shown)
    if as_json:
        print_json({"abi": wanted, "path": str(found.path), "sha256": found.sha256, "url": found.url})
    else:
        echo(f"{found.path}  sha256 {found.sha256}")
        if found.replaced is not None:
            hint(f"It replaces the build {found.replaced[:12]}: what is profiled with it begins anew.")
    next_command("fleetfront profile --device adb:SERIAL")
