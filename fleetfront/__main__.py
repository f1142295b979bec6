"""``python -m fleetfront`` is the same as the ``fleetfront`` script."""

import sys

try:
    from fleetfront.cli.main import entry_point
except ModuleNotFoundError as error:
    if error.name not in ("click", "rich"):
        raise
    # From a checkout alone; what runs there without them is told, since machines with GPUs are often offline.
    sys.stderr.write(
        f"Error: the command line needs the package {error.name}, which is not installed.\n"
        "Run: pip install click rich. GPUs can be profiled without: python benchmarks/gpu.py --keep DIR\n"
    )
    sys.exit(4)

entry_point()
