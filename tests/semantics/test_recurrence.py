"""Recurrences: one plan, one product for a weight's gradient, the same bits in every way."""

import contextlib

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.config import config
from tenor.engine import backend
from tenor.engine.flush import counts
from tenor.engine.trace import reset_trie

STEPS, ROWS, INPUTS, HIDDEN = 40, 6, 5, 64


@contextlib.contextmanager
def programs():
    """Collect the programs that are compiled meanwhile; none is known before."""
    reset_trie()
    found = []
    observe = lambda _graph, program: found.append(program)  # noqa: E731
    backend.observers.append(observe)
    try:
        yield found
    finally:
        backend.observers.remove(observe)


def launched(program):
    """Return how often each kind of kernel is launched, by the first operation of its label."""
    count = {}
    for launch in program.launches:
        kind = launch.label.split("+")[0]
        count[kind] = count.get(kind, 0) + 1
    return count


def by_hand(x, wx, wh, b):
    """Return the last state of a plain recurrence written as a loop."""
    h = tn.zeros(x.shape[0], HIDDEN)
    for t in range(x.shape[1]):
        h = (x[:, t] @ wx + h @ wh + b).tanh()
    return h


def parameters():
    tn.manual_seed(0)
    shapes = [(INPUTS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,)]
    return [(tn.randn(*s) * 0.1).detach().requires_grad_() for s in shapes]


def sequence(steps=STEPS):
    rng = np.random.default_rng(0)
    return tn.tensor(rng.standard_normal((ROWS, steps, INPUTS)).astype(np.float32))


def test_a_differentiated_loop_is_one_plan():
    leaves, x = parameters(), sequence(200)
    tn.zeros(1).numpy()
    flushes = counts["flushes"]
    by_hand(x, *leaves).sum().backward()
    leaves[1].grad.numpy()
    assert counts["flushes"] == flushes + 1


def test_training_steps_nobody_looks_at_are_still_run_on_the_way():
    model = nn.Linear(3, 1)
    optimizer = tn.optim.SGD(model.parameters(), lr=0.1)
    x = tn.ones(2, 3)
    flushes = counts["flushes"]
    for _ in range(500):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    assert counts["flushes"] > flushes + 2


def test_a_weight_of_a_loop_gets_one_product():
    leaves, x = parameters(), sequence()
    with programs() as found:
        by_hand(x, *leaves).sum().backward()
        [p.grad.numpy() for p in leaves]
    (program,) = found
    # Forward two a step; backward one a step to the state before; one for each weight. The state
    # before the first needs no gradient.
    assert launched(program)["matmul"] == 2 * STEPS + (STEPS - 1) + 2


@pytest.mark.parametrize("dims", [(0, 1), (1, 0)])
def test_a_permutation_of_a_weight_hands_its_gradient_back_the_same_way(dims):
    rng = np.random.default_rng(0)
    first = rng.standard_normal((3, 2)).astype(np.float32)
    w = tn.tensor(first).requires_grad_()
    turned = w.permute(*dims)
    x = tn.tensor(rng.standard_normal((5, turned.shape[0])).astype(np.float32))
    (x @ turned).sum().backward()
    wanted = np.repeat(x.numpy().sum(0)[:, None], turned.shape[1], 1)
    assert w.grad.shape == w.shape
    assert np.allclose(w.grad.numpy().transpose(dims), wanted, atol=1e-5)


def test_all_steps_share_their_code():
    leaves, x = parameters(), sequence()
    with programs() as found:
        by_hand(x, *leaves).sum().backward()
        [p.grad.numpy() for p in leaves]
    (program,) = found
    assert len(program.launches) > 4 * STEPS
    assert len(program.texts) < STEPS


def test_looking_at_the_loss_keeps_no_copy_of_a_transposed_weight():
    model = nn.Linear(300, 200)
    x = tn.ones(4, 300)
    with programs() as found:
        loss = model(x).square().sum()
        loss.item()
        loss.backward()
        model.weight.grad.numpy()
    assert max(found[0].output_sizes) < 200 * 300


LAYERS = {
    "lstm": lambda: nn.LSTM(INPUTS, HIDDEN, num_layers=2),
    "lstm, both ways": lambda: nn.LSTM(INPUTS, HIDDEN, bidirectional=True),
    "lstm, projected": lambda: nn.LSTM(INPUTS, HIDDEN, proj_size=32),
    "gru": lambda: nn.GRU(INPUTS, HIDDEN),
    "rnn": lambda: nn.RNN(INPUTS, HIDDEN, nonlinearity="relu"),
}


def trained(make, *, compiled=False):
    """Return the bytes of outputs, gradients and parameters after two steps."""
    tn.manual_seed(1)
    model = make()
    optimizer = tn.optim.Adam(model.parameters(), lr=0.01)
    x = sequence().transpose(0, 1)

    def step(x):
        optimizer.zero_grad()
        out, _ = model(x)
        loss = out.square().mean()
        loss.backward()
        optimizer.step()
        return out

    run = tn.compile(step) if compiled else step
    seen = []
    for _ in range(2):
        out = run(x)
        tensors = [out, *(p.grad for p in model.parameters()), *model.parameters()]
        seen += [t.detach().numpy().tobytes() for t in tensors]
    return seen


@pytest.mark.parametrize("name", LAYERS)
def test_however_it_is_run_the_bits_are_the_same(name):
    reset_trie()
    wanted = trained(LAYERS[name])
    assert trained(LAYERS[name]) == wanted, "replayed"
    assert trained(LAYERS[name], compiled=True) == wanted, "compiled"
    for skipped in ({"pack"}, {"join", "collapse"}, {"fuse"}, {"arena", "rows", "dedupe"}):
        before, config.skip_passes = config.skip_passes, frozenset(skipped)
        reset_trie()
        try:
            assert trained(LAYERS[name]) == wanted, f"without {skipped}"
        finally:
            config.skip_passes = before
            reset_trie()
    for threads in (1, 2, 3):
        before, config.threads = config.threads, threads
        try:
            assert trained(LAYERS[name]) == wanted, f"{threads} threads"
        finally:
            config.threads = before


def test_a_layer_is_recorded_as_one_edge():
    model = nn.LSTM(INPUTS, HIDDEN)
    x = sequence().transpose(0, 1)
    for _ in range(2):
        model(x)[0].sum().backward()
        model.weight_hh_l0.grad.numpy()
    out, _ = model(x)
    assert len(out.within.outs) < STEPS, "its steps are not recorded again"
