"""Hypothesis for everybody: no deadlines (a busy machine is no defect), few but fresh examples.

Nothing is left in the user's own cache.
"""

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
