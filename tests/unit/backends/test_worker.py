"""A runtime is one module or a package; either way its texts travel and work where they arrive."""

import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import pytest

from roadworthy.backends import elsewhere, gateway, worker
from roadworthy.backends.place import open_place, open_runner, source_of
from roadworthy.backends.session import Session
from roadworthy.backends.shared import Workers
from roadworthy.backends.worker import Sent
from roadworthy.core.errors import DiedError, RunError, UnavailableError
from roadworthy.core.signature import Signature, TensorSpec
from roadworthy.core.target import Target

PACKAGE = "tests.unit.backends.package_runtime"
ONE_FILE = "tests.unit.backends.numpy_runtime"
HERE, WORKER, OTHER = (None, False), (None, True), (f"python={sys.executable}", False)
FLOATS = TensorSpec("x", "float32", (3,))
ONE_INPUT = Signature((FLOATS,), (FLOATS,))
SHARED = Path("/dev/shm")
WORKERS = pytest.mark.parametrize(("where", "isolated"), [WORKER, OTHER])


@pytest.fixture
def finders():
    """Modules loaded here by a test must not stay: names and finders are of the whole process."""
    modules, path = dict(sys.modules), list(sys.meta_path)
    yield
    sys.meta_path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


def test_one_module_is_one_text_and_a_package_one_for_each_file():
    assert set(source_of(ONE_FILE)) == {""}
    assert set(source_of(PACKAGE)) == {"", "doubling", "late"}


@pytest.mark.parametrize(
    "place", [(None, False), (None, True), (f"python={sys.executable}", False)]
)
def test_a_package_works_wherever_it_is(place):
    with open_place(PACKAGE, *place) as there:
        built = there.build({"m": b"abc"}, {})
        assert built.files == {"engine": b"cba"}
        runner = there.open(built.files, {})
        assert np.array_equal(runner.run({"x": np.arange(3.0)})["x"], [0.0, 2.0, 4.0])
        runner.close()


def test_a_path_with_two_slashes_is_the_same_path():
    with open_place(PACKAGE, f"python={sys.executable.replace('/bin/', '//bin///')}") as there:
        assert there.describe(None)["runtime"] == "package"


def test_an_interpreter_that_is_not_there_is_no_reason_to_install_anything():
    with (
        pytest.raises(UnavailableError, match=r"can't be started: .*No such file") as caught,
        open_place(PACKAGE, "python=/no/such/python3"),
    ):
        pass
    assert "pip install" not in caught.value.remedy


@pytest.mark.parametrize("place", [HERE, WORKER, OTHER])
def test_what_a_runtime_says_of_itself_while_it_runs_is_told_here(place):
    """It may grow: that a graph can't be captured shows when something runs."""
    runner = open_runner(PACKAGE, *place, {"engine": b""}, {})
    session = Session(ONE_INPUT, runner, ("another driver",))
    with session:
        assert session.notes == ("another driver",)
        session.run({"x": np.arange(3.0, dtype=np.float32)})
        assert session.notes == ("another driver", "first run")


@WORKERS
def test_there_it_is_what_was_sent_and_no_file_of_that_place(where, isolated):
    with open_place(PACKAGE, where, isolated) as there:
        assert there.describe(None) == {
            "runtime": "package",
            "file": "tests/unit/backends/package_runtime/__init__.py, sent by roadworthy",
            "package": "roadworthy_runtime",
        }


@WORKERS
def test_a_traceback_from_there_names_the_file_and_shows_the_line(where, isolated):
    with (
        open_place(PACKAGE, where, isolated) as there,
        pytest.raises(RunError, match="nothing to double") as caught,
    ):
        there.open({"engine": b""}, {}).run({})
    told = str(caught.value.__cause__)
    assert "package_runtime/doubling.py, sent by roadworthy" in told
    assert "# the line that a traceback must show" in told


def test_the_packages_around_a_runtime_are_not_needed(finders):
    """The other side has no roadworthy."""
    texts = {"": "from .inner import value", "inner": "from . import other\nvalue = other.value"}
    module = Sent("nowhere.at.all.runtime", {**texts, "other": "value = 7"}).load()
    assert module.value == 7
    assert not [name for name in sys.modules if name.startswith("nowhere")]


