"""Another host, on this one: a server, in a process of its own, reached by the system's `ssh`."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.ssh_server import GREETED

# Names in the configuration: a host, one whose login prints something, one that never answers.
HOST, NOISY, SILENT = "jetson", "noisy", "silent"
# Hosts that nobody gets into, and what ssh says of each.
CLOSED = {
    "strange-key": "Permission denied",
    "unknown-host": "Host key verification failed",
    "changed-host": "Host key verification failed",
    "refusing": "Connection refused",
    "nowhere": "Could not resolve hostname",
}


class Server:
    """A handle on the server's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def cut(self) -> None:
        """Drop every connection, as a host does whose network fails."""
        assert self._process.stdin is not None
        self._process.stdin.write("cut\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def other_host(folder: Path) -> Iterator[Server]:
    """Run the server; in `folder/bin` is an `ssh` that has its configuration in `folder`."""
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.ssh_server", str(folder)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket() as refusing,
    ):
        refusing.bind(("127.0.0.1", 0))  # taken, and nobody listens
        server = Server(process)
        ports = (server.port, silent.getsockname()[1], refusing.getsockname()[1])
        (folder / "config").write_text(_config(folder, *ports))
        (folder / "empty").touch()
        ssh = folder / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        ssh.chmod(0o755)
        yield server


def _config(folder: Path, port: int, silent: int, refusing: int) -> str:
    """Return an ssh configuration such as a user has; of each value the first that fits counts."""
    return f"""
Host strange-key
  IdentityFile {folder}/else
  IdentitiesOnly yes
Host unknown-host
  UserKnownHostsFile {folder}/empty
Host changed-host
  UserKnownHostsFile {folder}/changed
Host refusing
  Port {refusing}
Host {SILENT}
  Port {silent}
Host {NOISY}
  User {GREETED}
Host nowhere
  HostName no-such-host.invalid
Host * !strange-key
  IdentityFile {folder}/me
Host *
  HostName 127.0.0.1
  Port {port}
  User me
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known
  GlobalKnownHostsFile /dev/null
"""
