"""Writing beside, then exchanging: whatever happens, the old content or the new, whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from roadworthy.core import files
from roadworthy.core.errors import UsageError
from roadworthy.core.files import (
    remove_leftovers,
    replacing_file,
    replacing_folder,
    write_text,
)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def content(folder: Path) -> dict[str, str]:
    return {
        str(item.relative_to(folder)): item.read_text()
        for item in folder.rglob("*")
        if item.is_file()
    }


# Files


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing_file(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.parent == tmp_path  # beside: a rename, never a copy
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "straße 道")
    assert (tmp_path / "a").read_bytes().decode() == "straße 道"


def test_a_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("a"), "1")
    with replacing_folder(Path("b")) as partial:
        (partial / "c").write_text("2")
    assert content(tmp_path) == {"a": "1", "b/c": "2"}


# Folders


def fill(folder: Path, text: str) -> None:
    (folder / "sub").mkdir()
    for name in ("one", "sub/two"):
        (folder / name).write_text(text)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_folder_takes_the_place_of_the_old_one_entirely(
    atomic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not atomic:  # where the system can't exchange
        monkeypatch.setattr(files, "_renameat2", lambda one, two: False)
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").write_text("old")
    with replacing_folder(path) as partial:
        assert names(partial) == []
        fill(partial, "new")
        assert content(path) == {"old": "old"}
    assert content(path) == {"one": "new", "sub/two": "new"}
    assert names(tmp_path) == ["bundle"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    for text in ("old", "half"):
        try:
            with replacing_folder(path) as partial:
                fill(partial, text)
                if text == "half":
                    raise RuntimeError("no space left")
        except RuntimeError:
            pass
    assert content(path) == {"one": "old", "sub/two": "old"}
    assert names(tmp_path) == ["bundle"]


def test_no_moment_without_the_folder(tmp_path: Path) -> None:
    """A reader that never stops looking finds the folder whole, old or new, every time."""
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "one").write_text("0")
    stop, missing = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            if not (path / "one").exists():
                missing.append(time.monotonic())

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(30):
        with replacing_folder(path) as partial:
            (partial / "one").write_text(str(number))
    stop.set()
    reader.join()
    assert not missing
    assert content(path) == {"one": "29"}


def test_a_link_is_replaced_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing_folder(tmp_path / "link") as partial:
        (partial / "one").write_text("new")
    assert content(tmp_path / "real") == {"precious": "mine"}
    assert content(tmp_path / "link") == {"one": "new"}
    assert names(tmp_path) == ["link", "real"]


# What can't be written


def test_a_folder_that_does_not_exist_is_not_made_in_silence(tmp_path: Path) -> None:
    for replacing in (replacing_file, replacing_folder):
        with pytest.raises(UsageError) as caught, replacing(tmp_path / "no" / "a"):
            pass
        assert caught.value.remedy == f"mkdir -p {tmp_path / 'no'}"
    assert names(tmp_path) == []


def test_a_file_is_not_put_in_the_place_of_a_folder_nor_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write_text(tmp_path / "file", "mine")
    with pytest.raises(UsageError, match="is a folder"), replacing_file(tmp_path / "folder"):
        pass
    with pytest.raises(UsageError, match="is a file"), replacing_folder(tmp_path / "file"):
        pass
    assert names(tmp_path) == ["file", "folder"]


# What dead processes leave behind


def test_leftovers_of_dead_processes_go_with_the_next_writer(tmp_path: Path, dead_pid: int) -> None:
    (tmp_path / f".a.{dead_pid}.partial").write_text("half a file")
    (tmp_path / f".a.{dead_pid}-12345678.partial").write_text("another half")
    (tmp_path / f".b.{dead_pid}-0f.partial").mkdir()
    fill(tmp_path / f".b.{dead_pid}-0f.partial", "half a folder")
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == [f".b.{dead_pid}-0f.partial", "a"]  # another target's stays
    with replacing_folder(tmp_path / "b"):
        pass
    assert names(tmp_path) == ["a", "b"]


def test_what_a_process_of_our_own_number_left_long_ago_goes_too(tmp_path: Path) -> None:
    """In a container every run may have the number 1."""
    old, young = (tmp_path / f".a.{os.getpid()}-{mark}.partial" for mark in ("0a", "0b"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == [young.name, "a"]


def test_threads_that_save_one_file_do_not_meet(tmp_path: Path) -> None:
    """Nor do containers whose processes have equal numbers."""
    path, inside = tmp_path / "a", threading.Barrier(4)
    failures: list[BaseException] = []

    def save(number: int) -> None:
        try:
            with replacing_file(path) as partial:
                partial.write_text(str(number) * 1000)
                inside.wait(60)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() in {str(number) * 1000 for number in range(4)}
    assert names(tmp_path) == ["a"]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    other = tmp_path / f".a.{os.getppid()}.partial"
    other.write_text("being written")
    write_text(tmp_path / "a", "whole")
    assert other.read_text() == "being written"


@pytest.mark.parametrize("name", ["a*", "[a]", "?", "a.b"])
def test_names_with_signs_that_globs_know(name: str, tmp_path: Path, dead_pid: int) -> None:
    for of in (name, "aa", "a", "axb"):
        (tmp_path / f".{of}.{dead_pid}.partial").write_text("")
    remove_leftovers(tmp_path / name)
    left = {f".{of}.{dead_pid}.partial" for of in ("aa", "a", "axb")}
    assert set(names(tmp_path)) == left


def test_files_that_only_look_like_leftovers_stay(tmp_path: Path, dead_pid: int) -> None:
    strangers = [".a.partial", ".a.x.partial", f".a.{'9' * 30}.partial", f".a.{dead_pid}.part"]
    for name in strangers:
        (tmp_path / name).write_text("not ours")
    write_text(tmp_path / "a", "whole")
    assert set(names(tmp_path)) == {*strangers, "a"}


def test_a_leftover_that_is_a_link_goes_but_not_what_it_points_to(
    tmp_path: Path, dead_pid: int
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "precious").write_text("mine")
    (tmp_path / f".a.{dead_pid}.partial").symlink_to(tmp_path / "real")
    remove_leftovers(tmp_path / "a")
    assert names(tmp_path) == ["real"]
    assert content(tmp_path / "real") == {"precious": "mine"}


# Killed at any moment

WRITER = """
import itertools, sys
from pathlib import Path
from roadworthy.core.files import replacing_file, replacing_folder
folder, file = Path(sys.argv[1], "bundle"), Path(sys.argv[1], "file")
for number in itertools.count():
    with replacing_folder(folder) as partial:
        for name in range(8):
            (partial / str(name)).write_text(str(number) * 1000)
    with replacing_file(file) as partial:
        partial.write_text(str(number) * 100000)
    print(number, flush=True)
