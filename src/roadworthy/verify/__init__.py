"""Compare, judge, self-check."""
