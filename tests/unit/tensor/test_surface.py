"""Calls as users make them: PyTorch's spellings, out=, and errors that name the argument."""

from __future__ import annotations

import contextlib
import fractions
import inspect
import pickle

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError, TenorError
from tenor.tensor import elementwise
from tenor.tensor.surface import public
from tests.ops.oracle import agree, given

X = torch.tensor([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])

SPELLED = {
    "abs": lambda m, x: m.abs(input=x),
    "add": lambda m, x: m.add(input=x, other=2, alpha=3),
    "softmax": lambda m, x: m.softmax(input=x, dim=1),
    "sum": lambda m, x: m.sum(input=x, dim=0, keepdim=True),
    "matmul": lambda m, x: m.matmul(input=x, other=x.T),
    "clamp": lambda m, x: m.clamp(input=x, max=1),
    "where": lambda m, x: m.where(condition=x > 0, input=x, other=0.0),
    "searchsorted": lambda m, x: m.searchsorted(m.arange(3.0), input=x),
    "gather": lambda m, x: m.gather(input=x, dim=1, index=(x > 0).long()),
    "zeros": lambda m, x: m.zeros(size=(2, 3)),
    "ones": lambda m, x: m.ones(size=(2, 3), dtype=m.int64),
    "new_zeros": lambda m, x: x.new_zeros(size=(2,)),
    "view": lambda m, x: x.view(size=(3, 2)),
    "reshape": lambda m, x: (x.reshape(shape=(3, 2)), m.reshape(x, shape=(-1,))),
    "permute": lambda m, x: (x.permute(dims=(1, 0)), m.permute(x, dims=(1, 0))),
    "flip": lambda m, x: (x.flip(dims=(0,)), m.flip(x, dims=[0, 1])),
    "expand": lambda m, x: x[:1].expand(size=(4, -1)),
    "broadcast_to": lambda m, x: m.broadcast_to(x[0], size=(2, 3)),
    "repeat": lambda m, x: x.repeat(repeats=(2, 1)),
    "tile": lambda m, x: m.tile(x, dims=(2,)),
    "swapaxes": lambda m, x: x.swapaxes(axis0=0, axis1=1),
    "split": lambda m, x: m.split(x, split_size_or_sections=2, dim=1),
    "split by size": lambda m, x: x.split(split_size=2, dim=1),
    "tensor_split": lambda m, x: m.tensor_split(x, indices=(1,), dim=1),
    "tensor_split in parts": lambda m, x: m.tensor_split(x, sections=2, dim=1),
    "dot": lambda m, x: m.dot(input=x[0], tensor=x[1]),
    "unbind": lambda m, x: m.unbind(input=x),
    "arange": lambda m, x: (m.arange(end=3), m.arange(start=1, end=3)),
    "repeat_interleave": lambda m, x: m.repeat_interleave(m.tensor([1, 0, 2])),
    "ones_like": lambda m, x: m.ones_like(input=x, dtype=m.int32, device="cpu"),
    "zeros_like": lambda m, x: m.zeros_like(x, requires_grad=True, device="cpu"),
    "full_like": lambda m, x: m.full_like(x, fill_value=2, device="cpu"),
}


@pytest.mark.parametrize("label", SPELLED)
def test_an_argument_goes_by_pytorchs_name(label):
    call = SPELLED[label]
    agree(call(tn, given(X)), call(torch, X))


OUT = {
    "add": lambda m, x, o: m.add(x, 1, out=o),
    "exp": lambda m, x, o: m.exp(x, out=o),
    "cat": lambda m, x, o: m.cat([x[:1], x[:1]], out=o),
    "clamp": lambda m, x, o: m.clamp(x, 0, 1, out=o),
    "cumsum": lambda m, x, o: m.cumsum(x, 1, out=o),
    "zeros": lambda m, x, o: m.zeros(2, 3, out=o),
}


@pytest.mark.parametrize("label", OUT)
def test_out_is_written_and_returned(label):
    call, theirs, ours = OUT[label], torch.full((2, 3), 7.0), tn.full((2, 3), 7.0)
    view = ours[0]
    want = call(torch, X, theirs)
    found = call(tn, given(X), ours)
    assert found is ours
    agree(found, want)
    assert view.tolist() == want[0].tolist()


@pytest.mark.parametrize("sequence", [tuple, list])
def test_out_of_two_results_is_two_tensors(sequence):
    values, indices = tn.zeros(2), tn.zeros(2, dtype=tn.int64)
    found = tn.max(given(X), 1, out=sequence((values, indices)))
    assert (values.tolist(), indices.tolist()) == ([2.0, 1.5], [2, 0])
    assert type(found) is type(tn.max(given(X), 1))
    assert found.values is values
    assert found.indices is indices


