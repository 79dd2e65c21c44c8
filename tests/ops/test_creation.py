"""Tensors from data, from one value and from rules, against PyTorch."""

import math

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.tensor import creation
from tests.ops.oracle import agree, given, name
from tests.ops.rows import ALL, MODES, Row, Sample, problems

BASE = torch.arange(6.0).reshape(2, 3)


def calls(*functions):
    """Return samples of `f(m, dtype)` and `f(m)`, that are given no tensor."""

    def samples(draw):
        for i, f in enumerate(functions):
            yield Sample(str(i), (), lambda m, f=f: f(m, getattr(m, draw.name)))

    return samples


def likes(function):
    def samples(draw):
        for shape in ((2, 3), (), (0, 4)):
            yield Sample(f"{shape}", (draw(shape),), lambda m, x: getattr(m, function)(x))
        yield Sample(
            "dtype", (draw((2, 3)),), lambda m, x: getattr(m, function)(x, dtype=m.float64)
        )
        yield Sample("turned", (draw((2, 3)),), lambda m, x: getattr(m, function)(x.mT))

    return samples


def shaped(function):
    return calls(
        lambda m, d: getattr(m, function)(2, 3, dtype=d),
        lambda m, d: getattr(m, function)((2, 3), dtype=d),
        lambda m, d: getattr(m, function)([4], dtype=d),
        lambda m, d: getattr(m, function)((), dtype=d),
        lambda m, d: getattr(m, function)(0, 3, dtype=d),
        lambda m, d: getattr(m, function)(3),
        lambda m, d: getattr(m, function)(2, -1),
    )


def emptied(draw):
    """Return samples of empty(): shapes and dtypes alone, for PyTorch's hold anything."""
    for f in (
        lambda m, d: m.empty(2, 3, dtype=d),
        lambda m, d: m.empty((0,), dtype=d),
        lambda m, d: m.empty(3),
    ):
        yield Sample(
            "empty",
            (),
            lambda m, f=f: (
                f(m, getattr(m, draw.name)) * 0
                if draw.kind == "int"
                else m.zeros_like(f(m, getattr(m, draw.name)))
            ),
        )


