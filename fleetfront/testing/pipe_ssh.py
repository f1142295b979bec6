"""Stand in for ssh where every host is this machine: ``FLEETFRONT_SSH="python -m fleetfront.testing.pipe_ssh"``.

Each host has a workspace of its own, ``$FLEETFRONT_HOSTS/HOST``, where ``links/PID`` names a living link by this
process and holds the process of its command, so that a test can end either.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

HOSTS, LINKS = "FLEETFRONT_HOSTS", "links"
_SSH_FAILED, _NOT_FOUND = 255, 127


def main(arguments: Sequence[str]) -> int:
    """Run the command behind ``-- HOST`` here, pass bytes both ways, and end with its code as ssh does."""
    host, command = arguments[arguments.index("--") + 1 :]
    home = Path(os.environ[HOSTS]) / host
    (home / LINKS).mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "FLEETFRONT_HOME": str(home)},
            start_new_session=True,
        )
    except OSError as error:
        sys.stderr.write(f"{shlex.split(command)[0]}: {error.strerror}\n")
        return _NOT_FOUND
    listed = home / LINKS / str(os.getpid())
    listed.write_text(str(process.pid))
    if process.stdin is None or process.stdout is None:
        return _SSH_FAILED
    threading.Thread(target=_pass, args=(0, process.stdin.fileno()), daemon=True).start()
    _pass(process.stdout.fileno(), 1)
    code = process.wait()
    listed.unlink(missing_ok=True)
    return code if code >= 0 else _SSH_FAILED


def _pass(reading: int, writing: int) -> None:
    """Pass bytes on until either end is closed, and close the other then."""
    try:
        while data := os.read(reading, 1 << 16):
            while data:
                data = data[os.write(writing, data) :]
    except OSError:
        pass
    finally:
        if writing > 1:
            os.close(writing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
