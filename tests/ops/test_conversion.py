"""Values out and in: dtypes, Python numbers, NumPy, DLPack, devices, copies."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.errors import (
    ArgumentError,
    DTypeError,
    FormatError,
    GradientError,
    ObservationError,
    ShapeError,
)
from tenor.runtime.allocator import Buffer
from tests.ops.oracle import agree, given, name
from tests.ops.rows import ALL, FLOATS, Row, Sample, problems

CONVERTERS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
}


def casts(draw):
    """Return samples of every dtype a tensor can be brought to, for values that both hold."""
    for other in ALL:
        leaf = (
            draw((3, 5), "few") if "u" in other + draw.name or draw.kind == "bool" else draw((3, 5))
        )
        yield Sample(f"to {other}", (leaf,), lambda m, x, o=other: x.to(getattr(m, o)))
    for method in CONVERTERS:
        yield Sample(method, (draw((7,), "few"),), lambda m, x, f=method: getattr(x, f)())
    yield Sample("empty", (draw((0, 2)),), lambda m, x: x.to(m.float64))
    yield Sample("transposed", (draw((3, 4), "few"),), lambda m, x: x.mT.to(m.int32))
    yield Sample(
        "like", (draw((3,), "few"), torch.zeros(1, dtype=torch.int16)), lambda m, x, y: x.to(y)
    )
    yield Sample("copy", (draw((3,)),), lambda m, x: x.to(x.dtype, copy=True))
    yield Sample("type", (draw((3,), "few"),), lambda m, x: x.type(m.float64))
    if draw.kind == "float":
        numbers = torch.tensor(
            [0.0, -0.0, 1.5, -2.7, 100.9, math.inf, -math.inf, math.nan, 3e38, 7e-46, 65520.0]
        )
        for other in (*FLOATS, "bool"):
            yield Sample(
                f"extremes to {other}",
                (numbers.to(draw.dtype),),
                lambda m, x, o=other: x.to(getattr(m, o)),
            )
        for other in ("int64", "int32"):
            whole = torch.tensor(
                [0.0, -0.0, 1.5, -2.7, 100.9, -1e6 if draw.name != "float16" else -1e4]
            )
            yield Sample(
                f"truncated to {other}",
                (whole.to(draw.dtype),),
                lambda m, x, o=other: x.to(getattr(m, o)),
            )


@pytest.mark.parametrize("dtype", ALL)
def test_casts(dtype, count):
    found = problems("to", Row(casts, ulps=0), dtype, count=count)
    assert not found, "\n".join(found[:12])


def test_integers_wrap_when_narrowed():
    x = torch.tensor([300, -1, 2**31 + 5, 2**40, -(2**33) - 7])
    for dtype in ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64", "bool"):
        agree(given(x).to(getattr(tn, dtype)), x.to(getattr(torch, dtype)))
    big = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    for kind in ("int64", "int32", "uint8", "float64", "float32"):
        assert np.array_equal(tn.tensor(big).to(getattr(tn, kind)).numpy(), big.astype(kind))


def test_every_bfloat16_and_float16_goes_out_and_in():
    patterns = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    for dtype in (torch.bfloat16, torch.float16):
        x = patterns.view(dtype)
        wide = given(x).float()
        assert np.array_equal(wide.numpy(), x.float().numpy(), equal_nan=True)
        back = wide.to(getattr(tn, name(dtype)))
        assert np.array_equal(back.float().numpy(), x.float().numpy(), equal_nan=True)
    values = torch.randn(5000) * torch.logspace(-10, 10, 5000)
    for dtype in (torch.bfloat16, torch.float16):
        agree(given(values).to(getattr(tn, name(dtype))), values.to(dtype), 0)
        wider = values.double() * (1 + 2.0**-30)
        agree(given(wider).to(getattr(tn, name(dtype))), wider.to(dtype), 0)


def test_what_does_not_change_is_the_tensor_itself():
    x = tn.ones(2)
    for same in (
        x.float(),
        x.to(tn.float32),
        x.to("cpu"),
        x.cpu(),
        x.to(x),
        x.contiguous(),
        x.to("float32"),
    ):
        assert same is x
    assert x.to(tn.float32, copy=True) is not x
    assert x.to("cpu", tn.float64).dtype is tn.float64
    assert x.to(device="cpu", dtype=tn.int8).dtype is tn.int8
    assert x.to(np.float16).dtype is tn.float16
    assert (x.type(), x.type("int64").dtype) == ("tenor.FloatTensor", tn.int64)
    for long in ("torch.LongTensor", "tenor.LongTensor", tn.LongTensor, np.int64, int):
        assert x.type(long).dtype is tn.int64
    assert x.type(tn.float32) is x


def test_gradients_flow_through_casts_of_floats():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (x.double() * x.bfloat16().float()).sum().backward()
    assert x.grad.dtype is tn.float32
    assert x.grad.tolist() == [2.0, 4.0]
    assert not x.long().requires_grad


# -- numbers -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ALL)
def test_numbers_out(dtype):
    x, y = (lib.tensor([[1, 0], [3, 1]], dtype=getattr(lib, dtype)) for lib in (tn, torch))
    assert x.tolist() == y.tolist()
    assert type(x.tolist()[0][0]) is type(y.tolist()[0][0])
    assert x[1, 0].item() == y[1, 0].item()
    assert type(x[0, 0].item()) is type(y[0, 0].item())
    assert (int(x[1, 1]), float(x[1, 1]), complex(x[1, 1]), bool(x[0, 1])) == (
        1,
        1.0,
        1 + 0j,
        False,
    )
    assert tn.zeros(0, dtype=getattr(tn, dtype)).tolist() == []
    assert x[0, 0].tolist() == y[0, 0].tolist()
    if "int" in dtype:
        assert [10, 20, 30][x[0, 0]] == 20
        assert list(range(x[1, 0])) == [0, 1, 2]


def test_questions_of_one_element():
    assert tn.tensor([[2.5]]).item() == 2.5
    assert float(tn.tensor([3])) == 3.0
    assert bool(tn.tensor(math.nan))
    assert not tn.tensor([0.0])
    assert f"{tn.tensor(1.25):.1f}" == "1.2"
    assert tn.is_nonzero(tn.tensor(3))
    assert {tn.ones(1): 1}
    assert len(tn.ones(3, 2)) == 3
    assert round(float(tn.tensor(2.5))) == 2


# -- NumPy and DLPack -----------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [d for d in ALL if d != "bfloat16"])
def test_numpy_has_the_same_dtype_and_memory(dtype):
    x = tn.ones(2, 3, dtype=getattr(tn, dtype))
    array = x.numpy()
    assert array.dtype == dtype
    array[0, 1] = 0
    assert x[0, 1].item() == 0
    assert np.shares_memory(x.numpy(), array)
    assert np.asarray(x).dtype == dtype


@pytest.mark.parametrize("computed", [False, True])
def test_a_detached_tensor_is_lent_without_a_copy(computed, monkeypatch):
    """The view is kept in its base's buffer; that is no second owner."""
    x = tn.ones(4) + 1
    if computed:
        x.sum().item()
    with monkeypatch.context() as patch:
        patch.setattr(Buffer, "snapshot", None)
        out = x.detach().numpy()
    out[1] = 7
    assert x.tolist() == x.detach().tolist() == [2, 7, 2, 2]
    assert np.shares_memory(out, x.numpy())


