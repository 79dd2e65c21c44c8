"""Tensors as text: PyTorch's own text, character for character."""

import math

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, ObservationError
from tests.ops.oracle import given

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip
SHAPES = [(), (1,), (3,), (40,), (2, 3), (1, 1, 1), (2, 3, 4), (3, 30), (2, 1, 2, 3), (0,), (0, 3),
          (2, 0, 3), (1001,), (7, 150), (1500, 1), (12, 13, 14), (2, 600), (30, 2, 25)]  # fmt: skip


def same(x):
    assert repr(given(x)) == repr(x).replace("torch.", "tenor.")


@pytest.fixture(autouse=True)
def usual():
    yield
    tn.set_printoptions(profile="default")
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_dtypes(shape, dtype, count):
    g = torch.Generator().manual_seed(len(shape))
    for scale in (1, 50):
        same((torch.randn(shape, generator=g) * scale).to(dtype))
        count("printing", "shape x dtype x scale")


VALUES = [
    [0.0], [-0.0], [1.0, 2.0], [1.5, 2.0], [1e-5], [1e-4], [0.0001, 1.0], [1e8, 1.0], [1e8 + 64],
    [1e9], [123456789.0], [999.0, 0.5], [1001.0, 1.0], [1000.5, 1.0], [0.1, 100.1], [1e-10, 1e10],
    [math.nan], [math.inf], [-math.inf], [math.nan, 1.0], [math.inf, 1.5], [-math.inf, 1e-6, 3.0],
    [math.nan, math.inf, -math.inf], [0.0, math.nan], [-1.0, 0.0, 1.0], [1e20], [3.4e38], [1e-40],
    [100000.0, 3.0], [99999.0, 100.0], [12345.678], [-12345.678, 1.0], [0.99999], [9.99999, 0.1],
    [1 / 3, 2 / 3], [1e5, 1e5 + 0.5], [2.0**24, 2.0**24 + 2], [1.0, 1001.0, math.nan],
    [1e-7, 0.0], [5e-324], [1e300, 1.0],
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
@pytest.mark.parametrize("values", VALUES, ids=str)
def test_values(values, dtype, count):
    x = torch.tensor(values, dtype=dtype)
    same(x)
    same(x[0])
    same(x.repeat(3, 2))
    count("printing", "shape x dtype x scale", 3)


def test_integers():
    for values in ([0], [-1, 10], [2**62, 1], [-(2**63)], list(range(100))):
        same(torch.tensor(values))
    same(torch.tensor([2**63 + 5], dtype=torch.uint64))
    same(torch.tensor([True, False]))


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": 2}, {"precision": 8}, {"threshold": 5}, {"threshold": 5, "edgeitems": 1},
        {"linewidth": 30}, {"linewidth": 200}, {"sci_mode": True}, {"sci_mode": False},
        {"profile": "short"}, {"profile": "full"}, {"threshold": 5, "edgeitems": 0},
        {"profile": "short", "linewidth": 40},
    ],
    ids=str,
)  # fmt: skip
def test_options(settings):
    tn.set_printoptions(**settings)
    torch.set_printoptions(**settings)
    assert tn.get_printoptions() == torch._tensor_str.get_printoptions()
    g = torch.Generator().manual_seed(3)
    for shape in ((), (3,), (40,), (5, 9), (3, 4, 12), (1100,)):
        for scale in (1.0, 1e-6, 1e6):
            same(torch.randn(shape, generator=g) * scale)
        same(torch.arange(math.prod(shape)).reshape(shape))
        same(torch.arange(math.prod(shape)).reshape(shape).float())


def test_options_come_back():
    before = tn.get_printoptions()
    with tn.printoptions(precision=1):
        assert repr(tn.tensor([0.25])) == "tensor([0.2])"
    assert tn.get_printoptions() == before
    with pytest.raises(ArgumentError):
        tn.set_printoptions(profile="tiny")


def test_gradients_are_shown():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    y = x * x
    assert repr(y) == "tensor([1., 4.], grad_fn=<MulBackward0>)"
    assert repr(y) == "tensor([1., 4.], grad_fn=<MulBackward0>)"
    assert x.grad_fn is None
    assert y.grad_fn.name() == "MulBackward0"
    assert repr(y.detach()) == "tensor([1., 4.])"
    same(torch.ones(30, 4, requires_grad=True))
    same(torch.ones(14, dtype=torch.float64, requires_grad=True))
    same(torch.ones(0, 2, requires_grad=True))
    same(torch.rand(9, requires_grad=True))


def test_views_print_as_their_values():
    x = torch.arange(12.0).reshape(3, 4)
    y = given(x)
    assert repr(y.T[1:, ::2]) == repr(x.T[1:, ::2])
    assert str(y[1]) == str(x[1])


def test_format():
    x = tn.tensor(1 / 3)
    assert f"{x:.2f}" == "0.33"
    assert f"{x}" == f"{torch.tensor(1 / 3)}"
    assert f"{tn.tensor(7):03d}" == "007"
    assert f"{tn.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError):
        f"{tn.tensor([1.0]):.2f}"


def test_printing_inside_a_compiled_function_is_refused():
    @tn.compile
    def f(x):
        print(x)
        return x

    with pytest.raises(ObservationError):
        f(tn.ones(2))
