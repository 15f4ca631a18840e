"""Hypothesis for everybody: no deadlines (a busy machine is no defect), few but fresh examples.

Nothing is left in the user's own cache. `far` is another host.
"""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "roadworthy",
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("roadworthy")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_evaluator():
    """Hundreds of tests ask ONNX's evaluator; to start a process for each takes minutes."""
    from roadworthy.source.onnx.evaluator import kept

    with kept():
        yield


@pytest.fixture
def as_large(monkeypatch):
    """Return what makes networks of a few bytes take the road of those of gigabytes."""

    def switch():
        monkeypatch.setattr("roadworthy.graph.serial.EXTERNAL_FROM_BYTES", 1)
        monkeypatch.setattr("roadworthy.graph.serial._SMALL_BYTES", 32)

    return switch


@pytest.fixture(scope="session")
def _far_host(tmp_path_factory):
    if shutil.which("ssh") is None:
        pytest.skip("this machine has no ssh client: targets on other hosts are NOT tested")
    from tests.loopback import other_host

    folder = tmp_path_factory.mktemp("far")
    with other_host(folder) as server:
        yield server, folder


@pytest.fixture
def far(_far_host, monkeypatch):
    """Another host (`tests.loopback.Server`), which `ssh` on the PATH finds by its names."""
    server, folder = _far_host
    monkeypatch.setenv("PATH", f"{folder}/bin{os.pathsep}{os.environ['PATH']}")
    return server
