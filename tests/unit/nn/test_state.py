"""State: what a module keeps beside tensors, values assigned to it, buffers by assignment."""

import copy

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ShapeError, TenorError

nn = tn.nn


def counting(lib):
    """Return a layer that counts in plain Python and keeps the count in its state."""

    class Counting(lib.nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    return lib.nn.Sequential(Counting(2, 1), lib.nn.ReLU(), Counting(1, 1))


def test_extra_state_is_saved_and_loaded_as_pytorchs():
    ours, theirs = counting(tn), counting(torch)
    ours(tn.ones(3, 2)), ours(tn.ones(3, 2)), theirs(torch.ones(3, 2))
    mine, its = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(its)
    assert mine["0._extra_state"] == {"calls": 2}
    again = counting(tn)
    assert not again.load_state_dict(mine).missing_keys
    assert (again[0].calls, again[2].calls) == (2, 2)
    ours.load_state_dict(its)
    assert ours[0].calls == 1


def test_extra_state_that_does_not_fit_changes_nothing():
    ours, state = counting(tn), counting(tn).state_dict()
    before = ours[0].weight.tolist()
    without = {k: v for k, v in state.items() if k != "2._extra_state"}
    with pytest.raises(ArgumentError, match=r"missing: 2._extra_state"):
        ours.load_state_dict(without)
    assert ours[0].weight.tolist() == before
    assert ours.load_state_dict(without, strict=False).missing_keys == ["2._extra_state"]
    with pytest.raises(ArgumentError, match=r"unexpected: _extra_state"):
        nn.Linear(2, 1).load_state_dict({**nn.Linear(2, 1).state_dict(), "_extra_state": 1})
    with pytest.raises(ArgumentError, match="no state beside"):
        nn.ReLU().get_extra_state()
    with pytest.raises(ArgumentError, match="no state beside"):
        nn.ReLU().set_extra_state(1)


def test_extra_state_goes_through_files(tmp_path):
    ours = counting(tn)
    ours(tn.ones(3, 2))
    tn.save(ours.state_dict(), tmp_path / "state.safetensors")
    again = counting(tn)
    again.load_state_dict(tn.load(tmp_path / "state.safetensors"))
    assert again[2].calls == 1
    x = tn.ones(1, 2)
    tn.save(ours, tmp_path / "model.tnr", example_inputs=x)
    assert tn.load(tmp_path / "model.tnr")(x).tolist() == ours(x).tolist()


@pytest.mark.parametrize("kept", [False, True])
def test_assigned_state_keeps_its_dtype_as_pytorchs(kept):
    found = []
    for lib in (tn, torch):
        source, target = lib.nn.BatchNorm1d(2).double(), lib.nn.BatchNorm1d(2)
        target.weight.requires_grad_(False)
        old, state = target.bias, source.state_dict(keep_vars=kept)
        target.load_state_dict(state, assign=True)
        new = target.state_dict(keep_vars=True)
        found.append([str(v.dtype).split(".")[-1] for v in new.values()])
        found[-1] += [target.bias is old, target.bias is source.bias, target.bias.is_leaf]
        found[-1] += [p.requires_grad for p in target.parameters()]
        found[-1] += [n for n, _ in target.named_buffers()]
    assert found[0] == found[1]


def test_assigned_state_is_a_value_of_its_own_and_reaches_lists_and_dicts():
    held = nn.ModuleList([nn.ParameterList([tn.ones(2)]), nn.ParameterDict({"a": tn.ones(2)})])
    state = {k: tn.zeros(2, dtype=tn.float64) for k in held.state_dict()}
    held.load_state_dict(state, assign=True)
    state["0.0"].add_(1.0)
    assert held[0][0].tolist() == [0.0, 0.0]
    assert [p.dtype for p in held.parameters()] == [tn.float64] * 2
    assert isinstance(held[1]["a"], nn.Parameter)


def test_assigned_state_that_does_not_fit_changes_nothing():
    m = nn.Linear(2, 1)
    before = m.weight
    with pytest.raises(ShapeError, match="shape"):
        m.load_state_dict({"weight": tn.ones(1, 2), "bias": tn.ones(2)}, assign=True)
    with pytest.raises(TenorError):
        m.load_state_dict({"weight": tn.ones(1, 2), "bias": tn.tensor([1])}, assign=True)
    assert m.weight is before


def test_a_buffer_registers_itself_as_pytorchs():
    found = []
    for lib in (tn, torch):
        m = lib.nn.Module()
        m.kept = lib.nn.Buffer(lib.ones(2))
        m.lost = lib.nn.Buffer(lib.ones(3), persistent=False)
        m.taken = lib.nn.Parameter(lib.ones(1))
        assert isinstance(m.kept, lib.nn.Buffer)
        with pytest.raises((ArgumentError, TypeError)):
            m.taken = lib.nn.Buffer(lib.ones(1))
        seen = [[n for n, _ in m.named_buffers()], list(m.state_dict())]
        twin = copy.deepcopy(m)
        seen += [list(twin.state_dict()), twin.lost.persistent, twin.kept.requires_grad]
        m.lost = lib.zeros(3)
        seen += [list(m.state_dict()), m.lost.tolist()]
        m.lost = lib.nn.Buffer(lib.ones(3))
        seen.append(list(m.state_dict()))
        found.append(seen)
    assert found[0] == found[1]


@pytest.mark.parametrize("remove", [False, True])
def test_a_name_forgets_that_its_buffer_was_not_saved(remove):
    found = []
    for lib in (tn, torch):
        m = lib.nn.Module()
        m.register_buffer("w", lib.ones(2), persistent=False)
        if remove:
            del m.w
        m.w = lib.nn.Parameter(lib.ones(2))
        found.append(list(m.state_dict()))
    assert found[0] == found[1] == ["w"]