def test_out_of_several_results_is_as_they_come():
    outs = [tn.zeros(1, 3), tn.zeros(1, 3)]
    found = tn.split(given(X), 1, out=outs)
    assert type(found) is type(tn.split(given(X), 1))
    assert all(o is f for o, f in zip(outs, found, strict=True))
    assert [o.tolist() for o in outs] == [[row] for row in X.tolist()]


def test_out_may_be_what_the_results_are_views_of():
    x = tn.arange(4)
    tn.split(x, 2, out=(x[2:], x[:2]))
    assert x.tolist() == [2, 3, 0, 1]


MISFITS = {
    "another shape": (
        lambda o: tn.add(tn.ones(2), 1, out=tn.zeros(3)),
        (ShapeError, "out=a tensor (3,) float32 for a tensor (2,) float32"),
    ),
    "another dtype": (
        lambda o: tn.add(tn.ones(2), 1, out=tn.zeros(2, dtype=tn.int64)),
        (DTypeError, "out=a tensor (2,) int64 for a tensor (2,) float32"),
    ),
    "the second of two": (
        lambda o: tn.max(tn.ones(2, 3), 1, out=(o, tn.zeros(3, dtype=tn.int64))),
        (ShapeError, "out=a tensor (3,) int64 for a tensor (2,) int64"),
    ),
    "the dtype of the second": (
        lambda o: tn.max(tn.ones(2, 3), 1, out=(o, tn.zeros(2, dtype=tn.bool))),
        (DTypeError, "out=a tensor (2,) bool for a tensor (2,) int64"),
    ),
    "too few": (
        lambda o: tn.max(tn.ones(2, 3), 1, out=(o,)),
        (ArgumentError, "out=(a tensor (2,) float32)"),
    ),
    "one for two": (
        lambda o: tn.max(tn.ones(2, 3), 1, out=o),
        (ArgumentError, "out=a tensor (2,) float32"),
    ),
    "two for one": (
        lambda o: tn.exp(tn.ones(2), out=(o, o)),
        (ArgumentError, "out=(a tensor (2,) float32, a tensor (2,) float32)"),
    ),
    "a number": (lambda o: tn.exp(tn.ones(2), out=5), (ArgumentError, "out=5 (int)")),
    "of a bool": (
        lambda o: tn.allclose(tn.ones(2), tn.ones(2), out=o),
        (ArgumentError, "out=a tensor (2,) float32"),
    ),
}


@pytest.mark.parametrize("label", MISFITS)
def test_out_must_fit_before_anything_is_written(label):
    (call, (error, came)), out = MISFITS[label], tn.full((2,), 7.0)
    with pytest.raises(error, match=r"^\w+: out ") as caught:
        call(out)
    assert caught.value.came[0] == came
    assert caught.value.fix
    assert caught.value.where[0] == __file__
    assert out.tolist() == [7.0, 7.0]


WRONG = {
    "a number for a tensor": (lambda x: tn.exp(3.0), "x=3.0 (float)"),
    "a list for a tensor": (lambda x: tn.relu([1, 2]), "x=[1, 2] (list)"),
    "an array for a tensor": (
        lambda x: tn.matmul(x, np.ones((3, 2))),
        "other=a NumPy array (3, 2) float64",
    ),
    "a list for an index": (lambda x: x.gather(0, [1]), "index=[1] (list)"),
    "a number for tensors": (lambda x: tn.cat(5), "tensors=5 (int)"),
    "a string for a bound": (lambda x: x.clamp("a"), "min='a' (str)"),
    "None for a tensor": (lambda x: x.gather(0, None), "index=None (NoneType)"),
    "a string in place": (lambda x: x.add_("a"), "other='a' (str)"),
    "a list for a layer": (lambda x: tn.nn.Linear(3, 2)([1.0]), "input=[1.0] (list)"),
    "a number for labels": (
        lambda x: tn.nn.functional.cross_entropy(x, target=2),
        "target=2 (int)",
    ),
    "a number to differentiate": (
        lambda x: tn.autograd.grad(3, x),
        "outputs=3 (int)",
    ),
    "by keyword": (lambda x: tn.sum(input=[1.0]), "x=[1.0] (list)"),
}


@pytest.mark.parametrize("label", WRONG)
def test_an_argument_of_another_kind_is_named(label):
    call, came = WRONG[label]
    with pytest.raises(DTypeError) as caught:
        call(given(X))
    error = caught.value
    assert error.came == [came]
    assert error.fix
    assert error.where[0] == __file__
    assert isinstance(error, TypeError)


def test_arguments_that_do_not_go_together_are_shown():
    with pytest.raises(ArgumentError) as caught:
        tn.arange(float("nan"), 5)
    assert caught.value.came == ["start=nan (float)", "end=5 (int)"]
    assert caught.value.__cause__ is not None


MISTAKEN = """
def mistaken(x: Tensor, *dims: int, keepdim: bool = False, other: Any = None):
    raise mistake("inside")
"""