def test_one_text_is_a_plain_module(finders):
    module = Sent("nowhere.runtime", {"": "import math\nvalue = math.pi"}).load()
    assert module.__file__ == "nowhere/runtime.py, sent by roadworthy"
    assert not hasattr(module, "__path__")


def test_what_was_not_sent_is_an_import_error_of_the_file_that_asks(finders):
    texts = {"": "from .inner import value", "inner": "from .absent import value"}
    with pytest.raises(ImportError, match=r"absent") as caught:
        Sent("nowhere.runtime", texts).load()
    frames = [frame.filename for frame in traceback.extract_tb(caught.tb)]
    assert "nowhere/runtime/inner.py, sent by roadworthy" in frames


def test_other_imports_are_left_alone(finders):
    Sent("nowhere.runtime", {"": ""}).load()
    assert importlib.import_module("colorsys").rgb_to_yiq(0, 0, 0) == (0, 0, 0)


BIG = 100_000
"""Numbers in an array that travels through shared memory where it can."""


@WORKERS
@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_without_room_in_shared_memory_arrays_travel_in_the_messages(
    where, isolated, allowed, monkeypatch
):
    """Room for the feed, the first and the larger answer is asked for, one after the other."""
    asked = []

    def reserve(name, size):
        asked.append(size)
        if len(asked) > allowed:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(elsewhere, "_reserve", reserve)
    with open_place(PACKAGE, where, isolated) as there:
        runner = there.open({"engine": b""}, {})
        for seed in range(3):
            x = np.random.default_rng(seed).random(BIG)
            assert np.array_equal(runner.run({"x": x})["x"], 2 * x)
        runner.close()
    assert len(asked) == min(allowed + 1, 3), "once there is no room it isn't asked for again"
    assert not list(SHARED.glob(f"roadworthy-{os.getpid()}-*"))


@WORKERS
def test_an_array_that_a_runtime_keeps_is_no_trouble(where, isolated):
    """Its memory stays attached as long as it lives, also when the feed has outgrown it."""
    with open_place(PACKAGE, where, isolated) as there:
        runner = there.open({"engine": b""}, {"keep": True})
        for size in (BIG, 3 * BIG, BIG, 5 * BIG):
            x = np.arange(float(size))
            assert np.array_equal(runner.run({"x": x})["x"], 2 * x)
        runner.close()


class CutShortError(Exception):
    """As a signal's handler, or a progress bar that is closed, may raise."""


@WORKERS
def test_an_interrupted_call_leaves_no_answer_for_the_next(where, isolated):
    def interrupt(_number, _frame):
        raise CutShortError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with open_place(PACKAGE, where, isolated) as there:
            runner = there.open({"engine": b""}, {"seconds": 0.5})
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(CutShortError):
                runner.run({"x": np.ones(3)})
            for _ in range(2):
                with pytest.raises(DiedError, match="a call to it was interrupted"):
                    runner.run({"x": np.full(3, 7.0)})
            runner.close()
    finally:
        signal.signal(signal.SIGALRM, before)


@WORKERS
def test_one_who_is_told_and_raises_leaves_no_answer_either(where, isolated):
    def say(_text):
        raise CutShortError

    with open_place(PACKAGE, where, isolated) as there:
        with pytest.raises(CutShortError):
            there.build({"m": b"abc"}, {"talk": 3}, say)
        with pytest.raises(DiedError, match="a call to it was interrupted"):
            there.build({"m": b"abc"}, {})


def test_one_worker_for_all_is_replaced_after_an_interruption():
    workers = Workers(PACKAGE)
    target = Target.parse(f"onnxruntime@python={sys.executable}")
    with workers.kept() as kept:
        with pytest.raises(CutShortError):
            kept.place(target).build({"m": b"abc"}, {"talk": 3}, _raise)
        assert kept.place(target).build({"m": b"abc"}, {}).files == {"engine": b"cba"}


