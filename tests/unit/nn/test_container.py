"""Containers against PyTorch's: the same names, lengths and slices after the same moves."""

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, IndexRangeError


def make(lib, container):
    """Return the arguments of a container of one more layer."""
    part = lib.Linear(2, 9)
    return (part,) if isinstance(container, lib.Sequential) else ([part],)


MOVES = {
    "append": lambda lib, c: c.append(lib.Linear(2, 9)),
    "extend": lambda lib, c: c.extend([lib.Linear(2, 8), lib.Linear(2, 9)]),
    "insert": lambda lib, c: c.insert(1, lib.Linear(2, 9)),
    "pop": lambda lib, c: c.pop(1),
    "pop last": lambda lib, c: c.pop(-1),
    "set": lambda lib, c: c.__setitem__(-1, lib.Linear(2, 9)),
    "delete": lambda lib, c: c.__delitem__(0),
    "delete slice": lambda lib, c: c.__delitem__(slice(1, 3)),
    "add": lambda lib, c: c + c,
    "add in place": lambda lib, c: c.__iadd__(type(c)(*make(lib, c))),
    "slice": lambda lib, c: c[1:],
    "append to a slice": lambda lib, c: c[1:3].append(lib.Linear(2, 9)),
}


def shapes(container):
    """Return names and shapes of the parameters."""
    return [(n, tuple(p.shape)) for n, p in container.named_parameters(remove_duplicate=False)]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", ["Sequential", "ModuleList"])
def test_a_row_moves_as_pytorchs(name, move):
    found = []
    for lib in (tn.nn, torch.nn):
        parts = [lib.Linear(2, i + 1) for i in range(4)]
        container = lib.Sequential(*parts) if name == "Sequential" else lib.ModuleList(parts)
        result = MOVES[move](lib, container)
        kept = result if isinstance(result, type(container)) else container
        found.append((shapes(kept), len(kept), [m.out_features for m in kept]))
    assert found[0] == found[1]


@pytest.mark.parametrize("cut", [slice(1, 3), slice(None, -1), slice(None, None, 2)])
@pytest.mark.parametrize("name", ["Sequential", "ModuleList"])
def test_slices(name, cut):
    def build(lib):
        parts = [lib.Linear(2, i + 1) for i in range(4)]
        return lib.Sequential(*parts) if name == "Sequential" else lib.ModuleList(parts)

    ours, theirs = build(tn.nn), build(torch.nn)
    assert type(ours[cut]).__name__ == name
    assert [m.out_features for m in ours[cut]] == [m.out_features for m in theirs[cut]]
    assert ours[cut][0] is ours[0 if cut.start is None else cut.start]


def test_a_sequential_repeats_as_pytorchs():
    found = []
    for lib in (tn.nn, torch.nn):
        row = lib.Sequential(lib.Linear(2, 2), lib.ReLU())
        row *= 2
        found.append([list((row * 2).state_dict()), len(2 * row), repr(row)])
        assert row[0] is row[2]
    assert found[0] == found[1]


def test_sequential_runs_in_order_and_a_slice_runs_too():
    model = tn.nn.Sequential(tn.nn.Flatten(), tn.nn.Linear(6, 3), tn.nn.ReLU())
    x = tn.ones(2, 2, 3)
    whole, part = model(x), model[:2](x)
    assert np.array_equal(whole.detach().numpy(), np.maximum(part.detach().numpy(), 0))
    assert tn.nn.Sequential()(x) is x


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexRangeError, match="it holds 4"):
        tn.nn.ModuleList(tn.nn.ReLU() for _ in range(4))[index]


def test_rows_contain_by_identity():
    a, b = tn.nn.ReLU(), tn.nn.ReLU()
    row = tn.nn.ModuleList([a])
    assert a in row
    assert b not in row
    row += [b]
    assert b in row


def test_a_dict_of_modules():
    row = tn.nn.ModuleDict({"a": tn.nn.ReLU()})
    row["b"] = tn.nn.Tanh()
    row.update([("c", tn.nn.Linear(2, 1)), ("a", tn.nn.Tanh())])
    assert list(row.keys()) == ["a", "b", "c"]
    assert isinstance(row["a"], tn.nn.Tanh)
    assert row.pop("c").out_features == 1
    assert [n for n, _ in row.items()] == ["a", "b"]
    del row["a"]
    assert len(row) == 1
    assert "b" in row
    assert row.get("a") is None
    assert [type(m).__name__ for m in row.values()] == ["Tanh"]
    row.clear()
    assert list(row) == []


def test_a_list_of_parameters():
    row = tn.nn.ParameterList([tn.ones(2), tn.nn.Parameter(tn.zeros(3))])
    row.append(tn.ones(1))
    row += [tn.ones(4)]
    assert [tuple(p.shape) for p in row] == [(2,), (3,), (1,), (4,)]
    assert [n for n, _ in row.named_parameters()] == ["0", "1", "2", "3"]
    row[-1] = tn.zeros(5)
    assert tuple(row[3].shape) == (5,)
    assert len(row[1:]) == 3
    assert "(0): Parameter containing: [tenor.float32 of size 2]" in repr(row)
    assert not tn.nn.ParameterList([tn.tensor([1])])[0].requires_grad
    with pytest.raises(ArgumentError, match=r"nn\.Parameter"):
        row.append([1.0])


def test_a_dict_of_parameters():
    row = tn.nn.ParameterDict({"gain": tn.ones(2)})
    row["shift"] = tn.zeros(2)
    assert [n for n, _ in row.named_parameters()] == ["gain", "shift"]
    assert "gain" in row
    del row["gain"]
    assert list(row) == ["shift"]
    row.update({"scale": tn.ones(3)})
    assert tuple(row.scale.shape) == (3,)
    assert row.pop("scale").requires_grad
    assert row.get("scale") is None
    assert len(tn.nn.ParameterDict([("a", tn.ones(1))])) == 1
    assert [p.tolist() for p in row.values()] == [[0.0, 0.0]]
