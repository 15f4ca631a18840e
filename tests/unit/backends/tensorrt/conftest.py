import pytest

from roadworthy.backends.tensorrt.runtime import Runner, engine
from tests.unit.backends.tensorrt.simulated import Gpu, Plan, tensorrt


@pytest.fixture
def opened(monkeypatch):
    """Return a function that opens a runner on a simulated GPU."""

    def make(gpu=None, graphs=True, spec=None, **how):
        gpu = gpu or Gpu()
        plan = Plan(gpu, **how)
        monkeypatch.setattr(engine, "import_tensorrt", lambda: tensorrt(plan))
        monkeypatch.setattr(engine, "cuda_here", lambda: gpu)
        return Runner({"engine.plan": b""}, {"graphs": graphs, **(spec or {})}), plan, gpu

    return make
