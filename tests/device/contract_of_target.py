"""The contract of a session on the target that is recorded; run by `outcomes.py`, test by test.

It claims every dtype: the ones that pass are those to be claimed.
"""

from __future__ import annotations

import os

from roadworthy.core.target import Target
from tests.conformance.contract import SessionContract
from tests.conformance.networks import NUMPY_DTYPES, SMALL_DTYPES
from tests.device.place import conformance_options


class TestContract(SessionContract):
    target = os.environ["ROADWORTHY_RECORDED"]
    claims = frozenset({*NUMPY_DTYPES, *SMALL_DTYPES})
    options = conformance_options(Target.parse(target))
    # TVM fuses nodes into functions and keeps no account of which.
    names_nodes = Target.parse(target).backend != "tvm"
