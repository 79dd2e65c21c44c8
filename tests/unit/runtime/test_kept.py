"""Prepared operands outlive a run, and no write to what they were made from goes unseen."""

import gc

import numpy as np
import pytest

import tenor as tn
from tenor.engine import flush, recorder
from tenor.runtime import allocator
from tenor.runtime.executable import Executable

F = tn.nn.functional
RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 40, 9, 8), np.float32)
W = RNG.standard_normal((36, 40, 3, 3), np.float32)


@pytest.fixture
def skipped(monkeypatch):
    """Return a list that grows by each run's number of skipped launches; the builtins skip none."""
    seen = []
    real = Executable._skip

    def note(self, context, count):
        seen.append(count)
        real(self, context, count)

    monkeypatch.setattr(Executable, "_skip", note)
    with recorder.in_python():
        flush.flush()  # what an earlier test recorded is no part of these programs
        yield seen


def fresh(x, w):
    """Return the convolution of new tensors with the same values."""
    return F.conv2d(tn.tensor(x), tn.tensor(w), padding=1).numpy()


def test_the_second_run_on_a_weight_keeps_it_and_the_third_begins_after_it(skipped):
    x, w = tn.tensor(X), tn.tensor(W)
    results = [F.conv2d(x, w, padding=1).numpy() for _ in range(4)]
    assert skipped == [0, 0, 1, 1]
    assert all(np.array_equal(r, results[0]) for r in results)
    other = F.conv2d(tn.tensor(2 * X), w, padding=1).numpy()
    assert skipped[-1] == 1
    np.testing.assert_array_equal(other, fresh(2 * X, W))


def writes():
    """Yield ways to write to a weight: by the program, through an array, by name."""

    def in_place(w):
        w += 1

    def part(w):
        w[3, 2] = 5.0

    def through_an_array(w):
        view = w.numpy()
        view[1] = 7
        del view
        gc.collect()

    def through_a_kept_array(w):
        w.kept_view = w.numpy()
        w.kept_view[0] = -1

    def data(w):
        w.data = tn.tensor(2 * W)

    def copied(w):
        w.copy_(tn.tensor(W[::-1].copy()))

    yield from (in_place, part, through_an_array, through_a_kept_array, data, copied)


@pytest.mark.parametrize("write", list(writes()), ids=lambda f: f.__name__)
def test_every_write_is_seen(write):
    x, w = tn.tensor(X), tn.tensor(W)
    for _ in range(3):
        before = F.conv2d(x, w, padding=1).numpy()
    with tn.no_grad():
        write(w)
    now = w.numpy().copy()
    after = F.conv2d(x, w, padding=1).numpy()
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, fresh(X, now))


def test_a_weight_written_over_by_a_step_is_seen():
    """The optimizer's step is written into the weight's own memory."""
    x = tn.tensor(X)
    layer = tn.nn.Conv2d(40, 36, 3, padding=1)
    optimizer = tn.optim.SGD(layer.parameters(), lr=0.1)

    def look():
        with tn.no_grad():
            return layer(x).numpy()

    for _ in range(4):
        for _ in range(3):
            found = look()
        weight, bias = (p.detach().numpy().copy() for p in (layer.weight, layer.bias))
        np.testing.assert_array_equal(
            found, F.conv2d(x, tn.tensor(weight), tn.tensor(bias), padding=1).numpy())  # fmt: skip
        optimizer.zero_grad()
        (layer(x) ** 2).mean().backward()
        optimizer.step()
        flush.flush()


def test_memory_reused_for_another_weight_is_another_weight():
    x = tn.tensor(X)
    w = tn.tensor(W)
    for _ in range(3):
        F.conv2d(x, w, padding=1).numpy()
    pointer = w.buffer.pointer
    del w
    other = tn.tensor(3 * W)
    assert other.buffer.pointer == pointer
    np.testing.assert_array_equal(F.conv2d(x, other, padding=1).numpy(), fresh(X, 3 * W))


def test_weights_that_change_every_time_are_not_kept():
    x = tn.tensor(X)
    F.conv2d(x, tn.tensor(W), padding=1).numpy()
    gc.collect()
    before = allocator.memory_allocated()
    for i in range(3):
        F.conv2d(x, tn.tensor(W + i), padding=1).numpy()
    gc.collect()
    assert allocator.memory_allocated() == before
