"""The process that is another host: `python -m tests.ssh_server FOLDER`, on 127.0.0.1.

Does what sshd does: lets one key in and runs the commands that it is asked to run. Writes the keys
and who is known to whom into the folder, then its port on standard output; each line of standard
input drops every connection, as a host does whose network fails, and its end ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh

# Who logs in with this name is greeted on standard output, as by an `echo` in a .bashrc.
GREETED = "greeted"


class Host(asyncssh.SSHServer):
    """Would also take a password, so that a client that may ask for one does ask."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return False


async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command by the shell in an environment of its own, as after a login."""
    if process.get_extra_info("username") == GREETED:
        process.stdout.write(b"Welcome to Jetson\n")
    command = await asyncio.create_subprocess_shell(
        process.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": os.environ["HOME"]},
    )
    # Not `process.redirect`: asyncssh 2.24 loses the connection when a command ends at once.
    feeding = asyncio.create_task(pump(process.stdin, command.stdin))
    await asyncio.gather(pump(command.stdout, process.stdout), pump(command.stderr, process.stderr))
    code = await command.wait()
    feeding.cancel()
    if code < 0:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        process.exit(code)


async def pump(source: Any, sink: Any) -> None:
    """Copy until the source ends or either side is gone; the sink ends with it."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    if isinstance(sink, asyncio.StreamWriter):
        sink.close()


def make_keys(folder: Path) -> None:
    """Write the host's key, that of one who may get in (`me`), and one that nobody knows."""
    for name in ("host", "me", "else"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(key.export_private_key("openssh"))
        key.write_public_key(folder / f"{name}.pub")


async def main(folder: Path) -> None:
    """Serve until standard input ends."""
    make_keys(folder)
    connections: set[asyncssh.SSHServerConnection] = set()
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[folder / "host"],
        authorized_client_keys=str(folder / "me.pub"),
        server_factory=Host,
        acceptor=connections.add,
        process_factory=run,
        encoding=None,
    )
    port = acceptor.get_port()
    for known, key in (("known", "host"), ("changed", "else")):
        text = (folder / f"{key}.pub").read_text()
        (folder / known).write_text(f"[127.0.0.1]:{port} {text}")
    print(port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        for connection in connections:
            connection.abort()
        connections.clear()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
