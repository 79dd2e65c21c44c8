"""Products of vectors, matrices and batches, and einsum, against PyTorch."""

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.oracle import FLOATS, agree, given, gradients_agree

SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 4)), ((0,), (0,)),
    ((1, 1), (1, 1)), ((33, 65), (65, 17)),
]  # fmt: skip
HALVES = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
DTYPES = (*FLOATS, torch.int64, torch.int32)


def numbers(shape, dtype=torch.float32):
    made = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return (made * 3).to(dtype) if dtype.is_floating_point else (made * 5).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_matmul(a, b, dtype, count):
    x, y = numbers(a, dtype), numbers(b, dtype)
    want = torch.matmul(x.double(), y.double()) if dtype.is_floating_point else torch.matmul(x, y)
    agree(tn.matmul(given(x), given(y)), want.to(dtype), HALVES.get(dtype))
    count("linear", "op x dtype x shape")


@pytest.mark.parametrize(("a", "b"), SHAPES[:10], ids=str)
def test_matmul_gradients(a, b):
    gradients_agree(tn.matmul, torch.matmul, (numbers(a), numbers(b)))


def test_matmul_of_views_and_transposes():
    x, y = numbers((6, 8)), numbers((6, 4))
    agree(given(x).T @ given(y), x.T @ y)
    agree(given(x)[::2, 1:7:2] @ given(y)[:3], x[::2, 1:7:2] @ y[:3])
    agree(given(x).expand(3, 6, 8).mT @ given(y), x.expand(3, 6, 8).mT @ y)


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [
        ((2, 3), (2, 3), ShapeError), ((3,), (4,), ShapeError), ((), (3,), ShapeError),
        ((2, 2, 3), (3, 3, 4), ShapeError),
    ],
)  # fmt: skip
def test_matmul_refuses(a, b, error):
    with pytest.raises(error):
        given(numbers(a)) @ given(numbers(b))


def test_dtypes_do_not_mix():
    with pytest.raises(DTypeError):
        tn.ones(2, 2) @ tn.ones(2, 2, dtype=tn.float64)
    with pytest.raises(DTypeError):
        tn.ones(2, 2, dtype=tn.bool) @ tn.ones(2, 2, dtype=tn.bool)
    with pytest.raises(TypeError):
        tn.ones(2, 2) @ 3


NAMED = [
    ("mm", (2, 3), (3, 4)), ("bmm", (5, 2, 3), (5, 3, 4)), ("mv", (2, 3), (3,)),
    ("dot", (4,), (4,)), ("vdot", (4,), (4,)), ("inner", (2, 3), (4, 3)), ("inner", (), (2, 3)),
    ("outer", (3,), (4,)), ("kron", (2, 3), (4, 5)), ("kron", (2, 3), (4,)),
    ("kron", (2,), (2, 3, 2)), ("cdist", (4, 3), (2, 3)), ("cdist", (2, 1, 3), (2, 5, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "a", "b"), NAMED)
def test_named_products(name, a, b):
    gradients_agree(getattr(tn, name), getattr(torch, name), (numbers(a), numbers(b)))


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("mm", (2,), (2, 3)), ("mm", (2, 3), (2, 3)), ("bmm", (2, 2, 3), (3, 3, 4)),
        ("mv", (2, 3), (3, 1)), ("dot", (2, 2), (2, 2)), ("outer", (2, 2), (2,)),
        ("cdist", (4, 3), (4, 2)), ("inner", (2, 3), (2, 2)),
    ],
)  # fmt: skip
def test_named_products_refuse(name, a, b):
    with pytest.raises(ShapeError):
        getattr(tn, name)(given(numbers(a)), given(numbers(b)))


SUMS = [
    ("addmm", (2, 4), (2, 3), (3, 4)), ("addmm", (4,), (2, 3), (3, 4)),
    ("addmm", (), (2, 3), (3, 4)),
    ("addmv", (2,), (2, 3), (3,)), ("addr", (2, 3), (2,), (3,)),
    ("baddbmm", (5, 2, 4), (5, 2, 3), (5, 3, 4)), ("addbmm", (2, 4), (5, 2, 3), (5, 3, 4)),
]  # fmt: skip


@pytest.mark.parametrize("scale", [{}, {"beta": 0.5, "alpha": 2.0}, {"beta": 0}], ids=str)
@pytest.mark.parametrize(("name", "x", "a", "b"), SUMS)
def test_products_added(name, x, a, b, scale):
    values = numbers(x), numbers(a), numbers(b)
    if scale.get("beta") == 0:
        values = (values[0] * torch.nan, *values[1:])
    agree(getattr(tn, name)(*map(given, values), **scale), getattr(torch, name)(*values, **scale))
    agree(
        getattr(given(values[0]), name)(*map(given, values[1:]), **scale),
        getattr(torch, name)(*values, **scale),
    )


def test_products_added_refuse_a_wider_input():
    with pytest.raises(ShapeError):
        tn.addmm(tn.ones(3, 2, 4), tn.ones(2, 3), tn.ones(3, 4))


