"""The device, which is the CPU."""

import pytest

import tenor as tn
from tenor.errors import ArgumentError


def test_names_and_equality():
    assert tn.Device("cpu:0").index == 0
    for made in (tn.device("cpu"), tn.Device("cpu"), tn.device(tn.device("cpu"))):
        assert made == tn.device("cpu")
        assert made.type == "cpu"
        assert hash(made) == hash(tn.device("cpu"))
    assert str(tn.device("cpu")) == "cpu"
    assert "cpu" in repr(tn.device("cpu"))
    assert tn.ones(1).device == tn.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:1", "gpu", ""])
def test_others_are_refused_by_name(name):
    with pytest.raises(ArgumentError) as caught:
        tn.device(name)
    assert repr(name) in str(caught.value) or name in str(caught.value)
    assert "fix:" in str(caught.value)
    with pytest.raises(ArgumentError):
        tn.zeros(1, device=name)