LATE = ("uint16", "uint32", "uint64")
ROWS = {
    "zeros": Row(shaped("zeros")),
    "ones": Row(shaped("ones")),
    "empty": Row(emptied),
    "full": Row(
        calls(
            lambda m, d: m.full((2, 3), 1, dtype=d),
            lambda m, d: m.full((), 0, dtype=d),
            lambda m, d: m.full((2,), 2.5),
            lambda m, d: m.full((2,), 7),
            lambda m, d: m.full((2,), True),
            lambda m, d: m.full([0], 1, dtype=d),
            lambda m, d: m.full((2,), math.inf),
            lambda m, d: m.full((2,), m.tensor(3)),
        )
    ),
    "zeros_like": Row(likes("zeros_like")),
    "ones_like": Row(likes("ones_like")),
    "empty_like": Row(
        lambda draw: [
            s._replace(call=lambda m, x, f=s.call: m.zeros_like(f(m, x)))
            for s in likes("empty_like")(draw)
        ]
    ),
    "full_like": Row(
        lambda draw: [
            Sample("1", (draw((2, 3)),), lambda m, x: m.full_like(x, 1)),
            Sample("dtype", (draw((2, 3)),), lambda m, x: m.full_like(x, 2.5, dtype=m.float64)),
        ]
    ),
    "arange": Row(
        calls(
            lambda m, d: m.arange(5, dtype=d),
            lambda m, d: m.arange(2, 9, dtype=d),
            lambda m, d: m.arange(1, 9, 3, dtype=d),
            lambda m, d: m.arange(0, dtype=d),
            lambda m, d: m.arange(5),
            lambda m, d: m.arange(5.0),
            lambda m, d: m.arange(1, 2, 0.25),
            lambda m, d: m.arange(9, 1, -2),
            lambda m, d: m.arange(1.0, 0.0, -0.3),
            lambda m, d: m.arange(0, 1, 0.1),
            lambda m, d: m.arange(5, 1),
            lambda m, d: m.arange(0, 5, 0),
            lambda m, d: m.arange(2.5, dtype=m.float64),
        ),
        takes=LATE,
    ),
    "linspace": Row(
        calls(
            lambda m, d: m.linspace(0, 1, 5, dtype=d),
            lambda m, d: m.linspace(-3, 3, 7),
            lambda m, d: m.linspace(2, 2, 3),
            lambda m, d: m.linspace(5, 1, 1),
            lambda m, d: m.linspace(0, 1, 0),
            lambda m, d: m.linspace(-1, 1, 100),
            lambda m, d: m.linspace(0, 1, -1),
            lambda m, d: m.linspace(0, 10, 5, dtype=m.int64),
        ),
        dtypes=("float64", "float32", "float16", "bfloat16"),
    ),
    "logspace": Row(
        calls(
            lambda m, d: m.logspace(0, 2, 3, dtype=d),
            lambda m, d: m.logspace(-1, 1, 5),
            lambda m, d: m.logspace(0, 3, 4, 2.0),
            lambda m, d: m.logspace(0, 1, 0),
        ),
        dtypes=("float64", "float32", "float16", "bfloat16"),
    ),
    "eye": Row(
        calls(
            lambda m, d: m.eye(3, dtype=d),
            lambda m, d: m.eye(2, 4, dtype=d),
            lambda m, d: m.eye(0, dtype=d),
            lambda m, d: m.eye(4, 2),
            lambda m, d: m.eye(-1),
        ),
        takes=LATE,
    ),
    "tensor": Row(
        calls(
            lambda m, d: m.tensor([1, 2, 3], dtype=d),
            lambda m, d: m.tensor([[1.0, 2.0]]),
            lambda m, d: m.tensor(1),
            lambda m, d: m.tensor(True),
            lambda m, d: m.tensor([True, False]),
            lambda m, d: m.tensor(1.5),
            lambda m, d: m.tensor([]),
            lambda m, d: m.tensor([[], []], dtype=d),
            lambda m, d: m.tensor([1, 2.5]),
            lambda m, d: m.tensor([True, 2]),
            lambda m, d: m.tensor(np.arange(3)),
            lambda m, d: m.tensor(np.float32(2)),
            lambda m, d: m.tensor(((1, 2), (3, 4))),
            lambda m, d: m.tensor([np.int64(3), 4]),
            lambda m, d: m.tensor(range(3)),
            lambda m, d: m.tensor([1, 0], dtype=m.bool),
            lambda m, d: m.tensor([np.array([1, 2]), np.array([3, 4])]),
            lambda m, d: m.tensor([2**40, -1]),
            lambda m, d: m.tensor([1.5, 2.7], dtype=m.int32),
        )
    ),
    "as_tensor": Row(
        calls(lambda m, d: m.as_tensor([1, 0], dtype=d), lambda m, d: m.as_tensor(np.arange(3.0)))
    ),
    "asarray": Row(
        calls(lambda m, d: m.asarray([1, 0], dtype=d), lambda m, d: m.asarray(np.arange(3.0)))
    ),
    "from_numpy": Row(
        calls(
            lambda m, d: m.from_numpy(np.arange(6.0).reshape(2, 3)),
            lambda m, d: m.from_numpy(np.arange(6).reshape(2, 3).T),
            lambda m, d: m.from_numpy(np.array([True])),
            lambda m, d: m.from_numpy(np.arange(6)[::2]),
        )
    ),
    "from_dlpack": Row(
        calls(lambda m, d: m.from_dlpack(torch.arange(6.0)), lambda m, d: m.from_dlpack(BASE.T))
    ),
}
MADE_OUTSIDE = ("as_tensor", "asarray", "from_numpy", "from_dlpack")
"""Functions that share memory, which a compiled function does not make."""


def test_every_function_has_a_row():
    assert set(ROWS) == {*creation.__all__, "from_dlpack"}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("function", ROWS)
def test_values(function, dtype, count):
    if dtype not in ROWS[function].dtypes:
        return
    modes = tuple(m for m in MODES if m != "compiled") if function in MADE_OUTSIDE else MODES
    found = problems(function, ROWS[function], dtype, modes, count=count)
    assert not found, "\n".join(found[:12])


