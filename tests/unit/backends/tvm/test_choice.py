"""Tuned or by rule: the faster whole is kept. The times are told by a clock of the test's."""

import pytest

from roadworthy.backends.tvm.runtime.choice import kept


class Clock:
    """Time goes by only as calls take it."""

    def __init__(self):
        self.now = 0.0
        self.order = ""

    def __call__(self):
        return self.now

    def taking(self, name, *seconds):
        """A call that takes these seconds in turn, the last ones for ever."""
        left = list(seconds)

        def call():
            self.order += name
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


@pytest.mark.parametrize(
    ("rules", "tuned", "wanted"),
    [(0.010, 0.008, "tuned"), (0.008, 0.010, "rules"), (0.010, 0.010, "rules")],
)
def test_the_faster_whole_is_kept_and_the_rules_where_they_are_even(rules, tuned, wanted):
    clock = Clock()
    found = kept(clock.taking("r", rules), clock.taking("t", tuned), clock)
    assert found == {"kept": wanted, "rules_ms": rules * 1e3, "tuned_ms": tuned * 1e3}


def test_medians_decide_and_the_first_runs_do_not_count():
    clock = Clock()
    tuned = clock.taking("t", 9.0, 0.5, 0.008)
    assert kept(clock.taking("r", 0.010), tuned, clock)["kept"] == "tuned"


def test_blocks_take_turns_in_coming_first():
    clock = Clock()
    kept(clock.taking("r", 0.3), clock.taking("t", 0.3), clock)
    assert clock.order == "rt" + "rttr" * 2


def test_it_takes_a_few_hundred_milliseconds_of_each():
    clock = Clock()
    kept(clock.taking("r", 0.001), clock.taking("t", 0.001), clock)
    assert 0.8 < clock.now < 1.0
