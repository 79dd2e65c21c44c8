"""A compiled function notices when a Python value it finds outside its arguments is another."""

import argparse
import enum
import functools
import io
import logging
import operator
import pathlib
import random
import re
import sys
import threading
import types
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.engine import pin
from tenor.engine.surroundings import Surroundings

scale = 1
TABLE = {"a": 2.0}


def ready(*values):
    return tn.tensor(list(values)).materialize()


def changed(function, change, *others):
    """Tell whether a change is noticed, and that nothing is noticed before."""
    found = Surroundings(function, others)
    assert found.same()
    change()
    return not found.same()


class Plain:
    rate = 1.0

    def __init__(self):
        self.factor, self.steps, self.names = 2.0, 0, ["a"]

    def run(self, x):
        return x * self.factor * self.rate + len(self.names)

    def count(self):
        self.steps += 1


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)
        self.gain, self.calls = 3.0, 0
        self.layers = [nn.Linear(1, 1)]

    def forward(self, x):
        return self.inner(x) * self.gain


def set_scale(value):
    global scale
    scale = value


def by_global(x):
    return x * scale


def through_another(x):
    return by_global(x) + 1


compiled = tn.compile(by_global)


# -- what is noticed ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "function",
    [
        by_global,
        through_another,
        lambda x: [by_global(x)],
        lambda x: compiled(x),
        functools.cache(by_global),
    ],
)
def test_a_global_also_of_a_function_that_is_called(function):
    set_scale(1)
    assert changed(function, lambda: set_scale(2))


@pytest.mark.parametrize(
    ("before", "after", "noticed"),
    [(1, 2, True), (1, 1.0, True), (1, True, True), (0.0, -0.0, True), ("a", "b", True),
     (1000.5, float("1000.5"), False), ((1, "b"), (1, "".join("b")), False), (None, 0, True),
     (tn.float32, tn.float64, True)],
)  # fmt: skip
def test_a_closure(before, after, noticed):
    held = before

    def function(x):
        return x, held

    def change():
        nonlocal held
        held = after

    assert changed(function, change) == noticed


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p, "factor", 5.0),
        lambda p: setattr(p, "rate", 5.0),
        lambda p: setattr(Plain, "rate", 7.0),
        lambda p: p.names.append("b"),
        lambda p: p.names.__setitem__(0, "c"),
        lambda p: delattr(p, "factor"),
    ],
)
def test_an_attribute(change):
    thing = Plain()
    try:
        assert changed(thing.run, lambda: change(thing))
        assert changed(lambda x: thing.run(x), lambda: setattr(thing, "factor", 9.0))
        assert changed(lambda x, t: t.run(x), lambda: setattr(thing, "factor", 8.0), thing)
    finally:
        Plain.rate = 1.0


def test_an_attribute_that_was_not_there():
    thing = Plain()
    assert changed(lambda x: x * getattr(thing, "bias", 0), lambda: setattr(thing, "bias", 1))
    assert changed(lambda x: thing.run(x), lambda: setattr(thing, "run", abs))


@pytest.mark.parametrize("kind", [types.SimpleNamespace, argparse.Namespace])
def test_options_kept_in_an_object_of_the_standard_library(kind):
    options = kind(scale=1.0, inner=kind(rate=2.0), epoch=0)

    def function(x):
        return x * options.scale * options.inner.rate

    assert changed(function, lambda: setattr(options, "scale", 2.0))
    assert changed(function, lambda: setattr(options.inner, "rate", 1.0))
    assert not changed(function, lambda: setattr(options, "epoch", 1))


class Slotted:
    __slots__ = ("later", "rate", "steps")

    def __init__(self):
        self.rate, self.steps = 2.0, 0


@dataclass(slots=True)
class Options:
    rate: float = 2.0
    inner: object = None


class Named(list):
    rate = 1.0


class Table(dict):
    pass


def test_slots():
    thing, options = Slotted(), Options(inner=Options())
    assert changed(lambda x: x * thing.rate, lambda: setattr(thing, "rate", 5.0))
    assert changed(lambda x: x * thing.rate, lambda: delattr(thing, "rate"))
    assert changed(lambda x: getattr(thing, "later", x), lambda: setattr(thing, "later", 5.0))
    assert not changed(lambda x: x * thing.rate, lambda: setattr(thing, "steps", 1))
    assert changed(lambda x: x * options.rate, lambda: setattr(options, "rate", 5.0))
    assert changed(lambda x: x * options.inner.rate, lambda: setattr(options.inner, "rate", 5.0))
    assert changed(lambda x, o: x * o.rate, lambda: setattr(options, "rate", 6.0), options)


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (deque([2.0]), lambda h: h.append(1.0)),
        (bytearray(b"ab"), lambda h: h.__setitem__(0, 9)),
        (UserDict(a=2.0), lambda h: h.update(a=5.0)),
        (ChainMap({}, {"a": 2.0}), lambda h: h.maps[1].update(a=5.0)),
        (types.MappingProxyType(TABLE), lambda h: TABLE.update(a=5.0)),
        (Named([1]), lambda h: h.append(2)),
        (Named([1]), lambda h: setattr(h, "rate", 5.0)),
        (Table(a=1), lambda h: setattr(h, "rate", 5.0)),
        ((np.ones(2),), lambda h: h[0].fill(5.0)),
        ([2.0].__getitem__, lambda h: h.__self__.append(5.0)),
    ],
)
def test_what_a_container_holds(held, change):
    assert changed(lambda x: (x, held, held.rate), lambda: change(held))


