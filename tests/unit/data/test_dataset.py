"""Data sets, splits, samplers and collation."""

from __future__ import annotations

from collections import Counter, namedtuple

import numpy as np
import pytest

import tenor as tn
from tenor.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    load_digits,
    random_split,
)
from tenor.errors import ArgumentError, DTypeError, IndexRangeError, ShapeError


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i * i

    def __len__(self):
        return self.n


def test_tensor_dataset_gives_rows():
    data = TensorDataset(tn.arange(6).reshape(3, 2), np.array([5.0, 6.0, 7.0], np.float32))
    x, y = data[1]
    assert x.tolist() == [2, 3]
    assert y == 6.0
    assert len(data) == 3


def test_tensor_dataset_refuses_other_lengths():
    with pytest.raises(ShapeError, match=r"\[3, 2\]"):
        TensorDataset(tn.zeros(3), tn.zeros(2))
    with pytest.raises(ShapeError):
        TensorDataset()


def test_subset_and_concat():
    both = Squares(3) + Squares(2)
    assert isinstance(both, ConcatDataset)
    assert both.cumulative_sizes == [3, 5]
    assert [both[i] for i in range(5)] == [0, 1, 4, 0, 1]
    assert both[-1] == 1
    assert [Subset(both, [4, 2])[i] for i in range(2)] == [1, 4]
    with pytest.raises(IndexRangeError, match="5"):
        both[5]


@pytest.mark.parametrize("lengths", [[7, 3], [0.7, 0.3]])
def test_random_split_cuts_without_overlap(lengths):
    first, second = random_split(Squares(10), lengths, generator=4)
    assert (len(first), len(second)) == (7, 3)
    assert sorted([*first.indices, *second.indices]) == list(range(10))
    again, _ = random_split(Squares(10), lengths, generator=4)
    assert again.indices == first.indices
    other, _ = random_split(Squares(10), lengths, generator=5)
    assert other.indices != first.indices


def test_random_split_gives_every_sample_away():
    parts = random_split(Squares(10), [1 / 3, 1 / 3, 1 / 3], generator=0)
    assert [len(p) for p in parts] == [4, 3, 3]
    with pytest.raises(ArgumentError, match="10"):
        random_split(Squares(10), [4, 4])


def test_default_generator_follows_manual_seed():
    tn.manual_seed(3)
    first = [list(RandomSampler(range(9))) for _ in range(2)]
    tn.manual_seed(3)
    assert [list(RandomSampler(range(9))) for _ in range(2)] == first
    assert first[0] != first[1]