# -- what a table does not say -----------------------------------------------------------------
@pytest.mark.parametrize("like", ["new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"])
@pytest.mark.parametrize("dtype", ALL)
def test_new_ones_of_a_tensors_dtype(like, dtype):
    for options in ({}, {"dtype": "float64"}):
        made = []
        for lib in (tn, torch):
            x = lib.ones(2, dtype=getattr(lib, dtype))
            args = {"new_full": ((2, 3), 1), "new_tensor": ([1, 0],)}.get(like, (2, 3))
            extra = {k: getattr(lib, v) for k, v in options.items()}
            y = getattr(x, like)(*args, **extra)
            made.append(lib.zeros_like(y) if like == "new_empty" else y)
        agree(*made)
    x = tn.ones(2)
    assert x.new_zeros((4,)).shape == x.new_zeros([4]).shape == x.new_zeros(4).shape == (4,)
    assert x.new_ones(2, requires_grad=True).requires_grad


def test_linspace_ends_are_exact():
    for start, end, steps in ((0.1, 0.7, 7), (-1e30, 1e30, 9), (1 / 3, 2 / 3, 1001)):
        got = tn.linspace(start, end, steps, dtype=tn.float64)
        assert (got[0].item(), got[-1].item()) == (start, end)
    assert np.array_equal(tn.linspace(0, 1, 11).numpy(), torch.linspace(0, 1, 11).numpy())


def test_data_are_copied_or_shared():
    array = np.arange(4.0)
    copied, shared, also, once = (
        tn.tensor(array),
        tn.from_numpy(array),
        tn.as_tensor(array),
        tn.asarray(array, copy=True),
    )
    array[0] = 9.0
    assert copied[0].item() == once[0].item() == 0.0
    assert shared[0].item() == also[0].item() == 9.0
    shared[1] = 7.0
    assert array[1] == 7.0
    x = tn.ones(3)
    assert tn.as_tensor(x) is x
    assert tn.asarray(x) is x
    assert tn.asarray(x, copy=True) is not x
    y = tn.tensor(x)
    y += 1
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_arrays_that_cannot_be_shared_are_copied():
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    for array in (frozen, np.arange(6.0)[::2], np.arange(3).astype(">i4"), np.arange(3.0)[::-1]):
        x = tn.from_numpy(array)
        assert x.tolist() == array.tolist()
        x += 1
        assert x[0].item() == array[0] + 1


def test_from_dlpack_shares_memory_with_pytorch():
    theirs = torch.arange(4.0)
    mine = tn.from_dlpack(theirs)
    theirs[1] = 5.0
    assert mine.tolist() == [0.0, 5.0, 2.0, 3.0]
    mine += 1
    assert theirs.tolist() == [1.0, 6.0, 3.0, 4.0]
    back = torch.from_dlpack(mine * 2)
    assert back.tolist() == [2.0, 12.0, 6.0, 8.0]


@pytest.mark.parametrize("kind", ALL)
def test_every_dtype_crosses_dlpack_both_ways(kind):
    ours = tn.tensor([[1, 0, 1], [0, 1, 1]]).to(getattr(tn, kind))
    theirs = torch.from_dlpack(ours)
    assert (name(theirs.dtype), theirs.tolist()) == (kind, ours.tolist())
    theirs[0, 1] = 1
    assert ours[0].tolist() == [1, 1, 1]
    back = tn.from_dlpack(theirs)
    assert (back.dtype.name, back.tolist()) == (kind, ours.tolist())
    back[1, 0] = 1
    assert theirs[1].tolist() == [1, 1, 1]
    assert tn.from_dlpack(theirs.T).tolist() == theirs.T.tolist()
    assert tn.from_dlpack(theirs[:, ::2]).tolist() == theirs[:, ::2].tolist()
    assert tn.from_dlpack(theirs[:0]).shape == (0, 3)
    assert tn.from_dlpack(ours).dtype is ours.dtype
    assert torch.from_dlpack(ours[:, 1:]).tolist() == ours[:, 1:].tolist()


