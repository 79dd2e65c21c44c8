"""A training step as a few edges: it does what the tensor-by-tensor way does, and stays cheap."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import tenor as tn
from tenor.engine import backend, flush, macro, steps, trie
from tenor.engine.gradients import Gradients
from tenor.errors import LabelError


class Block(tn.nn.Module):
    """A transformer block of width 8, as small as a step can be."""

    def __init__(self) -> None:
        self.ln1, self.ln2 = tn.nn.LayerNorm(8), tn.nn.LayerNorm(8)
        self.qkv, self.proj = tn.nn.Linear(8, 24), tn.nn.Linear(8, 8)
        self.fc1, self.fc2 = tn.nn.Linear(8, 32), tn.nn.Linear(32, 8)

    def forward(self, x):
        b, t, _ = x.shape
        parts = self.qkv(self.ln1(x)).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4)
        attend = tn.nn.functional.scaled_dot_product_attention
        y = attend(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.proj(y.permute(0, 2, 1, 3).reshape(b, t, 8))
        return x + self.fc2(tn.nn.functional.gelu(self.fc1(self.ln2(x)), approximate="tanh"))


class Tiny(tn.nn.Module):
    """Four of them, between an embedding and a projection."""

    def __init__(self) -> None:
        self.tokens, self.positions = tn.nn.Embedding(16, 8), tn.nn.Embedding(4, 8)
        self.blocks = tn.nn.ModuleList([Block() for _ in range(4)])
        self.head = tn.nn.Linear(8, 16, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(x).reshape(-1, 16)


class Training:
    """A network, its optimizer and one batch."""

    def __init__(self, network=Tiny, optimizer=tn.optim.AdamW, **options) -> None:
        tn.manual_seed(0)
        self.model = network()
        self.optimizer = optimizer(self.model.parameters(), lr=0.01, **options)
        self.x = tn.tensor(np.array([[1, 2, 3, 4]]))
        self.y = tn.tensor(np.array([2, 3, 4, 5]))
        self.loss_of = tn.nn.CrossEntropyLoss()

    def loss(self):
        return self.loss_of(self.model(self.x), self.y)

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def values(self):
        state = [t for kept in self.optimizer.state.values() for t in kept.values()]
        tensors = [*self.model.parameters(), *[t for t in state if isinstance(t, tn.Tensor)]]
        return [t.detach().numpy().copy() for t in tensors]


# -- what a step costs ----------------------------------------------------------------------------
def test_a_tiny_transformers_step_is_one_plan_of_few_kernels():
    programs = []
    training = Training()
    backend.observers.append(lambda graph, program: programs.append(program))
    try:
        for _ in range(6):
            training.step()
    finally:
        backend.observers.pop()
    (program,) = programs
    assert len(program.launches) <= 180
    assert len(program.symbols) <= 75


def test_a_step_seen_before_records_nothing_anew(monkeypatch):
    training = Training()
    for _ in range(4):
        training.step()
    anew = []
    record = macro._call
    monkeypatch.setattr(macro, "_call", lambda *a, **k: anew.append(a[0]) or record(*a, **k))
    plans, states, flushes = flush.counts["plans"], trie.made["states"], flush.counts["flushes"]
    for _ in range(3):
        training.step()
    assert [f.__name__ for f in anew] == []
    assert flush.counts["plans"] == plans
    assert trie.made["states"] == states
    assert flush.counts["flushes"] == flushes + 3


def test_gradients_nobody_looks_at_are_one_object():
    training = Training()
    for _ in range(4):
        training.step()
    grads = {id(p._grad) for p in training.model.parameters()}
    assert len(grads) == 1
    assert isinstance(next(training.model.parameters())._grad, Gradients)


# -- what a step does -----------------------------------------------------------------------------
def look_at_one(t):
    t.optimizer.zero_grad()
    loss = t.loss()
    loss.backward()
    seen = t.model.head.weight.grad.numpy().copy()
    t.optimizer.step()
    return seen


def look_at_all_afterwards(t):
    t.step()
    return [p.grad.numpy().copy() for p in t.model.parameters()]


def clip(t):
    t.optimizer.zero_grad()
    t.loss().backward()
    norm = tn.nn.utils.clip_grad_norm_(t.model.parameters(), 0.1)
    t.optimizer.step()
    return norm.item()


def observe_before_the_step(t):
    t.optimizer.zero_grad()
    loss = t.loss()
    loss.backward()
    seen = loss.item()
    t.optimizer.step()
    return seen


def accumulate(t):
    t.optimizer.zero_grad()
    t.loss().backward()
    t.loss().backward()
    t.optimizer.step()
    return t.model.head.weight.grad.numpy().copy()


def forget_one(t):
    t.optimizer.zero_grad()
    t.loss().backward()
    t.model.head.weight.grad = None
    t.optimizer.step()
    return t.model.head.weight.grad is None


def change_the_rate(t):
    t.optimizer.param_groups[0]["lr"] *= 0.5
    return t.step()


def hold_views(t):
    view = t.model.head.weight.detach()[1:3]
    lent = t.model.tokens.weight.detach().numpy()
    seen = t.step()
    return seen, view.numpy().copy(), lent.copy()


def write_a_moment(t):
    moment = next(iter(t.optimizer.state.values()), {}).get("exp_avg")
    if moment is not None:
        moment.mul_(0.5)
        row = moment[0]
        t.step()
        return row.numpy().copy(), moment.numpy().copy()
    return t.step()


def replace_a_moment(t):
    for kept in t.optimizer.state.values():
        if "exp_avg" in kept:
            kept["exp_avg"] = tn.zeros(*kept["exp_avg"].shape)
            break
    return t.step()


def load_a_state(t):
    t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict()))
    return t.step()


def keep_the_logits(t):
    t.optimizer.zero_grad()
    logits = t.model(t.x)
    loss = t.loss_of(logits, t.y)
    loss.backward()
    t.optimizer.step()
    return logits.detach().numpy().copy(), loss.item()


def record_alone(t):
    t.optimizer.zero_grad()
    t.loss().backward()
    t.optimizer.record()
    return t.model.head.weight.sum().item()


def fail(t):
    t.optimizer.zero_grad()
    good, t.y = t.y, tn.tensor(np.array([2, 3, 99, 5]))
    t.loss().backward()
    with pytest.raises(LabelError):
        t.optimizer.step()
    t.y = good
    return


SCENES = [
    look_at_one, look_at_all_afterwards, clip, observe_before_the_step, accumulate, forget_one,
    change_the_rate, hold_views, write_a_moment, replace_a_moment, load_a_state, keep_the_logits,
    record_alone, fail,
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda s: s.__name__)
def test_a_step_does_what_it_does_tensor_by_tensor(scene, monkeypatch):
    def run():
        training = Training()
        seen = [scene(training) if i in (3, 5) else training.step() for i in range(7)]
        return seen, training.values()

    fast = run()
    monkeypatch.setattr(steps, "_key", lambda *_: None)
    slow = run()
    assert_equal(fast, slow)


def assert_equal(a, b) -> None:
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (tn.optim.SGD, {}),
        (tn.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (tn.optim.Adam, {"amsgrad": True}),
        (tn.optim.RMSprop, {"centered": True}),
    ],
)
def test_every_optimizer_steps_alike(optimizer, options, monkeypatch):
    def run():
        training = Training(optimizer=optimizer, **options)
        return [training.step() for _ in range(6)], training.values()

    fast = run()
    monkeypatch.setattr(steps, "_key", lambda *_: None)
    assert_equal(fast, run())


def test_a_gradient_that_is_kept_outlives_the_next_steps():
    training = Training()
    for _ in range(4):
        training.step()
    weight = training.model.blocks[0].fc1.bias
    kept = weight.grad
    before = kept.numpy().copy()
    for _ in range(3):
        training.step()
    np.testing.assert_array_equal(kept.numpy(), before)
    assert weight.grad is not kept


def test_parameters_die_with_their_model_though_they_have_gradients():
    training = Training()
    for _ in range(4):
        training.step()
    gone = weakref.ref(training.model.head.weight)
    gc.disable()
    try:
        del training
        assert gone() is None
    finally:
        gc.enable()


def test_a_gradient_that_is_the_other_factor_has_no_gradient_itself():
    p, q = (tn.tensor([v], requires_grad=True) for v in (2.0, 3.0))
    for _ in range(3):
        p.grad = q.grad = None
        (p * q).sum().backward()
        assert p.grad.tolist() == [3.0]
        assert not p.grad.requires_grad