# -- samplers -----------------------------------------------------------------------------------
def test_sequential_and_random_visit_each_once():
    assert list(SequentialSampler(Squares(4))) == [0, 1, 2, 3]
    sampler = RandomSampler(Squares(50), generator=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(RandomSampler(Squares(50), generator=1)) == first
    assert len(sampler) == 50


def test_random_sampler_counts():
    assert len(list(RandomSampler(Squares(4), num_samples=10, generator=0))) == 10
    drawn = Counter(RandomSampler(Squares(4), replacement=True, num_samples=400, generator=0))
    assert set(drawn) == {0, 1, 2, 3}
    assert min(drawn.values()) > 60
    with pytest.raises(ArgumentError):
        RandomSampler(Squares(4), num_samples=0)


def test_numpy_generators_are_taken():
    order = list(RandomSampler(Squares(9), generator=np.random.default_rng(0)))
    assert list(RandomSampler(Squares(9), generator=np.random.default_rng(0))) == order
    with pytest.raises(ArgumentError, match="seed"):
        RandomSampler(Squares(9), generator="0")


def test_subset_random_sampler():
    sampler = SubsetRandomSampler([3, 5, 7], generator=0)
    assert sorted(sampler) == [3, 5, 7]
    assert len(sampler) == 3


def test_weighted_sampler_draws_in_proportion():
    drawn = Counter(WeightedRandomSampler([1.0, 0.0, 3.0], 4000, generator=0))
    assert set(drawn) == {0, 2}
    assert drawn[2] / 4000 == pytest.approx(0.75, abs=0.03)
    once = list(WeightedRandomSampler([1, 0, 2, 5], 3, replacement=False, generator=1))
    assert sorted(once) == [0, 2, 3]
    with pytest.raises(ArgumentError):
        WeightedRandomSampler([1, 0, 2], 3, replacement=False)
    with pytest.raises(ArgumentError):
        WeightedRandomSampler([1, -1], 1)


@pytest.mark.parametrize(("drop", "batches"), [(False, [[0, 1, 2], [3, 4]]), (True, [[0, 1, 2]])])
def test_batch_sampler(drop, batches):
    sampler = BatchSampler(SequentialSampler(Squares(5)), 3, drop)
    assert list(sampler) == batches
    assert len(sampler) == len(batches)
    with pytest.raises(ArgumentError, match="batch_size"):
        BatchSampler(range(3), 0)


# -- collate ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("samples", "dtype", "values"),
    [
        ([1, 2], tn.int64, [1, 2]),
        ([1.5, 2.0], tn.float32, [1.5, 2.0]),
        ([True, False], tn.bool_, [True, False]),
        ([np.float64(1.5), np.float64(2)], tn.float64, [1.5, 2.0]),
        ([np.int32(4), np.int32(5)], tn.int32, [4, 5]),
        ([1, 2.5], tn.float32, [1.0, 2.5]),
        ([True, 2], tn.int64, [1, 2]),
        ([tn.tensor(1), tn.tensor(2.5)], tn.float32, [1.0, 2.5]),
        ([np.array([1, 2], np.int8), np.array([3, 4], np.int8)], tn.int8, [[1, 2], [3, 4]]),
    ],
)
def test_collate_numbers_and_arrays(samples, dtype, values):
    batch = default_collate(samples)
    assert batch.dtype is dtype
    assert batch.tolist() == values


def test_collate_tensors_keeps_dtype_and_gradient():
    for dtype in (tn.float16, tn.bfloat16, tn.float64, tn.uint8):
        batch = default_collate([tn.tensor([1, 2], dtype=dtype), tn.tensor([3, 4], dtype=dtype)])
        assert batch.dtype is dtype
        assert batch.float().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    x = tn.ones(2, requires_grad=True)
    default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_collate_nests():
    Point = namedtuple("Point", "x y")
    batch = default_collate(
        [{"p": Point(1, 2.0), "n": "a", "l": [1, 2]}, {"p": Point(3, 4.0), "n": "b", "l": [3, 4]}]
    )
    assert isinstance(batch["p"], Point)
    assert batch["p"].x.tolist() == [1, 3]
    assert batch["n"] == ["a", "b"]
    assert [t.tolist() for t in batch["l"]] == [[1, 3], [2, 4]]


def test_collate_refuses_what_has_no_batch():
    with pytest.raises(ShapeError, match="one shape"):
        default_collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match="one shape"):
        default_collate([tn.zeros(2), tn.zeros(3)])
    with pytest.raises(ShapeError, match="one length"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(DTypeError, match="object"):
        default_collate([object()])
    for number in (2**63, 2**70, -(2**63) - 1):
        with pytest.raises(ArgumentError, match=f"{number}"):
            default_collate([number, 1])
    assert default_collate([2**63 - 1, -(2**63)]).tolist() == [2**63 - 1, -(2**63)]


# -- the digits ---------------------------------------------------------------------------------
def test_digits_are_complete_and_always_split_alike():
    x_train, y_train, x_test, y_test = load_digits()
    assert x_train.shape == (1437, 1, 8, 8)
    assert x_test.shape == (360, 1, 8, 8)
    assert x_train.dtype == np.float32
    assert y_train.dtype == np.int64
    assert x_train.min() == 0.0
    assert x_train.max() == 1.0
    assert np.bincount(np.concatenate([y_train, y_test])).sum() == 1797
    assert (np.bincount(y_test) > 25).all()
    assert y_test[:3].tolist() == [0, 5, 0]
    assert (x_test[0].ravel()[:8] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert load_digits()[1].tolist() == y_train.tolist()


def test_iterable_dataset_must_say_how():
    with pytest.raises(TypeError, match="__iter__"):
        iter(IterableDataset())
