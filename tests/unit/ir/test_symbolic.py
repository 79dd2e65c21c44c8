"""Numbers that are not known yet compute as ints do, and note every question they answer."""

from __future__ import annotations

import operator
import random
from math import ceil

import pytest

from tenor.ir.symbolic import (
    Sizes,
    Sym,
    alike,
    applied,
    known,
    predicate,
    symbol,
    values_of,
)

ARITHMETIC = ("add", "sub", "mul", "floordiv", "mod")


def expression(rng, depth, names):
    """Return a function of sizes, that takes numbers known or not."""
    if depth == 0:
        if rng.random() < 0.5:
            constant = rng.randint(-20, 20)
            return lambda v: constant
        which = rng.randrange(names)
        return lambda v: v[which]
    name = rng.choice(ARITHMETIC)
    a = expression(rng, depth - 1, names)
    if name in ("floordiv", "mod"):
        divisor = rng.randint(1, 9)
        if rng.random() < 0.3:
            which = rng.randrange(names)
            return lambda v: getattr(operator, name)(a(v), v[which])
        return lambda v: getattr(operator, name)(a(v), divisor)
    b = expression(rng, depth - 1, names)
    return lambda v: getattr(operator, name)(a(v), b(v))


@pytest.mark.parametrize("seed", range(60))
def test_arithmetic_is_that_of_ints(seed):
    rng = random.Random(seed)
    formula = expression(rng, 4, 3)
    symbols = [symbol(i) for i in range(3)]
    with Sizes([5, 7, 11]):
        made = formula(symbols)
    evaluate = values_of([made])
    for _ in range(50):
        sizes = [rng.randint(2, 60) for _ in range(3)]
        assert Sizes(sizes).value(made) == formula(sizes)
        assert evaluate(sizes) == (formula(sizes),)
        low = made.low() if isinstance(made, Sym) else made
        assert low is None or low <= formula(sizes)


@pytest.mark.parametrize("seed", range(40))
def test_sizes_that_fit_answer_alike(seed):
    rng = random.Random(seed)
    formulas = [expression(rng, 3, 2) for _ in range(4)]

    def branches(v):
        answers = [f(v) > 3 for f in formulas]
        answers += [f(v) == 4 for f in formulas[:2]] + [f(v) <= 9 for f in formulas[2:]]
        return [*answers, bool(formulas[0](v)), ceil(formulas[1](v) / 4) < 5]

    hint = [rng.randint(2, 30), rng.randint(2, 30)]
    with Sizes(hint) as sizes:
        wanted = branches([symbol(0), symbol(1)])
    assert wanted == branches(hint)
    fits = predicate(sizes.guards.values())
    assert fits(hint)
    agreed = 0
    for _ in range(200):
        other = [rng.randint(2, 30), rng.randint(2, 30)]
        if fits(other):
            agreed += 1
            assert branches(other) == wanted
    assert agreed or sizes.guards


def test_what_python_takes_as_an_int_is_noted():
    n = symbol(0)
    for use in (range, lambda x: [0] * x, operator.index, int, float, known, lambda x: 1 << x):
        with Sizes([12]) as sizes:
            use(n)
        fits = predicate(sizes.guards.values())
        assert fits([12])
        assert not fits([13])


def test_bit_length_holds_for_a_range():
    with Sizes([12]) as sizes:
        assert symbol(0).bit_length() == 4
    fits = predicate(sizes.guards.values())
    assert [n for n in range(2, 40) if fits([n])] == list(range(8, 16))


def test_equal_formulas_are_equal_unasked():
    n, m = symbol(0), symbol(1)
    with Sizes([8, 8]) as sizes:
        assert n * 3 + m == m + 2 * n + n
        assert hash(n * m) == hash(m * n)
        assert (6 * n + 5) // 3 == 2 * n + 1
        assert n * m // m == n
        assert n > 1
        assert not alike((n,), (m,))
        assert not alike((n,), (8,))
        assert alike((n + 1, 4), (1 + n, 4))
    assert not sizes.guards
    with Sizes([8, 8]) as sizes:
        assert n == m
    assert not predicate(sizes.guards.values())([8, 9])


def twice(x):
    """Return 2 x."""
    return 2 * x


def test_functions_wait_for_sizes():
    assert applied(twice, 4) == 8
    later = applied(twice, symbol(0)) + 1
    assert values_of([later])([21]) == (43,)
    with Sizes([5]) as sizes:
        assert later == 11
    assert not predicate(sizes.guards.values())([6])
