"""``fleetfront import store``: take in what was measured elsewhere, machines kept apart."""

from __future__ import annotations

from pathlib import Path

import click

from fleetfront.cli.console import echo, next_command, print_json, progress, warn
from fleetfront.cli.options import json_option, quiet_option, store_option, store_path


@click.command("store")
@click.argument("other", metavar="STORE", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Call what is that machine's own NAME-cpu, NAME-cuda:0.")
@click.option("--same-machine", is_flag=True, help="The store is this very machine's: its cpu is this cpu.")
@store_option
@json_option
@quiet_option
def import_store_command(
    other: Path, name: str | None, same_machine: bool, store: Path | None, as_json: bool, quiet: bool
) -> None:
    """All that another store holds: raw samples, campaigns, sources. Importing it again adds what is new.

    Phones keep their serials. A machine's own devices, cpu and cuda:0, and those of its hosts, ssh:pi/cpu, are told
    apart by a name for that machine. A name under which another machine is held is refused.

    \b
    Examples:
      fleetfront import store colleague/store.sqlite --as lab
      fleetfront fit --device lab-cpu
    """
    from fleetfront.errors import InputError
    from fleetfront.profilers.store.merging import described_differently, devices_in, merge_store
    from fleetfront.targets import Target

    if name and same_machine:
        raise InputError("--as and --same-machine contradict each other.", "Give one of them.")
    path, own = store_path(store), [device for device in devices_in(other) if _is_of_machine(device)]
    if own and not name and not same_machine:
        raise InputError(
            f"{other} holds measurements of {', '.join(own)}, which means another machine than here.",
            f"Name it with --as lab, and they are kept as {_named('lab', own[0])}; "
            "or give --same-machine if it is this one.",
        )
    if name:
        # What a target cannot be called is refused before anything is written.
        Target(_named(name, "cpu"), "any")
    clashing = {} if same_machine else described_differently(path, other, str)
    apart = {*own, *clashing} if name else set()

    def rename(device: str) -> str:
        return _named(name, device) if name and device in apart else device

    clashing = described_differently(path, other, rename) if name else clashing
    if clashing:
        raise InputError(
            f"{other} is of another machine: {next(iter(clashing.values()))} there.",
            f"Give {'another' if name else 'it a name with'} --as, or --same-machine if both are one all the same.",
        )
    with progress(quiet) as shown:
        found = merge_store(path, other, rename, progress=shown)
    if as_json:
        print_json(
            {"devices": list(found.devices), "new": found.rows, "known": found.known, "left_out": found.left_out}
            | {"campaigns": found.campaigns, "held_as": list(found.held_as), "damaged": found.damaged}
        )
    else:
        held = f", held here as {', '.join(found.held_as)}" if found.held_as else ""
        echo(f"{', '.join(found.devices) or 'no device'}: {found.rows} rows new, {found.known} known{held}.")
    if found.left_out:
        warn(f"{found.left_out} rows are left out: this version of fleetfront does not know their targets.")
    if found.damaged:
        warn(f"{found.damaged} rows are left out: they are damaged. A sound copy of that store brings them.")
    if found.rows:
        next_command("fleetfront devices")


def _is_of_machine(device: str) -> bool:
    """Tell whether a device's name means another one on every machine, as a host's name of one's own ssh does, too."""
    from fleetfront.profilers.kinds.base import IsOfMachine
    from fleetfront.profilers.kinds.catalogue import find_kind
    from fleetfront.profilers.remote.names import is_far, split_far

    far = split_far(device) if is_far(device) else None
    return isinstance(find_kind(device if far is None else far.inner), IsOfMachine)


def _named(name: str, device: str) -> str:
    """A device of the machine ``name``, those behind its hosts with the host: ``lab-cpu``, ``lab-pi-cuda:0``."""
    from fleetfront.profilers.remote.names import is_far, split_far

    far = split_far(device) if is_far(device) else None
    return f"{name}-{device}" if far is None else f"{name}-{far.host.replace('@', '_at_')}-{far.inner}"