@pytest.mark.parametrize(
    "mistake", [AttributeError, FloatingPointError, IndexError, KeyError, ZeroDivisionError]
)
def test_a_mistake_of_our_own_is_not_the_arguments(mistake):
    names = {"__name__": "tenor.made", "mistake": mistake}
    exec(compile(MISTAKEN, "<tenor>", "exec"), names)
    call, x = public(names["mistaken"]), given(X)
    with pytest.raises(mistake, match="inside") as caught:
        call(x, 0, 1, keepdim=True)
    assert not isinstance(caught.value, TenorError)
    with pytest.raises(DTypeError, match="x must be a tensor"):
        call([1], 0)
    with pytest.raises(DTypeError, match="keepdim must be a bool"):
        call(x, 0, keepdim="yes")
    for unfit in ({"other": [1]}, {"dims": "a"}):  # it may be these: no annotation tells
        with pytest.raises(TenorError, match=r"do not go together: .*inside"):
            call(x, **unfit)


def test_what_python_says_itself_stays():
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        tn.exp()
    assert not isinstance(caught.value, TenorError)
    with pytest.raises(TypeError, match="unexpected keyword"):
        tn.softmax(given(X), dim=0, dims=1)


TWICE = {
    "sub": lambda x: tn.sub(x, input=x),
    "a method": lambda x: x.sub(input=x),
    "matmul": lambda x: tn.matmul(x, input=x),
    "with its other arguments": lambda x: tn.sum(x, input=x, dim=0),
    "with several": lambda x: tn.permute(x, input=x, dims=(1, 0)),
    "with any names": lambda x: x.uniform_(input=x),
}


@pytest.mark.parametrize("label", TWICE)
def test_the_first_tensor_is_given_once(label):
    with pytest.raises(
        TypeError, match=r"\w+\(\) got multiple values for argument 'input'"
    ) as caught:
        TWICE[label](given(X))
    assert not isinstance(caught.value, TenorError)


def test_a_signature_is_read_once(monkeypatch):
    x = given(X)
    want = x.permute(dims=(1, 0)).tolist()
    tn.add(input=x, other=1)
    tn.full(size=(2,), fill_value=1.0)
    monkeypatch.setattr(inspect, "signature", None)
    assert x.permute(dims=(1, 0)).tolist() == want
    assert tn.full(size=(2,), fill_value=1.0).tolist() == [1.0, 1.0]
    assert tn.add(input=x, other=1).tolist() == (x + 1).tolist()


def test_an_error_of_a_hook_is_its_own():
    x = tn.ones(2, requires_grad=True)

    def hook(g):
        return {}["no such key"]

    x.register_hook(hook)
    with pytest.raises(KeyError) as caught:
        x.sum().backward()
    assert not isinstance(caught.value, TenorError)


AT_A_PROMPT = """
def hook(g):
    raise ValueError("the user's own")

x = tn.ones(2, requires_grad=True)
x.register_hook(hook)
x.sum().backward()
"""


@pytest.mark.parametrize("names", [{"__name__": "__main__"}, {}, {"__name__": None}])
@pytest.mark.parametrize("file", ["<stdin>", "<string>", "<ipython-input-1>"])
def test_an_error_of_a_hook_typed_at_a_prompt_is_its_own(file, names):
    with pytest.raises(ValueError, match=r"^the user's own$") as caught:
        exec(compile(AT_A_PROMPT, file, "exec"), {"tn": tn, **names})
    assert not isinstance(caught.value, TenorError)


def test_an_error_of_pythons_own_function_as_a_hook_is_its_own():
    x = tn.ones(2, requires_grad=True)
    x.register_hook(fractions.Fraction)
    with pytest.raises(TypeError) as caught:
        x.sum().backward()
    assert not isinstance(caught.value, TenorError)


OURS = """
@contextlib.contextmanager
def within():
    yield

@within()
def fails(x):
    raise ValueError("no such")

def raw(x: float):
    return fails(x)
"""


def test_an_error_of_ours_is_turned_through_pythons_own_frames():
    names = {"__name__": "tenor.made", "contextlib": contextlib}
    exec(compile(OURS, "<tenor>", "exec"), names)
    with pytest.raises(ArgumentError, match="do not go together: no such") as caught:
        public(names["raw"])(1.0)
    assert caught.value.came == ["x=1.0 (float)"]


@pytest.mark.parametrize("function", [tn.stack, tn.exp, tn.concat, tn.nn.functional.linear])
def test_a_function_goes_to_another_process_by_name(function):
    assert pickle.loads(pickle.dumps(function)) is function


def test_a_function_is_public_once():
    assert tn.abs is tn.Tensor.abs is tn.Tensor.absolute is public(elementwise.abs)
    assert list(inspect.signature(tn.Tensor.add_).parameters) == ["x", "other", "alpha"]
