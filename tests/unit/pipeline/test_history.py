"""What a build took says how long the next may take; nothing is claimed from nothing."""

import json
import threading
from dataclasses import replace

import pytest

from roadworthy.backends.base import CompileOptions
from roadworthy.core.errors import UnavailableError
from roadworthy.core.target import Target
from roadworthy.pipeline import history
from roadworthy.pipeline.history import Build, estimate, expect, read_builds, remember

TARGET = Target.parse("tensorrt")
FOUND = {"version": "10.1", "device_name": "a GPU", "driver": "1"}
COMING = Build.of(TARGET, FOUND, CompileOptions(), "sha256:a", nodes=100)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "roadworthy" / "builds.jsonl"


def took(seconds, **changes):
    return replace(COMING, seconds=seconds, **changes)


def test_the_same_build_is_expected_to_take_as_long_as_last_time():
    found = estimate(COMING, [took(90.0), took(61.2), took(7.0, model="sha256:b")])
    assert (found.seconds, str(found)) == (61.2, "last time 61 s")


@pytest.mark.parametrize(
    "change", [{"version": "10.2"}, {"options": "{}"}, {"model": "sha256:b"}], ids=str
)
def test_another_version_option_or_model_is_another_build(change):
    assert "last time" not in str(estimate(COMING, [took(61.0, **change)]))


@pytest.mark.parametrize(
    "change", [{"backend": "tvm"}, {"device": "another"}, {"precision": "fp16"}], ids=str
)
def test_of_another_backend_device_or_precision_nothing_is_known(change):
    assert estimate(COMING, [took(61.0, **change)]) is None


def test_others_tell_by_their_median_time_per_node():
    others = [
        took(seconds, model=f"sha256:{seconds}", nodes=nodes)
        for seconds, nodes in ((8.3, 10), (83.0, 100), (1.0, 10), (900.0, 10), (16.6, 20))
    ]
    found = estimate(COMING, others)
    assert found.seconds == pytest.approx(83.0)
    assert str(found) == "about 80 s (from 5 builds of other networks)"
    assert str(estimate(COMING, others[:1])) == "about 80 s (from 1 build of another network)"
    with_own = [*others, took(83.0, version="10.0")]
    assert str(estimate(COMING, with_own)) == "about 80 s (from 6 other builds)"


def test_nothing_is_claimed_from_nothing_nor_about_what_is_over_at_once():
    assert estimate(COMING, []) is None
    assert estimate(COMING, [took(0.2)]) is None
    assert estimate(replace(COMING, nodes=0), [took(61.0, model="b")]) is None


def test_what_is_remembered_is_read_and_stays_bounded(cache, monkeypatch):
    monkeypatch.setattr(history, "_MOST_BUILDS", 3)
    for seconds in (1.0, 2.0, 3.0, 4.0):
        remember(took(seconds))
    assert [build.seconds for build in read_builds()] == [2.0, 3.0, 4.0]
    assert read_builds()[0] == took(2.0)
    assert [item.name for item in cache.parent.iterdir()] == [cache.name]


def test_several_threads_lose_nothing():
    def work(index):
        for step in range(5):
            remember(took(1.0 + 10 * index + step))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({build.seconds for build in read_builds()}) == 20


def test_damage_costs_the_damaged_lines_only(cache):
    remember(took(5.0))
    good = cache.read_text()
    data = json.loads(good)
    bad = [
        "",
        "nonsense",
        "[" * 100_000,
        "3",
        "{}",
        good[:-9],
        *(
            json.dumps(data | change)
            for change in (
                {"seconds": "5"},
                {"seconds": -1},
                {"seconds": float("nan")},
                {"nodes": 0},
                {"nodes": True},
                {"model": None},
                {"more": 1},
            )
        ),
    ]
    cache.write_bytes("\n".join([*bad, ""]).encode() + b"\xff\xfe\n" + good.encode())
    assert read_builds() == [took(5.0)]
    remember(took(6.0))
    assert read_builds() == [took(5.0), took(6.0)]


def test_a_file_that_grew_beyond_reason_is_begun_anew(cache):
    cache.parent.mkdir(parents=True)
    with cache.open("wb") as file:
        file.truncate(1 << 30)
    assert read_builds() == []
    remember(took(6.0))
    assert read_builds() == [took(6.0)]


@pytest.mark.parametrize("what", ["a file in its way", "a folder in its place", "no home"])
def test_where_nothing_can_be_written_nothing_is_remembered(what, cache, monkeypatch):
    if what == "a file in its way":
        cache.parents[1].write_text("")
    elif what == "a folder in its place":
        cache.mkdir(parents=True)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setattr(history.Path, "home", classmethod(no_home))
    remember(took(6.0))
    assert read_builds() == []


def no_home(_cls):
    raise RuntimeError("Could not determine home directory.")


class Asked:
    """A backend's fingerprint, and how often it was asked for."""

    def __init__(self):
        self.times = 0

    def fingerprint(self, target):
        self.times += 1
        if target.device == "absent":
            raise UnavailableError("there is no such device")
        return FOUND


def test_a_place_is_asked_what_it_is_only_where_that_can_help():
    backend, options = Asked(), CompileOptions()
    assert expect(backend, TARGET, options, "sha256:a", 100) is None
    remember(took(0.5))
    remember(took(61.0, precision="fp16"))
    assert expect(backend, TARGET, options, "sha256:a", 100) is None
    assert backend.times == 0
    remember(took(61.0))
    assert str(expect(backend, TARGET, options, "sha256:a", 100)) == "last time 61 s"
    assert backend.times == 1
    assert expect(backend, Target("tensorrt", "absent"), options, "sha256:a", 100) is None