def test_a_module_imported_inside():
    def function(x):
        import surroundings_settings

        return x * surroundings_settings.RATE

    def method(x):
        from surroundings_settings import RATE

        return x * RATE

    name = "surroundings_settings"
    module = types.ModuleType(name)
    module.RATE, module.other = 2.0, 1
    assert changed(function, lambda: sys.modules.__setitem__(name, module))
    try:
        assert not changed(function, lambda: setattr(module, "other", 2))
        for k, f in enumerate((function, method, lambda x: method(x))):
            assert changed(f, functools.partial(setattr, module, "RATE", 5.0 + k))
    finally:
        del sys.modules[name]


class Drawing(random.Random):
    pass


@pytest.mark.parametrize(
    "held",
    [iter([1.0]), zip([1.0], strict=True), ContextVar("rate"), np.random.default_rng(0), Drawing(),
     Drawing().random, threading.local(), np.array([[1.0], None], object), io.StringIO()],
)  # fmt: skip
def test_what_cannot_be_looked_into_is_never_the_same(held):
    assert not Surroundings(lambda x: (x, held), ()).same()


@pytest.mark.parametrize(
    "held",
    [object(), len, np.sum, np.add, range(3), ..., tn.float32, tn.ones(1).device, tn.ones(1).shape,
     enum.Enum("Way", "up"), re.compile("a"), int | None, pathlib.Path("a"), threading.Lock(), tn,
     logging.getLogger("a"), ValueError("a"), operator.itemgetter(1), np.float32(1), "a".join,
     Slotted(), Options(), Table(), OrderedDict(a=1), defaultdict(list, a=[1])],
)  # fmt: skip
def test_what_keeps_nothing_out_of_sight(held):
    assert Surroundings(lambda x: (x, held), ()).same()


def test_attributes_that_no_code_mentions_may_change():
    thing, block = Plain(), Block()
    assert not changed(thing.run, thing.count)
    assert not changed(block, lambda: setattr(block, "calls", 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda b: setattr(b, "gain", 1.0),
        lambda b: setattr(b.inner, "weight", nn.Parameter(tn.ones(1, 1))),
        lambda b: setattr(b, "inner", nn.Linear(1, 1)),
        lambda b: b.eval(),
        lambda b: b.inner.register_forward_hook(lambda *a: None),
        lambda b: setattr(b, "forward", lambda x: x),
        lambda b: b.register_buffer("extra", tn.ones(1)),
    ],
)
def test_a_module(change):
    block = Block()
    assert changed(block, lambda: change(block))
    block = Block()
    assert changed(block.forward, lambda: change(block))


def test_small_arrays_by_their_elements():
    array = np.ones(3)
    assert changed(lambda x: x * tn.tensor(array), lambda: array.__setitem__(0, 2))


def test_defaults_and_keywords():
    def function(x, table=[1], *, more={"a": 1}):  # noqa: B006 - that is what is tested
        return x * table[0] * more["a"]

    assert changed(function, lambda: function.__defaults__[0].append(2))
    assert changed(function, lambda: function.__kwdefaults__["more"].update(a=2))


def test_a_long_list_is_known_by_its_length():
    long = list(range(5000))
    assert not changed(lambda x: x + long[0], lambda: long.__setitem__(1, 9))
    assert changed(lambda x: x + long[0], lambda: long.append(9))


def test_a_name_no_longer_bound():
    held = 1

    def function(x):
        return x * held

    def change():
        nonlocal held
        del held

    assert changed(function, change)


def test_installed_packages_are_not_searched():
    """They are large, and nobody's to change; the tests themselves need pytest and NumPy."""
    found = Surroundings(lambda x: pytest.approx(np.asarray(x)), ())
    checks = [found.rest, *[checks for _, checks in found.dicts.values()]]
    assert sum([len(c.places) + len(c.absent) for c in checks]) < 10


# -- what a compiled function does about it ----------------------------------------------------
def test_a_changed_value_is_recorded_and_one_from_before_replayed():
    set_scale(1)
    f = tn.compile(by_global)
    found = []
    for value in (1, 2, 1, 2, 3):
        set_scale(value)
        found.append(f(ready(10.0)).tolist())
    assert found == [[10.0], [20.0], [10.0], [20.0], [30.0]]
    assert f.recordings == 3


def test_a_function_that_changes_what_it_finds_is_called_each_time():
    counts, kept = [0], []

    def step(x):
        counts[0] += 1
        kept.append(x * 2)
        return x * counts[0]

    f = tn.compile(step)
    calls = pin.HOPELESS + 4
    assert [f(ready(1.0)).item() for _ in range(calls)] == [k + 1.0 for k in range(calls)]
    assert [x.item() for x in kept] == [2.0] * calls
    assert f.recordings == pin.HOPELESS, "then it is called without recording its surroundings"


def test_state_that_is_another_tensor_each_time():
    state = ready(0.0)

    @tn.compile
    def step(x):
        nonlocal state
        state = (state + x).tanh()
        return state * 1

    want = 0.0
    for _ in range(5):
        want = np.tanh(want + 0.5)
        assert step(ready(0.5)).item() == pytest.approx(want, rel=1e-6)


def test_attributes_that_change_outside_cost_nothing():
    block = Block()
    f = tn.compile(lambda x: block(x))
    for _ in range(5):
        f(tn.ones(1, 1).materialize())
        block.calls += 1
    assert f.recordings == 1


def test_an_iterator_is_asked_at_each_call():
    rates = iter([1.0, 2.0, 3.0, 4.0])
    f = tn.compile(lambda x: x * next(rates))
    assert [f(ready(1.0)).item() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_a_slot_written_inside():
    thing = Slotted()

    def step(x):
        thing.steps += 1
        return x * thing.steps

    f = tn.compile(step)
    assert [f(ready(1.0)).item() for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
