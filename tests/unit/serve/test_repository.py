"""Names to versions to servables."""

from __future__ import annotations

import pytest

from tenor.serve import Repository


def test_the_newest_version_is_the_largest_number(zoo):
    versions = [zoo.half_plus_three(version=v) for v in ("9", "10", "beta", "2")]
    repository = Repository(versions)
    assert repository.versions("half_plus_three") == ["10", "9", "2", "beta"]
    assert repository.find("half_plus_three") is versions[1]
    assert repository.find("half_plus_three", "beta") is versions[2]


def test_what_is_not_served_is_named_with_what_is(zoo):
    repository = Repository([zoo.half_plus_three(), zoo.linear()])
    with pytest.raises(LookupError, match="no model is named 'cat'; this server has half_plus_"):
        repository.find("cat")
    with pytest.raises(LookupError, match=r"has no version '4'; it has 123"):
        repository.find("half_plus_three", "4")
    with pytest.raises(LookupError, match="this server has no models"):
        Repository().versions("cat")


def test_models_come_and_go(zoo):
    repository = Repository()
    old, new = zoo.half_plus_three("1"), zoo.half_plus_three("2")
    repository.add(old)
    repository.add(new)
    assert repository.find("half_plus_three") is new
    repository.remove("half_plus_three", "2")
    assert repository.find("half_plus_three") is old
    repository.remove("half_plus_three", "1")
    assert repository.names() == []
    with pytest.raises(LookupError):
        repository.remove("half_plus_three", "1")


def test_a_model_of_the_same_version_is_replaced(zoo):
    first, second = zoo.linear(), zoo.linear()
    repository = Repository([first, second])
    assert repository.find("linear") is second
    assert repository.versions("linear") == ["1"]
