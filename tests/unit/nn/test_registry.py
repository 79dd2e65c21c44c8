"""A module's registries and its attributes say the same, however either is written."""

import copy

import pytest

import tenor as tn
from tenor.nn.registry import Registry

Linear = tn.nn.Linear
CHANGES = {
    "set": lambda held, p: held.__setitem__("weight", p),
    "delete": lambda held, p: held.__delitem__("weight"),
    "pop": lambda held, p: held.pop("weight"),
    "pop what is not there": lambda held, p: held.pop("nothing", None),
    "pop the last": lambda held, p: held.popitem(),
    "clear": lambda held, p: held.clear(),
    "update": lambda held, p: held.update(weight=p),
    "set a default": lambda held, p: held.setdefault("more", p),
    "merge": lambda held, p: held.__ior__({"bias": p}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_registry_written_directly_is_seen_in_attributes(change):
    layer = Linear(2, 3)
    CHANGES[change](layer._parameters, tn.nn.Parameter(tn.ones(3, 2)))
    for name in ("weight", "bias", "more"):
        assert getattr(layer, name, "none") is layer._parameters.get(name, "none")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_a_copy_has_registries_of_its_own(again):
    layer = Linear(2, 3)
    made = again(layer)
    assert isinstance(made._parameters, Registry)
    assert made.weight is made._parameters["weight"]
    made.weight = tn.nn.Parameter(tn.zeros(3, 2))
    assert layer.weight is layer._parameters["weight"]
    assert layer.weight is not made.weight


def test_a_name_of_the_class_stays_the_classs():
    layer = Linear(2, 3)
    layer.forward = Linear(2, 2)
    assert tuple(layer(tn.ones(1, 2)).shape) == (1, 3)
    assert "forward" in dict(layer.named_children())