def _raise(_text):
    raise CutShortError


def test_talking_does_not_keep_a_worker_alive_for_ever(monkeypatch):
    """A builder that hangs may have a thread that says how long it has taken."""
    monkeypatch.setattr(gateway, "BUILD_SECONDS", 0.5)
    monkeypatch.setattr(gateway, "TALKING", 2.0)
    with (
        open_place(PACKAGE, None, True) as there,
        pytest.raises(DiedError, match="wasn't done after 1 s, whatever it said"),
    ):
        there.build({"m": b"abc"}, {"talk": 10_000})


def test_answers_that_wait_are_their_own_runners():
    """Two sessions of one worker, each with answers larger than it has room for."""
    with open_place(PACKAGE, None, True) as there:
        one, other = (there.open({"engine": b""}, {"seconds": 0.01}) for _ in range(2))
        found = {}

        def run(name, runner):
            feeds = [np.full(BIG * (n + 1), float(ord(name))) for n in range(4)]
            found[name] = [np.array_equal(runner.run({"x": x})["x"], 2 * x) for x in feeds]

        threads = [threading.Thread(target=run, args=pair) for pair in (("a", one), ("b", other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {"a": [True] * 4, "b": [True] * 4}


IN_LITTLE_MEMORY = """
import numpy as np
from roadworthy.backends.place import open_place
with open_place("tests.unit.backends.package_runtime", None, True) as there:
    runner = there.open({"engine": b""}, {})
    x = np.arange(1e6)
    assert np.array_equal(runner.run({"x": x})["x"], 2 * x)
    print("right")
"""


def with_shared_memory(size, code):
    """Run a program where the system gives no more of it."""
    little = f'mount -t tmpfs -o size={size} none {SHARED} && exec "$@"'
    inside = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", little, "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no namespace of one's own here: {done.stderr.strip()}")
    return done


def test_in_a_container_with_little_shared_memory():
    """8 MB where 1 MB is allowed: the system would end the process that touches the rest."""
    done = with_shared_memory("1m", IN_LITTLE_MEMORY)
    assert done.stdout.strip() == "right", done.stderr


NUMPY = "tests.unit.backends.numpy_runtime"


def test_runners_of_one_worker_in_threads_of_their_own():
    """One asks for what didn't fit into its memory after another one has run."""
    wrong = []

    def use(place, number):
        for size in range(10_000, 60_000, 5_000):
            runner = place.open({"engine": b""}, {"grow": 5})
            x = np.full(size + number, float(number))
            try:
                if not np.array_equal(runner.run({"x": x})["x"], np.tile(x, 5)):
                    wrong.append((number, size))
            except Exception as error:
                wrong.append(error)
            runner.close()

    with open_place(NUMPY, None, True) as place:
        threads = [threading.Thread(target=use, args=(place, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_bytes_go_ahead_of_their_message_in_pieces(monkeypatch):
    """Execnet's messages have a length of 31 bits, whatever they consist of."""

    class Channel(list):
        send = list.append

    monkeypatch.setattr(worker, "CHUNK", 10)
    monkeypatch.setattr(worker, "AHEAD", 5)
    message = ("verb", ({"a": [b"x" * 25, b"short"], "b": []}, None, b"y" * 10, (b"", "text")))
    sent = Channel()
    worker.post(sent, message)
    *pieces, last = sent
    assert [len(piece) for piece in pieces] == [10, 10, 5, 10]
    assert worker.together(last, pieces) == message


GROWING_IN_LITTLE_MEMORY = """
import numpy as np
from roadworthy.backends.place import open_place
with open_place("tests.unit.backends.package_runtime", None, True) as there:
    runner = there.open({"engine": b""}, {})
    for size in (400_000, 600_000):
        x = np.ones(size, np.uint8)
        assert np.array_equal(runner.run({"x": x})["x"], 2 * x)
    print(runner._shares)
"""


def test_what_is_outgrown_is_given_back_before_more_is_asked_for():
    done = with_shared_memory("1500k", GROWING_IN_LITTLE_MEMORY)
    assert done.stdout.strip() == "True", done.stderr