def test_a_value_that_somebody_else_holds_is_copied_out():
    x = tn.ones(4) + 1
    y = x.clone()
    x.detach().numpy()[0] = 9
    assert (x.tolist(), y.tolist()) == ([9, 2, 2, 2], [2, 2, 2, 2])


def test_views_out_are_views():
    x = tn.arange(12.0).reshape(3, 4).clone()
    for view, look in (
        (x.T, lambda a: a.T),
        (x[:, 1:3], lambda a: a[:, 1:3]),
        (x[::-1], lambda a: a[::-1]),
        (x.view(-1)[::5], lambda a: a.reshape(-1)[::5]),
    ):
        out, whole = view.numpy(), x.numpy()
        assert np.shares_memory(out, whole)
        assert np.array_equal(out, look(whole))
    x.numpy()[1, 1] = 99.0
    assert x.T[1, 1].item() == 99.0


def test_numpys_functions_take_tensors():
    x = tn.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert np.array_equal(np.array(x), [[1, 2], [3, 4]])
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    copied = np.array(x, copy=True)
    copied[0, 0] = 7
    assert x[0, 0].item() == 1.0
    assert np.sin(x.numpy()).shape == (2, 2)
    assert np.concatenate([x, x]).shape == (4, 2)
    assert np.allclose(np.linalg.inv(x), [[-2, 1], [1.5, -0.5]])
    with pytest.raises(ArgumentError, match="copy"):
        np.asarray(x, dtype=np.float64, copy=False)


