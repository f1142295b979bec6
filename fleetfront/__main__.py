"""``python -m fleetfront`` is the same as the ``fleetfront`` script."""

from fleetfront.cli.main import entry_point

entry_point()
