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

    Phones keep their serials. A machine's own devices, cpu and cuda:0, are told apart by a name for that machine.

    \b
    Examples:
      fleetfront import store colleague/store.sqlite --as lab
      fleetfront fit --device lab-cpu
    """
    from fleetfront.errors import InputError
    from fleetfront.profilers.kinds.base import IsOfMachine
    from fleetfront.profilers.kinds.catalogue import find_kind
    from fleetfront.profilers.store.merging import devices_in, merge_store
    from fleetfront.targets import Target

    if name and same_machine:
        raise InputError("--as and --same-machine contradict each other.", "Give one of them.")
    own = [device for device in devices_in(other) if isinstance(find_kind(device), IsOfMachine)]
    if own and not name and not same_machine:
        raise InputError(
            f"{other} holds measurements of {', '.join(own)}, which means another machine than here.",
            f"Name it with --as lab, and they are kept as lab-{own[0]}; or give --same-machine if it is this one.",
        )
    prefix = f"{name}-" if name else ""
    if name:
        # What a target cannot be called is refused before anything is written.
        Target(f"{prefix}cpu", "any")
    with progress(quiet) as shown:
        found = merge_store(
            store_path(store), other, lambda device: prefix + device if device in own else device, progress=shown
        )
    if as_json:
        print_json(
            {
                "devices": list(found.devices),
                "new": found.rows,
                "known": found.known,
                "left_out": found.left_out,
                "campaigns": found.campaigns,
            }
        )
    else:
        echo(f"{', '.join(found.devices) or 'no device'}: {found.rows} rows new, {found.known} known.")
    if found.left_out:
        warn(f"{found.left_out} rows are left out: this version of fleetfront does not know their targets.")
    if found.rows:
        next_command("fleetfront devices")
