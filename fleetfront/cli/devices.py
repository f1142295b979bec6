"""``fleetfront devices``: what is attached, and what is known about every device."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, warn
from fleetfront.cli.options import json_option, store_option, store_path
from fleetfront.errors import FleetfrontError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetfront.pipelines.knowledge.devices import DeviceKnowledge
    from fleetfront.profilers.adb.open_agent import AdbDevice


@click.command()
@click.option("--known", is_flag=True, help="Leave out devices of which nothing is known yet.")
@click.option("--host", metavar="HOST", help="List the devices of HOST, through ssh, and nothing else.")
@store_option
@json_option
def devices(known: bool, host: str | None, store: Path | None, as_json: bool) -> None:
    """List devices and what is known about each.

    Attached phones come first, each with its state and what to do about it. Then every configured, profiled or imported
    device: where its latencies come from (measured, transferred, estimated), when, and with which error.

    \b
    Examples:
      fleetfront devices
      fleetfront devices --known --json
      fleetfront devices --host pi
    """
    if host is not None:
        _list_host(host, as_json)
        return
    from dataclasses import asdict

    from fleetfront.cli.search.text import next_search
    from fleetfront.pipelines.knowledge.devices import list_devices
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Tier
    from fleetfront.spaces.catalogue import space_names
    from fleetfront.workspace import Workspace

    attached, why_none = _attached()
    path = store_path(store)
    # Without measurements there is no store yet; one that the user names must be there.
    opened = Store(path, read_only=True) if store is not None or path.is_file() else None
    try:
        rows = [row for row in list_devices(Workspace.default(), opened) if row.tier or row.problem or not known]
    finally:
        if opened is not None:
            opened.close()
    if as_json:
        print_json({"attached": [asdict(phone) for phone in attached], "known": [row.to_json() for row in rows]})
        return
    if attached:
        phones = [(phone.name, phone.state, phone.model, phone.route, phone.remedy) for phone in attached]
        print_table(("attached", "state", "model", "through", "what to do"), phones)
        echo("")
    _show(rows)
    ready = [phone.name for phone in attached if phone.is_ready]
    if len(ready) > 1:
        hint(f"{len(ready)} devices are attached; name one, or several at once: --devices {quote(','.join(ready))}")
    if why_none:
        hint(f"\n{why_none}")
    device = ready[0] if ready else "cpu"
    # A plug-in's space may be known by its measurements alone.
    done = [row for row in rows if row.name == device and row.tier == Tier.MEASURED and row.space in space_names()]
    if done:
        next_search(f"--device {quote(device)}", done[0].space)
    else:
        next_command(f"fleetfront profile --device {quote(device)}")


def _list_host(host: str, as_json: bool) -> None:
    """Print what ``host`` has, by the names to type here."""
    from dataclasses import asdict

    from fleetfront.profilers.remote.kind import host_devices
    from fleetfront.profilers.remote.names import PREFIX
    from fleetfront.workspace import Workspace

    found = [(f"{PREFIX}{host}/{one.name}", one) for one in host_devices(host, Workspace.default())]
    if as_json:
        print_json({"host": host, "attached": [{**asdict(one), "name": name} for name, one in found]})
        return
    rows = [(name, one.state, one.model or "-", one.remedy or "-") for name, one in found]
    print_table(("device", "state", "model", "what to do"), rows)
    next_command(f"fleetfront profile --device {quote(found[0][0])}")


def _show(rows: Sequence[DeviceKnowledge]) -> None:
    cells = [
        (
            row.name,
            row.tier or "-",
            row.space or "-",
            row.target,
            "-" if row.mape is None else f"{row.mape:.1f}",
            row.when or "-",
            f"{row.how} ({row.clock} clock)" if row.clock else row.how or "-",
        )
        for row in rows
    ]
    print_table(("device", "tier", "space", "target", "MAPE %", "when", "how"), cells)
    for name, problem in dict.fromkeys((row.name, row.problem) for row in rows if row.problem):
        warn(f"{name}: {problem}")


def _attached() -> tuple[list[AdbDevice], str]:
    """The attached phones; if there are none, where was looked and what to do."""
    from fleetfront.profilers.adb.open_agent import list_adb_devices, why_none_attached

    try:
        attached = list_adb_devices()
        return attached, "" if attached else why_none_attached()
    except FleetfrontError as error:
        warn(f"Attached phones cannot be listed: {error}")
        return [], ""
