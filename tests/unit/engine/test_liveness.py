"""What a reference count means, on whatever interpreter runs the tests."""

import tenor as tn
from tenor.engine import writes
from tenor.engine.liveness import IN_A_LIST, IN_A_NAME, getrefcount
from tenor.engine.trace import local


def test_a_name_alone():
    held = object()
    assert getrefcount(held) == IN_A_NAME


def test_every_other_holder_counts_once():
    line = [object()]
    item = line[-1]
    assert getrefcount(item) == IN_A_NAME + 1
    again = [item]
    assert getrefcount(item) == IN_A_NAME + 2
    count = getrefcount(again[0])  # apart: pytest keeps the parts of what it asserts
    assert count == IN_A_LIST + 2


def test_a_loop_holds_no_more_than_a_name():
    line = [object()]
    more = list(line)
    for item in line:
        assert getrefcount(item) == IN_A_NAME + 2, more


def test_a_view_somebody_holds_is_told_from_one_that_died():
    x = tn.ones(4)
    view = x[1:3]
    assert not writes._alone(local.trace, [x])
    del view
    assert writes._alone(local.trace, [x])
