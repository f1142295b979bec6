"""Run Android's own adb daemon in its chroot on a loopback port, with a phone's folders that a test can change.

``python tests/adbd/daemon.py PORT`` keeps one running by hand until Ctrl-C or ``kill``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent

#: Below those that Linux gives to outgoing connections, one of which could take a port that is free here.
_PORTS = range(20_000, 32_000)
#: The locked files of the ports that this process has.
_held: list[TextIO] = []

# Everything is mounted in a namespace of its own, which goes away with the last process in it. $1 root, $2 the device's
# own folder, $3 port, $4 size of /data in bytes or nothing.
_START = """
set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
if [ -n "$4" ]; then mount -t tmpfs -o size="$4" tmpfs "$1/data"; else mount --bind "$2/data" "$1/data"; fi
mkdir -p "$1/data/local/tmp"
mount --bind "$2/system" "$1/system"
cd /
exec env -i PATH=/system/bin:/usr/bin:/usr/sbin ADBD_PORT="$3" \
  chroot "$1" /usr/bin/env LD_PRELOAD=/loopback.so /usr/lib/android-sdk/platform-tools/adbd
"""


def why_not() -> str | None:
    """Why the daemon cannot be run here; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the adb daemon in a chroot needs Linux and root"
    for tool in ("mmdebstrap", "unshare", "gcc"):
        if shutil.which(tool) is None and not (chroot_folder() / "ready").exists():
            return f"building the adb daemon's chroot needs {tool}"
    return None


def chroot_folder() -> Path:
    """Where the chroot is kept between runs."""
    configured = os.environ.get("FLEETFRONT_ADBD_CHROOT")
    return Path(configured) if configured else Path(tempfile.gettempdir()) / "fleetfront-adbd-trixie"


def build() -> Path:
    """The chroot, made if it is not there."""
    folder = chroot_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([str(HERE / "build.sh"), str(folder)], check=True, stdout=sys.stderr)
    return folder


def free_port() -> int:
    """A free port on loopback that nobody else who asks here is given before this process has ended."""
    folder = Path(tempfile.gettempdir()) / "fleetfront-ports"
    folder.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        held = (folder / str(port)).open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        _held.append(held)
        return port
    raise RuntimeError(f"every port from {_PORTS.start} on is taken")


def is_listening(port: int) -> bool:
    """Whether something listens on ``port``, asked of the kernel: a connection for trial would be an event there."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            # 0A is LISTEN: include/net/tcp_states.h of Linux.
            if state == "0A" and int(local.rsplit(":", 1)[1], 16) == port:
                return True
    return False


class Daemon:
    """One adb daemon. ``folder`` holds its ``/data`` and ``/system``; programs installed there are found first."""

    def __init__(self, root: Path, folder: Path, *, port: int | None = None, data_bytes: int | None = None) -> None:
        self._root = root
        self._folder = folder
        self._data_bytes = data_bytes
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("data/local/tmp", "system/bin"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self._folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def install(self, name: str, text: str) -> None:
        """Put a program into the device's ``/system/bin``."""
        path = self._folder / "system" / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def start(self) -> Daemon:
        """Start it and wait until it listens."""
        size = str(self._data_bytes) if self._data_bytes else ""
        command = [
            # Under nohup, the device's shells would outlive their connection, as no phone's do.
            "env",
            "--default-signal=HUP",
            "unshare",
            "--mount",
            "sh",
            "-c",
            _START,
            "sh",
            str(self._root),
            str(self._folder),
            str(self.port),
            size,
        ]
        log = (self._folder / "adbd.log").open("ab")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"adbd ended: {(self._folder / 'adbd.log').read_text()[-2000:]}")
            if is_listening(self.port):
                return self
            time.sleep(0.02)
        raise RuntimeError("adbd does not listen")

    def pause(self) -> None:
        """Stop it without ending it: a device that has hung."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the daemon alone, at once. What it started goes on, as on a phone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End the daemon and everything that still runs inside its chroot, as if the power had gone."""
        # Stopped first: nothing inside may notice that the daemon is gone and put things in order.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.running(""):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        self.kill()

    def running(self, words: str) -> list[int]:
        """Processes inside the device whose command line holds ``words``."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_inside(entry):
                with contextlib.suppress(OSError):
                    if words in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                        found.append(int(entry.name))
        return found

    def is_free_of(self, words: str, within_s: float = 10.0) -> bool:
        """Whether ``running(words)`` becomes empty; a process that was killed takes a moment to go."""
        deadline = time.monotonic() + within_s
        while self.running(words):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _is_inside(self, entry: Path) -> bool:
        try:
            if os.readlink(entry / "root") != str(self._root):
                return False
            return f"ADBD_PORT={self.port}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else free_port()
    reason = why_not()
    if reason:
        raise SystemExit(reason)
    # Shells let what they start with ``&`` ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(build(), Path(folder), port=port).start()
        sys.stdout.write(f"adb:{daemon.address}\n")
        sys.stdout.flush()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
