"""How a Python elsewhere is reached: started here, or through the system's own `ssh`.

Hosts, ports, keys and jumps are `~/.ssh/config`'s business. Nobody is there to answer a question
in the middle of a deploy, so ssh never asks one: it fails, and its words are the error's.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

from roadworthy.backends.place import Where
from roadworthy.core.errors import UnavailableError

START_SECONDS = 60.0
# ssh's own exit status when it can't get in, or loses the connection; else it is the far side's.
SSH_FAILED = 255
# A host that doesn't answer is given up after 15 s, one that falls silent after 3 × 15 s. Forwards
# of the user's configuration would be asked for again by every connection.
_SSH = (
    "ssh -T -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 "
    "-o ServerAliveCountMax=3 -o ClearAllForwardings=yes"
)
# The far shell stays until Python has ended, and tells by 128 + n which signal ended it.
_FAR = '"sh -c \'$2 -u -B -c \\"$6\\"; exit \\$?\'"'
# execnet appends -u -c and a line of Python.
_START = f'exec {_SSH} "$1" {_FAR} 2>"$3"'
_PROBE = "import sys, numpy; print('python %d.%d' % sys.version_info[:2])"
_VERSION = re.compile(r"python (\d+)\.(\d+)")


def execnet_spec(where: Where | None, log: Path) -> str:
    """Return how execnet starts a worker; what ssh and the far side say goes to `log`."""
    if where is None or where.ssh is None:
        # execnet takes two slashes for its own separator; to the system they are one.
        python = re.sub("//+", "/", sys.executable if where is None else str(where.python))
        return f"popen//python={shlex.quote(python)}//dont_write_bytecode"
    start = ["sh", "-c", _START, "sh", where.ssh, str(where.python), str(log)]
    return f"popen//python={shlex.join(start)}"


@functools.cache  # of what passed: every worker needs one, and on a slow way it takes a while
def check_interpreter(where: Where, place: str) -> None:
    """Refuse what is no Python 3.8 or later with NumPy, in words rather than by a broken pipe.

    Args:
        where: an interpreter here or on another host.
        place: what messages call it.

    Raises:
        UnavailableError: no way in, no such interpreter, too old, without NumPy, or a login that
            prints something of its own, which would be taken for the worker's.
    """
    code, out, err = _probe(where)
    lines = out.splitlines()
    first = lines[0] if lines else "nothing"
    version = _VERSION.fullmatch(first)
    if version and (int(version[1]), int(version[2])) >= (3, 8):
        return
    said = (err.strip().splitlines() or [f"it printed {first}"])[-1]
    what = f"that is no Python 3.8 or later with NumPy: {said}"
    remedy = f"{where.python} -m pip install numpy, or name another interpreter"
    if where.ssh is not None and code == SSH_FAILED:
        what = f"ssh doesn't get into {where.ssh}: {said}"
        remedy = (
            f"`ssh {where.ssh} true` must work without a question: a key without a passphrase or "
            "one that the agent holds, the host known; name, port and key go to ~/.ssh/config"
        )
    elif where.ssh is None and code == SSH_FAILED:
        what = f"it can't be started: {said}"
        remedy = "name another interpreter, e.g. @python=/usr/bin/python3"
    elif not version and _VERSION.fullmatch((lines or [""])[-1]):
        what = f"its login prints {first!r} before Python can"
        remedy = f"make the start files of the shell there silent: `ssh {where.ssh} true` prints it"
    elif where.ssh is not None:
        remedy = f"on {where.ssh}: {remedy}, @ssh={where.ssh}:/path/to/python"
    raise UnavailableError(what, where=place, remedy=remedy)


def kill_there(host: str, pid: int) -> None:
    """Kill a process on another host, if the host can still be reached."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        _run([*shlex.split(_SSH), host, f"kill -9 {pid}"])


def _probe(where: Where) -> tuple[int, str, str]:
    """Return exit status and both outputs; what can't even be started says so in the second."""
    command = [str(where.python), "-c", _PROBE]
    if where.ssh is not None:
        # Not `shlex.join`: a leading ~ is the far shell's to expand.
        far = f"{where.python} -c {shlex.quote(_PROBE)}"
        command = [*shlex.split(_SSH), where.ssh, f"sh -c {shlex.quote(far)}"]
    try:
        done = _run(command)
    except subprocess.TimeoutExpired:
        return SSH_FAILED, "", f"no answer within {START_SECONDS:.0f} s"
    except OSError as error:
        return SSH_FAILED, "", str(error)
    return done.returncode, done.stdout, done.stderr


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=START_SECONDS,
        check=False,
    )
