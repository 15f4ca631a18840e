"""Hypothesis for everybody: no deadlines (a busy machine is no defect), few but fresh examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "roadworthy",
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("roadworthy")