def test_arithmetic_of_arrays_and_tensors_gives_tensors():
    x = tn.tensor([1.0, 2.0])
    assert isinstance(np.float32(2) * x, tn.Tensor)
    assert (np.float64(3) - x).tolist() == [2.0, 1.0]
    array = np.array([3.0, 4.0], np.float32)
    x.requires_grad_()
    for mixed in (x + array, array + x, array * x, x - array, array / x, x @ array, array @ x):
        assert isinstance(mixed, tn.Tensor)
        assert mixed.requires_grad
    assert (array - x).tolist() == [2.0, 2.0]
    assert (array @ x).item() == 11.0
    assert (x + np.ones(2)).dtype is tn.float64
    assert (x > array).tolist() == [False, False]
    x.data += array
    assert x.tolist() == [4.0, 6.0]


def test_pytorch_reads_tensors_without_a_copy():
    x = tn.arange(6.0).reshape(2, 3).clone()
    theirs = torch.from_dlpack(x)
    theirs[0, 0] = 42.0
    assert x[0, 0].item() == 42.0
    x[1, 1] = -1.0
    assert theirs[1, 1].item() == -1.0
    assert torch.from_dlpack(x.T).tolist() == x.T.tolist()
    assert x.__dlpack_device__() == (1, 0)


# -- copies ------------------------------------------------------------------------------------
def test_copy_is_another_leaf_on_the_same_memory():
    x = tn.tensor([1.0, 2.0])
    y = copy.copy(x)
    y[0] = 5.0
    assert (y is x, x.tolist()) == (False, [5.0, 2.0])
    z = copy.copy(x.requires_grad_())
    assert (z.is_leaf, z.requires_grad, z.tolist()) == (True, True, [5.0, 2.0])


def test_deepcopy_is_a_leaf_of_its_own():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert y.is_leaf
    assert y.grad.tolist() == [3.0, 3.0]
    with tn.no_grad():
        y.add_(1)
    y.grad.zero_()
    assert x.tolist() == [1.0, 2.0]
    assert x.grad.tolist() == [3.0, 3.0]
    shared = copy.deepcopy([x, x])
    assert shared[0] is shared[1]
    with pytest.raises(GradientError, match="leaves"):
        copy.deepcopy(x * 2)


def test_clone_is_its_own_and_carries_the_gradient():
    x = tn.tensor([1.0, 2.0], requires_grad=True)
    y = x.clone()
    y.mul_(5)
    y.sum().backward()
    assert (x.tolist(), x.grad.tolist()) == ([1.0, 2.0], [5.0, 5.0])


