"""DataLoader: what makes a batch, in which order, by how many workers."""

from __future__ import annotations

import gc
import itertools
import threading

import numpy as np
import pytest

import tenor as tn
from tenor.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, get_worker_info
from tenor.errors import ArgumentError

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)


class Rows(Dataset):
    def __getitem__(self, i):
        return ROWS[i], i

    def __len__(self):
        return len(ROWS)


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(first, self.n, step))


def lists(loader):
    return [b.tolist() for b in loader]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name.startswith("tenor-data")]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("drop", [False, True])
def test_batches_in_order(workers, drop):
    loader = DataLoader(Rows(), batch_size=4, num_workers=workers, drop_last=drop)
    batches = list(loader)
    assert len(loader) == len(batches) == (2 if drop else 3)
    assert [i.tolist() for _, i in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]][: len(batches)]
    np.testing.assert_array_equal(batches[1][0].numpy(), ROWS[4:8])


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffle_visits_each_once_and_follows_the_seed(workers):
    def epochs(seed):
        loader = DataLoader(
            range(30), batch_size=7, shuffle=True, generator=seed, num_workers=workers
        )
        return [lists(loader) for _ in range(2)]

    first, second = epochs(5)
    assert sorted(itertools.chain(*first)) == list(range(30))
    assert first != second
    assert epochs(5) == [first, second]
    assert epochs(6)[0] != first


def test_workers_change_nothing():
    def order(workers):
        tn.manual_seed(1)
        return lists(DataLoader(range(30), batch_size=7, shuffle=True, num_workers=workers))

    assert order(0) == order(1) == order(4)


def test_rows_of_tensors_arrays_and_subsets():
    data = TensorDataset(tn.tensor(ROWS), np.arange(10), tn.arange(10).to(tn.bfloat16))
    x, y, z = next(iter(DataLoader(Subset(data, [7, 1, 3]), batch_size=2)))
    np.testing.assert_array_equal(x.numpy(), ROWS[[7, 1]])
    assert y.tolist() == [7, 1]
    assert z.dtype is tn.bfloat16
    assert z.tolist() == [7.0, 1.0]


def test_batches_do_not_share_memory_with_the_data():
    data = tn.tensor(ROWS)
    (batch,) = next(iter(DataLoader(TensorDataset(data), batch_size=10)))
    batch.zero_()
    assert data.sum().item() == ROWS.sum()


def test_sampler_batch_sampler_and_collate():
    assert lists(DataLoader(range(10), batch_size=2, sampler=[5, 3, 1])) == [[5, 3], [1]]
    assert lists(DataLoader(range(10), batch_sampler=[[1, 2], [9]])) == [[1, 2], [9]]
    loader = DataLoader(range(10), batch_size=5, collate_fn=sum)
    assert list(loader) == [10, 35]


def test_batch_size_none_gives_samples_as_they_are():
    loader = DataLoader(Rows(), batch_size=None)
    assert [i for _, i in loader] == list(range(10))
    assert len(loader) == 10


def test_getitems_reads_a_batch_at_once():
    class Whole(Rows):
        def __getitems__(self, indices):
            return [(ROWS[i], -i) for i in indices]

    assert [i.tolist() for _, i in DataLoader(Whole(), batch_size=5)][1] == [-5, -6, -7, -8, -9]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_iterable(workers):
    batches = lists(DataLoader(Count(10), batch_size=2, num_workers=workers))
    assert sorted(itertools.chain(*batches)) == list(range(10))
    assert batches[0] == [0, workers or 1]
    full = lists(DataLoader(Count(7), batch_size=3, drop_last=True, num_workers=workers and 1))
    assert full == [[0, 1, 2], [3, 4, 5]]


def test_iterable_without_length_has_none():
    with pytest.raises(TypeError):
        len(DataLoader(Count(3)))
    assert sorted(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_surfaces_in_the_loop_with_its_own_line(workers):
    class Bad(Rows):
        def __getitem__(self, i):
            if i == 5:
                raise KeyError("sample five is missing")
            return i

    seen = []

    def loop():
        for batch in DataLoader(Bad(), batch_size=2, num_workers=workers):
            seen.append(batch.tolist())  # noqa: PERF401 - the loop is what is tested

    with pytest.raises(KeyError, match="sample five") as error:
        loop()
    assert seen == [[0, 1], [2, 3]]
    names = [frame.name for frame in error.traceback]
    assert names[1] == "loop"
    assert names[-1] == "__getitem__"
    assert error.value.__notes__ == ["DataLoader: at sample 5 of Bad"]


def test_leaving_the_loop_early_stops_the_workers():
    for _ in DataLoader(Rows(), num_workers=2):
        break


def test_workers_know_who_they_are():
    begun = []
    seen = set()

    class Who(Rows):
        def __getitem__(self, i):
            info = get_worker_info()
            seen.add((info.id, info.num_workers))
            return i

    assert len(list(DataLoader(Who(), num_workers=2, worker_init_fn=begun.append))) == 10
    assert seen == {(0, 2), (1, 2)}
    assert sorted(begun) == [0, 1]
    assert get_worker_info() is None


def test_worker_init_that_fails_surfaces():
    def fail(_):
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        list(DataLoader(Rows(), num_workers=1, worker_init_fn=fail))


def test_tensors_recorded_in_workers_can_be_used():
    class Scaled(Rows):
        def __getitem__(self, i):
            return tn.tensor(ROWS[i]) * 2

    loader = DataLoader(Scaled(), batch_size=5, num_workers=2, collate_fn=lambda s: tn.stack(s) + 1)
    np.testing.assert_array_equal(tn.cat(list(loader)).numpy(), ROWS * 2 + 1)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True, "sampler": [1]},
        {"batch_size": 2, "batch_sampler": [[1]]},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"num_workers": -1},
    ],
)
def test_options_that_exclude_one_another(options):
    with pytest.raises(ArgumentError, match="DataLoader"):
        DataLoader(Rows(), **options)


def test_iterable_cannot_be_shuffled():
    with pytest.raises(ArgumentError, match="IterableDataset"):
        DataLoader(Count(3), shuffle=True)
