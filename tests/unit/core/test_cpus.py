"""Containers: what the cgroup grants counts, not what the host has."""

from roadworthy.core import cpus
from roadworthy.core.cpus import usable_cpus


def test_a_quota_of_the_cgroup_or_of_one_above_it_counts(tmp_path, monkeypatch):
    inner = tmp_path / "slice" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(cpus, "cgroup_folders", lambda controller: [inner, inner.parent])
    assert usable_cpus() == 1


def test_a_cgroup_of_version_1_counts_and_no_limit_is_none(tmp_path):
    assert cpus._quota(tmp_path) is None
    (tmp_path / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus._quota(tmp_path) == 2
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpus._quota(tmp_path) is None