# -- facts -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ALL)
def test_facts(dtype):
    x, y = (lib.zeros(2, 3, dtype=getattr(lib, dtype)) for lib in (tn, torch))
    for fact in ("ndim", "nbytes", "itemsize"):
        assert getattr(x, fact) == getattr(y, fact)
    for call in (
        "dim",
        "numel",
        "nelement",
        "ndimension",
        "element_size",
        "is_floating_point",
        "is_contiguous",
        "stride",
    ):
        assert getattr(x, call)() == getattr(y, call)()
    assert tuple(x.size()) == tuple(y.size()) == tuple(x.shape)
    assert (x.size(-1), x.size(0), x.stride(0)) == (3, 2, 3)
    assert x.T.stride() == y.T.stride()
    assert (str(x.device), x.device.type, x.device == tn.device("cpu")) == ("cpu", "cpu", True)
    assert tn.is_tensor(x)
    assert not tn.is_tensor(1)
    assert tn.is_floating_point(x) == torch.is_floating_point(y)
    assert tn.is_signed(x) == y.is_signed()
    assert tn.numel(x) == 6
    assert tn.is_same_size(x, x.T.T)


def test_equal_and_allclose():
    x = tn.tensor([1.0, 2.0])
    assert tn.equal(x, x.clone())
    assert not tn.equal(x, x[:1])
    assert not tn.equal(x, x + 1)
    assert tn.allclose(x, x + 1e-7)
    assert not tn.allclose(x, x + 1e-3)
    assert x.allclose(x + 1e-3, atol=1e-2)
    assert tn.allclose(x / 0 * 0, x / 0 * 0, equal_nan=True)
    assert not tn.allclose(x / 0 * 0, x / 0 * 0)


@tn.compile
def observes(x):
    return x * x.sum().item()


@tn.compile
def branches(x):
    return x if x.sum() > 0 else -x


ERRORS = {
    "item of several": (lambda x: x.item(), ArgumentError, ("item", "(2, 3)", "tolist()")),
    "bool of several": (lambda x: bool(x), ArgumentError, ("ambiguous", "(2, 3)", "any()")),
    "bool of none": (lambda x: bool(x[:0]), ArgumentError, ("ambiguous", "no values")),
    "len of no dims": (lambda x: len(x[0, 0]), ShapeError, ("len", "shape ()")),
    "iterating no dims": (lambda x: list(x[0, 0]), ShapeError, ("no dims",)),
    "a float as an index": (lambda x: [1][x[0, 0]], DTypeError, ("index", "float32")),
    "several as an index": (lambda x: [1][x[0].long()], ArgumentError, ("item", "(3,)")),
    "a string in a tensor": (lambda x: "a" in x, DTypeError, ("'a'",)),
    "NumPy of a gradient": (
        lambda x: x.requires_grad_().numpy(),
        GradientError,
        ("x.detach().numpy()",),
    ),
    "NumPy of bfloat16": (lambda x: x.bfloat16().numpy(), DTypeError, ("bfloat16", "float()")),
    "another device": (lambda x: x.to("cuda"), ArgumentError, ("cuda", "cpu")),
    "CUDA": (lambda x: x.cuda(), ArgumentError, ("cuda", "cpu")),
    "no dtype": (lambda x: x.to("float31"), (DTypeError, ArgumentError), ("float31",)),
    "a pickle": (lambda x: pickle.dumps(x), FormatError, ("pickle", "tn.save")),
    "made by its class": (lambda x: tn.Tensor([1.0]), ArgumentError, ("tn.tensor(data)",)),
    "item inside tn.compile": (lambda x: observes(x), ObservationError, ("item()", "observes")),
    "a branch inside tn.compile": (lambda x: branches(x), ObservationError, ("bool()", "branches")),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_wanted_what_came_and_what_to_do(case):
    call, kind, words = ERRORS[case]
    with pytest.raises(kind) as caught:
        call(tn.ones(2, 3))
    for word in words:
        assert word in str(caught.value)
    assert "fix:" in str(caught.value)


def test_numpy_by_force():
    x = tn.ones(2, requires_grad=True)
    assert x.numpy(force=True).tolist() == [1.0, 1.0]
    assert x.detach().numpy().tolist() == [1.0, 1.0]