"""


SIZES = [1000] * 8 + [100000]


def test_kill_9_at_any_moment_leaves_the_old_or_the_new_whole(tmp_path: Path) -> None:
    for kill in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            writer.stdout.readline()
            time.sleep(0.0007 * kill)
            writer.send_signal(signal.SIGKILL)
        texts = [*content(tmp_path / "bundle").values(), (tmp_path / "file").read_text()]
        assert len(texts) == 9
        numbers = [text[: len(text) // size] for text, size in zip(texts, SIZES, strict=True)]
        assert texts == [n * size for n, size in zip(numbers, SIZES, strict=True)]
        assert len(set(numbers[:8])) == 1
        assert int(numbers[0]) - int(numbers[8]) in (0, 1)  # the file follows the folder
    with replacing_folder(tmp_path / "bundle"):
        pass
    write_text(tmp_path / "file", "")
    assert names(tmp_path) == ["bundle", "file"]


@pytest.mark.parametrize("replacing", [replacing_file, replacing_folder])
def test_a_full_disk_is_told_by_the_place_that_is_full(replacing, tmp_path: Path) -> None:
    place = tmp_path / "out"
    with pytest.raises(OSError, match="No space") as caught, replacing(place):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(place)
    assert list(tmp_path.iterdir()) == []