def test_leaves_that_need_gradients():
    for make in (
        lambda: tn.zeros(2, requires_grad=True),
        lambda: tn.tensor([1.0], requires_grad=True),
        lambda: tn.full((2,), 1.0, requires_grad=True),
        lambda: tn.arange(3.0, requires_grad=True),
        lambda: tn.eye(2, requires_grad=True),
        lambda: tn.ones_like(tn.ones(2), requires_grad=True),
        lambda: tn.linspace(0, 1, 3, requires_grad=True),
    ):
        x = make()
        assert x.requires_grad
        assert x.is_leaf
        (x * x).sum().backward()
        assert np.array_equal(x.grad.numpy(), 2 * x.detach().numpy())


def test_the_default_dtype_of_what_python_gives():
    for value in (1, 1.0, True, [1, 2], [1.0], [True, False], []):
        assert tn.tensor(value).dtype.name == name(torch.tensor(value).dtype)
    for kind in ("float16", "float64", "int8", "uint16", "bool"):
        assert tn.tensor(np.ones(2, kind)).dtype.name == kind
        assert tn.tensor(list(np.ones(2, kind))).dtype.name == kind
        assert tn.tensor([np.ones(2, kind)]).dtype.name == kind
    for mixed in (
        [np.int32(1), 2],
        [np.float64(1), 2.0],
        [[np.float32(1)], [2]],
        [np.int8(1), True],
    ):
        assert tn.tensor(mixed).dtype.name == name(torch.tensor(mixed).dtype)
    for kind in (float, int, bool):
        assert tn.tensor([1], dtype=kind).dtype.name == name(torch.tensor([1], dtype=kind).dtype)


def test_tensors_among_data():
    a, b = tn.tensor(1.5), tn.tensor(2.5)
    assert tn.tensor([a, b]).tolist() == [1.5, 2.5]
    assert tn.tensor([[a, 1], [b, 2]]).tolist() == [[1.5, 1.0], [2.5, 2.0]]
    assert tn.tensor([tn.tensor([1, 2]), tn.tensor([3, 4])]).dtype is tn.int64


ERRORS = {
    "ragged": (lambda: tn.tensor([[1, 2], [3]]), ShapeError, ("one length", "different lengths")),
    "strings": (lambda: tn.tensor(["a"]), DTypeError, ("numbers",)),
    "an object": (lambda: tn.tensor(object()), DTypeError, ("numbers",)),
    "complex": (lambda: tn.tensor([1j]), DTypeError, ("numbers",)),
    "a negative extent": (lambda: tn.zeros(-1), ShapeError, ("not negative", "(-1,)")),
    "a float extent": (lambda: tn.zeros(2.5), ArgumentError, ("integers", "2.5")),
    "a device": (lambda: tn.zeros(2, device="cuda"), ArgumentError, ("cuda", "cpu")),
    "a dtype": (lambda: tn.zeros(2, dtype="float7"), DTypeError, ("'float7'", "float32")),
    "a step of 0": (lambda: tn.arange(0, 5, 0), ArgumentError, ("step", "step=0")),
    "a step away": (lambda: tn.arange(5, 0), ArgumentError, ("step", "end=0")),
    "integers with gradients": (
        lambda: tn.ones(2, dtype=tn.int64, requires_grad=True),
        DTypeError,
        ("gradients", "int64"),
    ),
    "a number too large": (lambda: tn.tensor(2**63), ArgumentError, ("must fit", "int64")),
    "a byte too large": (
        lambda: tn.tensor([1, 256], dtype=tn.uint8),
        ArgumentError,
        ("must fit", "from 1 to 256 for uint8"),
    ),
    "NaN for integers": (lambda: tn.tensor([math.nan], dtype=tn.int64), ArgumentError, ("nan",)),
    "full of too much": (lambda: tn.full((2,), 300, dtype=tn.int8), ArgumentError, ("300",)),
    "no array": (lambda: tn.from_numpy([1, 2]), DTypeError, ("a NumPy array", "(list)")),
    "arange to infinity": (lambda: tn.arange(math.inf), ArgumentError, ("arange", "infinity")),
    "NumPy's strings": (lambda: tn.from_numpy(np.array(["a"])), DTypeError, ("NumPy dtype",)),
    "linspace": (lambda: tn.linspace(0, 1, -2), (ArgumentError, ShapeError), ("linspace",)),
    "eye": (lambda: tn.eye(-2), (ArgumentError, ShapeError), ("eye",)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)


def test_a_tensor_is_given_back_whole():
    assert given(BASE).tolist() == BASE.tolist()