def test_trace_cross_and_chain():
    x = numbers((4, 5))
    agree(tn.trace(given(x)), torch.trace(x))
    agree(given(x).trace(), x.trace())
    whole = (x * 3).long()
    agree(tn.trace(given(whole)), torch.trace(whole))
    a, b = numbers((4, 3, 6)), numbers((4, 3, 6)).flip(0)
    agree(tn.cross(given(a), given(b)), torch.cross(a, b, dim=1))
    agree(
        tn.cross(given(a[..., :3]), given(b[..., :3]), dim=-1),
        torch.cross(a[..., :3], b[..., :3], dim=-1),
    )
    agree(tn.chain_matmul(given(x), given(x.T), given(x)), x @ x.T @ x, 1e-3)
    with pytest.raises(ShapeError):
        tn.cross(tn.ones(4), tn.ones(4))
    with pytest.raises(ShapeError):
        tn.trace(tn.ones(4))


@pytest.mark.parametrize("dims", [0, 1, 2, ([1, 2], [1, 0]), ([-1], [0]), ([], [])], ids=str)
def test_tensordot(dims):
    x, y = numbers((2, 3, 4)), numbers((4, 3, 5))
    if dims == 2:
        y = numbers((3, 4, 5))
    agree(tn.tensordot(given(x), given(y), dims), torch.tensordot(x, y, dims), 1e-4)


def test_tensordot_refuses():
    with pytest.raises(ShapeError):
        tn.tensordot(tn.ones(2, 3), tn.ones(2, 3), 1)
    with pytest.raises(ShapeError):
        tn.tensordot(tn.ones(2), tn.ones(2), 2)


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij", (2, 3)), ("ba", (2, 3)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("...ij,...jk->...ik", (5, 1, 2, 3), (4, 3, 2)),
    ("i,j->ij", (2,), (3,)), ("ij,ij->ij", (2, 3), (2, 3)), ("ij,kj->ik", (2, 3), (4, 3)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("a,b,c->abc", (2,), (3,), (4,)), ("...->...", (2, 3)), ("i...->...i", (2, 3, 4)),
    ("ijj->i", (2, 3, 3)), ("ij,j->i", (2, 3), (3,)), ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)),
    ("ij,jk->ik", (2, 1), (3, 4)), ("...i,...i->...", (2, 3, 4), (3, 4)), ("...ij->ji", (2, 3, 4)),
    ("Ab,bC", (2, 3), (3, 4)), ("bij,bjk->bik", (1, 2, 3), (5, 3, 4)),
    (" i j , j k -> i k ", (2, 3), (3, 4)), (",ij->ij", (), (2, 3)),
    ("ijk,ijk->", (2, 3, 4), (2, 3, 4)), ("ij,ik->jk", (7, 3), (7, 4)), ("iij->ij", (3, 3, 2)),
    ("ij,ij->i", (0, 3), (0, 3)), ("ij,jk->ik", (2, 0), (0, 3)), ("i...j->j...", (2, 5, 3)),
    ("ab...,b...->a...", (2, 3, 4, 5), (3, 4, 5)), ("ij,ik,il->jkl", (7, 2), (7, 3), (7, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes"), [(e, s) for e, *s in EQUATIONS])
def test_einsum(equation, shapes, count):
    xs = [numbers(s) for s in shapes]
    agree(tn.einsum(equation, *map(given, xs)), torch.einsum(equation, *xs), 1e-4)
    count("linear", "op x dtype x shape")


FULL = [(e, s) for e, *s in EQUATIONS if "0" not in str(s)]


@pytest.mark.parametrize(("equation", "shapes"), FULL)
def test_einsum_gradients(equation, shapes):
    gradients_agree(
        lambda *xs: tn.einsum(equation, *xs),
        lambda *xs: torch.einsum(equation, *xs),
        [numbers(s) for s in shapes],
    )


def test_einsum_by_lists_and_of_a_sequence():
    x, y = numbers((2, 3)), numbers((3, 4))
    agree(tn.einsum(given(x), [0, 1], given(y), [1, 2], [0, 2]), x @ y)
    agree(tn.einsum(given(x), [0, 1], given(y), [1, 2]), x @ y)
    agree(tn.einsum(given(x), [..., 1], [1, ...]), x.T)
    agree(tn.einsum("ij,jk->ik", [given(x), given(y)]), x @ y)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=str)
def test_einsum_dtypes(dtype):
    x, y = numbers((4, 3), dtype), numbers((3, 2), dtype)
    agree(tn.einsum("ij,jk->ik", given(x), given(y)), torch.einsum("ij,jk->ik", x, y))


@pytest.mark.parametrize(
    ("equation", "shapes", "error"),
    [
        ("ij,jk->ik", [(2, 3)], ArgumentError), ("ij->ik", [(2, 3)], ArgumentError),
        ("ij->ii", [(2, 3)], ArgumentError), ("i1->i", [(2, 3)], ArgumentError),
        ("ijk->i", [(2, 3)], ShapeError), ("i->i", [(2, 3)], ShapeError),
        ("ii->i", [(2, 3)], ShapeError), ("ij,jk->ik", [(2, 3), (4, 5)], ShapeError),
        ("...ij,...jk->...ik", [(2, 2, 3), (3, 3, 4)], ShapeError),
    ],
)  # fmt: skip
def test_einsum_refuses(equation, shapes, error):
    with pytest.raises(error):
        tn.einsum(equation, *[given(numbers(s)) for s in shapes])


def test_einsum_result_may_be_written_without_touching_a_product():
    x, y = tn.ones(2, 3), tn.ones(3, 2)
    made = tn.einsum("ij,jk->ik", x, y)
    made.mul_(2)
    agree(made, torch.full((2, 2), 6.0))
    agree(x, torch.ones(2, 3))
