"""``fleetfront agent``: serve this machine's devices to fleetfront on another one, over a pipe."""

from __future__ import annotations

import click

from fleetfront.errors import InputError


@click.command()
@click.option("--stdio", is_flag=True, help="Speak on stdin and stdout; the only way there is.")
@click.pass_context
def agent(context: click.Context, stdio: bool) -> None:
    """Serve this machine's devices to fleetfront on another machine.

    Nobody types this: `fleetfront profile --device ssh:HOST/cpu` starts it on HOST through ssh. No port is opened, and
    the device is free again as soon as the connection ends.

    \b
    Examples:
      ssh pi fleetfront agent --stdio
    """
    if not stdio:
        raise InputError(
            "An agent speaks on stdin and stdout alone.",
            "`fleetfront profile --device ssh:HOST/cpu` starts it on HOST by itself; by hand: fleetfront agent --stdio",
        )
    from fleetfront.profilers.remote.host import serve_stdio
    from fleetfront.workspace import Workspace

    context.exit(serve_stdio(Workspace.default()))
