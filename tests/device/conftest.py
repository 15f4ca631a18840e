"""Fixtures of the device tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """Timing and build caches that no other test has written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
