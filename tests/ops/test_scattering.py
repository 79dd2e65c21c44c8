"""Folding into places, index_put, and indices along a dim, against PyTorch."""

import pytest
import torch

import tenor as tn
from tenor.errors import ArgumentError, IndexRangeError
from tests.ops.oracle import agree, given, gradients_agree

SHAPES = [((5,), 0), ((40,), 0), ((4, 3), 0), ((3, 6), -1), ((2, 5, 3), 1), ((), 0)]
FOLDS = ("sum", "prod", "amax", "amin", "mean")


def example(shape, dim, dtype):
    g = torch.Generator().manual_seed(len(shape))
    x, src = ((torch.randn(shape, generator=g) * 5).to(dtype) for _ in range(2))
    return x, torch.randint(0, shape[dim] if shape else 1, shape, generator=g), src


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_scatter_reduce(shape, dim, fold, dtype, include_self, count):
    x, index, src = example(shape, dim, dtype)
    want = x.scatter_reduce(dim, index, src, fold, include_self=include_self)
    got = given(x).scatter_reduce(dim, given(index), given(src), fold, include_self=include_self)
    agree(got, want)
    count("scattering", "op x dtype x shape")


def test_scatter_reduce_of_a_shorter_index_and_none():
    x, index, src = example((4, 3), 0, torch.float32)
    for part in (index[:2, :2], index[:0]):
        for fold in FOLDS:
            agree(
                given(x).scatter_reduce(0, given(part), given(src), fold),
                x.scatter_reduce(0, part, src, fold),
            )
    with pytest.raises(ArgumentError):
        given(x).scatter_reduce(0, given(index), given(src), "median")


@pytest.mark.parametrize("fold", FOLDS)
def test_scatter_reduce_gradients(fold):
    x, index, src = example((6,), 0, torch.float64)
    place = given(index)
    gradients_agree(
        lambda a, b: a.scatter_reduce(0, place, b, fold),
        lambda a, b: a.scatter_reduce(0, index, b, fold),
        [x, src],
    )


@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put(accumulate):
    x = torch.zeros(4, 3)
    i, j, v = torch.tensor([0, 3, 2]), torch.tensor([1, 1, 0]), torch.tensor([1.0, 2.0, 3.0])
    i = torch.tensor([0, 0, 2]) if accumulate else i
    want = x.index_put((i, j), v, accumulate)
    agree(tn.index_put(given(x), (given(i), given(j)), given(v), accumulate), want)
    y = given(x)
    assert y.index_put_((given(i), given(j)), given(v), accumulate) is y
    agree(y, want)
    agree(
        given(x).index_put((given(i),), 7.0, accumulate),
        x.index_put((i,), torch.tensor(7.0), accumulate),
    )


def test_where_indices_count_from_the_end():
    x, last = tn.arange(12.0).reshape(3, 4), tn.tensor([-1])
    assert x.take(last).tolist() == [11.0]
    assert x.index_fill(0, last, 7.0)[2].tolist() == [7.0] * 4
    assert tn.take_along_dim(x, tn.tensor([[-1]]), dim=0).tolist() == [x[2].tolist()]
    assert x[last].tolist() == [x[2].tolist()]


OUTSIDE = {
    "gather": (lambda x, i: x.gather(0, i[:, None]), "(1, 0)"),
    "index_select": (lambda x, i: x.index_select(0, i), "(1,)"),
    "index_add": (lambda x, i: x.index_add(0, i, x[:2]), "(1,)"),
    "index_copy": (lambda x, i: x.index_copy(0, i, x[:2]), "(1,)"),
    "scatter": (lambda x, i: x.scatter(0, i[:, None], 1.0), "(1, 0)"),
    "scatter_add": (lambda x, i: x.scatter_add(0, i[:, None], x[:2, :1]), "(1, 0)"),
    "one_hot": (lambda x, i: tn.one_hot(i, 3), "(1,)"),
}


@pytest.mark.parametrize("index", [-1, 3])
@pytest.mark.parametrize("name", OUTSIDE)
def test_elsewhere_an_index_outside_the_extent_is_an_error(name, index):
    call, place = OUTSIDE[name]
    with pytest.raises(IndexRangeError) as caught:
        call(tn.arange(12.0).reshape(3, 4), tn.tensor([0, index])).tolist()
    assert caught.value.came == [f"index {index} at position {place}"]
    assert "[0, 3)" in str(caught.value)
    assert "fix:" in str(caught.value)
