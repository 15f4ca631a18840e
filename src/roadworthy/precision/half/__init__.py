"""FP16 and BF16: which nodes may, why the others don't, and the graph with its casts.

`plan_half` decides (place.py, by the rules in rules.py), `to_half` writes it down (lower.py).
"""

from roadworthy.precision.half.lower import to_half
from roadworthy.precision.half.place import plan_half

__all__ = ["plan_half", "to_half"]
