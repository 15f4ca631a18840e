"""The tables of `readme.py`, one file a group of benchmarks. Every number comes from a record."""
