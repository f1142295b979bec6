"""Run a real sshd on loopback, with keys of its own, and the client's configuration that reaches it."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from tests.adbd.daemon import free_port

#: Where Debian has it, which is not on every user's path.
_SSHD = "/usr/sbin/sshd"


def why_not() -> str:
    """Why no sshd can be run here; empty if one can."""
    if not (shutil.which("sshd") or Path(_SSHD).is_file()):
        return "sshd needs the Debian package openssh-server"
    return "" if shutil.which("ssh-keygen") else "sshd needs the Debian package openssh-client"


class Sshd:
    """A running sshd that lets this user in; ``ssh`` is the client's command for it, under the alias ``desk``."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """``environment`` is that of every command there."""
        folder.mkdir(parents=True)
        for name in ("host", "user"):
            generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(generate, check=True, stdin=subprocess.DEVNULL)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        self.port = free_port()
        host_key = (folder / "host.pub").read_text().split(maxsplit=2)[:2]
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join(host_key)}\n")
        variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"PermitRootLogin prohibit-password\nSetEnv {variables}\nMaxStartups 100\n"
        )
        (folder / "ssh_config").write_text(
            f"Host desk\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/user\n IdentitiesOnly yes\n UserKnownHostsFile {folder}/known_hosts\n"
            " StrictHostKeyChecking yes\n"
        )
        self.folder = folder
        self.ssh = f"ssh -F {shlex.quote(str(folder / 'ssh_config'))}"
        if os.geteuid() == 0:
            # Where the daemon's unprivileged part lives; a package's service makes it, and no service runs here.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._process = self._started()

    def stop(self) -> None:
        """End it, and every session of it."""
        self._process.kill()
        self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        program = shutil.which("sshd") or _SSHD
        log = (self.folder / "log").open("wb")
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log
        )
        log.close()
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            command = [*shlex.split(self.ssh), "-o", "BatchMode=yes", "desk", "true"]
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                return process
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise RuntimeError(f"no sshd could be started: {(self.folder / 'log').read_text()[-500:]}")
