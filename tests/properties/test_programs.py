"""Random programs of tensor functions, run in every way there is, and by PyTorch.

A program is drawn first, as data: which function of which earlier values, with which arguments.
Then it is run. Recorded, replayed, compiled, and replayed by the compiled function with other
numbers: the same bits. Looked at on the way, cut into short traces, and in immediate mode: the same
bits forwards, gradients within REORDERED of a tensor's largest element, because the gradients of a
value that is used in several traces are added up trace by trace. PyTorch: within TOLERANCE.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import tenor as tn
from tenor.config import config
from tenor.engine.trace import reset_trie
from tests.ops.oracle import given

AXES = "program x way of running x tensor"
REORDERED = 2.0**-20
TOLERANCE = {"value": 1e-4, "gradient": 2e-3}
SHAPES = ((4,), (3, 4), (2, 3, 4), (3, 1), ())
LENGTHS = (5, 30)


# -- what a program is made of -----------------------------------------------------------------
def tame(m, x):
    """Return x brought into (-1, 1) without a kink: programs of any length stay finite."""
    return x / m.sqrt(x * x + 1)


def joined(m, a, b):
    """Return b broadcast to a's shape, or a itself where it does not fit."""
    fits = len(b.shape) <= len(a.shape) and all(
        n in (1, k) for n, k in zip(tuple(b.shape)[::-1], tuple(a.shape)[::-1], strict=False)
    )
    return b.expand(a.shape) if fits else a


def written(how):
    """Return a step that writes to a copy, or to a view of it, and goes on with the whole."""

    def step(m, x, other):
        base = x.contiguous().clone()
        how(m, base, joined(m, x, other))
        return base

    return step


def write_part(m, base, other):
    part = base[..., ::2] if base.ndim else base
    part += tame(m, other[..., ::2] if base.ndim else other)


def write_row(m, base, other):
    if base.ndim:
        base[0] = other[-1] * 0.5
    else:
        base.fill_(0.25)


def write_turned(m, base, other):
    if base.ndim > 1:
        base.mT[1:].sub_(other.mT[:-1] if base.shape[-1] > 1 else 0.5)
    base.view(-1)[-1:].mul_(0.5)


def write_mask(m, base, other):
    base[other.detach() > 0.3] = 0.125
    base.masked_fill_(base.detach() < -0.8, -0.5)


def write_index(m, base, other):
    if base.ndim:
        base[m.tensor([0, -1])] = 0.75
        base[m.tensor([0])] += other[:1]


def softened(m, x):
    return m.softmax(x, -1) if x.ndim else m.sigmoid(x)


def turned(m, x):
    return x.mT.contiguous().mT if x.ndim > 1 else x.flip(0) if x.ndim else x.clone()


def halved(m, x):
    """Return the two halves of the last dim, swapped."""
    if not x.ndim or x.shape[-1] < 2:
        return x * 1
    a, b = x.split([x.shape[-1] // 2, x.shape[-1] - x.shape[-1] // 2], -1)
    return m.cat([b, a], -1)


def taken(m, x):
    return (
        x.index_select(-1, m.tensor([0, x.shape[-1] - 1, 0])).mean(-1, keepdim=True) * x
        if x.ndim
        else x
    )


def multiplied(m, a, b):
    """Return a product with a square matrix made of b."""
    if a.ndim < 2:
        return a * b.mean()
    n = a.shape[-1]
    matrix = joined(m, m.zeros(n, n), b.sum() * m.ones(n, n) / n)
    return tame(m, a @ (matrix + m.eye(n)))


ONE = {
    "tanh": lambda m, x: x.tanh(),
    "sigmoid": lambda m, x: m.sigmoid(x),
    "sin and cos": lambda m, x: x.sin() * (x * 2).cos(),
    "exp": lambda m, x: tame(m, (x * 0.5).exp()),
    "log": lambda m, x: (x * x + 1).log(),
    "sqrt": lambda m, x: (x * x + 0.5).sqrt(),
    "erf": lambda m, x: m.erf(x),
    "powers": lambda m, x: x**2 - x**3 * 0.25,
    "relu": lambda m, x: m.relu(x + 0.123) - 0.2,
    "clamp": lambda m, x: x.clamp(-0.77, 0.77) * 1.1,
    "minus the mean": lambda m, x: x - x.mean(),
    "over the norm": lambda m, x: x / (m.norm(x) + 0.5),
    "standardised": lambda m, x: (
        (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 0.3).sqrt()
        if x.ndim
        else x * 2
    ),
    "sum of rows": lambda m, x: tame(m, x + x.sum(-1, keepdim=True)) if x.ndim else x,
    "maximum taken off": lambda m, x: x - x.amax(-1, keepdim=True).detach() if x.ndim else x,
    "softmax": softened,
    "log_softmax": lambda m, x: tame(m, m.log_softmax(x, 0)) if x.ndim else x,
    "logsumexp": lambda m, x: x - m.logsumexp(x, -1, keepdim=True) * 0.3 if x.ndim else x,
    "cumsum": lambda m, x: tame(m, x.cumsum(-1)) if x.ndim else x,
    "sorted": lambda m, x: m.sort(x, -1)[0] * 0.9 if x.ndim else x,
    "turned": turned,
    "halves swapped": halved,
    "picked": taken,
    "flattened and back": lambda m, x: x.reshape(-1).reshape(x.shape),
    "squeezed": lambda m, x: x.unsqueeze(0).squeeze(0) * 1.0,
    "through float64": lambda m, x: (x.double() * 1.5).float(),
    "padded": lambda m, x: m.nn.functional.pad(x, (1, 1))[..., 1:-1] * 2 if x.ndim else x,
    "rolled": lambda m, x: x.roll(1, -1) if x.ndim else x,
    "masked": lambda m, x: m.where(x.detach() > 0, x, x * 0.25),
    "triangle": lambda m, x: m.tril(x) + x * 0.1 if x.ndim > 1 else x,
    "rounded, detached": lambda m, x: x + (x * 4).detach().round() * 0.1,
}
TWO = {
    "add": lambda m, a, b: a + joined(m, a, b),
    "sub": lambda m, a, b: tame(m, a - joined(m, a, b) * 0.5),
    "mul": lambda m, a, b: a * joined(m, a, b),
    "div": lambda m, a, b: a / (joined(m, a, b) ** 2 + 1.0),
    "maximum": lambda m, a, b: m.maximum(a, joined(m, a, b) * 0.7),
    "where": lambda m, a, b: m.where(a.detach() > 0.1, joined(m, a, b), a * a),
    "lerp": lambda m, a, b: m.lerp(a, joined(m, a, b).contiguous(), 0.3),
    "stacked": lambda m, a, b: m.stack([a, joined(m, a, b)]).mean(0),
    "catenated": lambda m, a, b: (
        m.cat([a.reshape(-1), b.reshape(-1)])[: a.numel()].reshape(a.shape) * 0.9
    ),
    "matmul": multiplied,
    "write to a part": written(write_part),
    "write a row": written(write_row),
    "write a transpose": written(write_turned),
    "write by mask": written(write_mask),
    "write by index": written(write_index),
}
STEPS = {**{k: (f, 1) for k, f in ONE.items()}, **{k: (f, 2) for k, f in TWO.items()}}


class Program:
    """A random program.

    Attributes:
        leaves: NumPy arrays; the first two require gradients.
        steps: (label, operands' positions) in order.
        kept: Positions of the values that are returned besides the loss.
    """

    def __init__(self, seed: int) -> None:
        draw, numbers = random.Random(seed), np.random.default_rng(seed)
        self.leaves = [
            numbers.normal(size=draw.choice(SHAPES)).astype(np.float32) for _ in range(3)
        ]
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        count = len(self.leaves)
        for _ in range(draw.randint(*LENGTHS)):
            label = draw.choice(tuple(STEPS))
            # Late values are taken up more often, so that programs are deep.
            picks = [
                max(draw.randrange(count), draw.randrange(count)) for _ in range(STEPS[label][1])
            ]
            self.steps.append((label, tuple(picks)))
            count += 1
        self.kept = sorted({draw.randrange(count) for _ in range(3)} | {count - 1})

    def __str__(self) -> str:
        shapes = [a.shape for a in self.leaves]
        return "\n".join(
            [f"leaves {shapes}", *(f"{i + 3}: {s} {p}" for i, (s, p) in enumerate(self.steps))]
        )

    def forward(self, m, *leaves, look=None):
        """Return the loss and the values kept."""
        values = list(leaves)
        for i, (label, picks) in enumerate(self.steps):
            values.append(STEPS[label][0](m, *[values[p] for p in picks]))
            if look is not None and look.random() < 0.3:
                values[look.randrange(i + 3)].sum().item()
        kept = [values[k] for k in self.kept]
        ends = [*kept, *leaves[:2]]
        loss = sum((tame(m, v) * (0.5 + 0.25 * k)).sum() for k, v in enumerate(ends))
        return loss, kept

    def tensors(self, m):
        """Return the leaves; the first two require gradients."""
        made = [torch.tensor(a) if m is torch else tn.tensor(a) for a in self.leaves]
        for x in made[:2]:
            x.requires_grad_()
        return made

    def run(self, m, look=None):
        """Return every kept value, the loss and the leaves' gradients."""
        leaves = self.tensors(m)
        loss, kept = self.forward(m, *leaves, look=look)
        loss.backward()
        return out(loss, kept, leaves)


def out(loss, kept, leaves):
    """Return what a run made, as arrays by name."""
    found = {f"value {i}": v.detach().numpy().copy() for i, v in enumerate(kept)}
    found["value of the loss"] = loss.detach().numpy().copy()
    for i, x in enumerate(leaves[:2]):
        found[f"gradient {i}"] = (
            np.zeros(x.shape, np.float32) if x.grad is None else x.grad.numpy().copy()
        )
    return found


def same_bits(program, got, want, way):
    wrong = [k for k in want if got[k].tobytes() != want[k].tobytes()]
    assert not wrong, f"{way}: other bits in {wrong}\n{program}"


# -- the ways to run it ------------------------------------------------------------------------
def compiled(program, leaves):
    """Return a compiled function of the leaves that gives values and gradients."""

    def step(*leaves):
        for x in leaves[:2]:
            x.grad = None
        loss, kept = program.forward(tn, *leaves)
        loss.backward()
        return loss, kept

    return tn.compile(step)


def run_compiled(program):
    """Return the results of the first call and of a replay."""
    leaves = program.tensors(tn)
    step = compiled(program, leaves)
    first = out(*step(*leaves), leaves)
    return first, out(*step(*leaves), leaves)


def other_numbers(program):
    """Return a replay's results for other numbers than were recorded, and a fresh run's."""
    leaves = program.tensors(tn)
    step = compiled(program, leaves)
    step(*leaves)
    changed = Program.__new__(Program)
    changed.__dict__.update(
        program.__dict__,
        leaves=[a[::-1].copy() * 0.9 if a.ndim else a * 0.9 for a in program.leaves],
    )
    others = changed.tensors(tn)
    return out(*step(*others), others), changed


@pytest.mark.parametrize("block", range(8))
def test_a_program_has_the_same_bits_replayed_and_compiled(block, count):
    for seed in range(block * 10, block * 10 + 10):
        program = Program(seed)
        want = program.run(tn)
        same_bits(program, program.run(tn), want, "replayed")
        for i, got in enumerate(run_compiled(program)):
            same_bits(program, got, want, f"compiled, call {i + 1}")
        got, changed = other_numbers(program)
        same_bits(changed, got, changed.run(tn), "compiled, other numbers")
        count("programs", AXES, 4 * len(want))


def close(program, got, want, way):
    """Fail where a value's bits differ, or a gradient is further off than REORDERED."""
    for key, b in want.items():
        if key.startswith("value"):
            assert got[key].tobytes() == b.tobytes(), f"{way}, {key}\n{program}"
        else:
            off = np.abs(got[key].astype(np.float64) - b).max(initial=0)
            most = REORDERED * max(np.abs(b).max(initial=0), 1.0)
            assert off <= most, f"{way}, {key}: {off}\n{program}"


@pytest.mark.parametrize("block", range(8))
def test_a_program_in_several_traces_has_the_same_bits_forwards(block, monkeypatch, count):
    for seed in range(block * 10, block * 10 + 10):
        program = Program(seed)
        want = program.run(tn)
        close(program, program.run(tn, random.Random(seed)), want, "looked at on the way")
        with tn.immediate():
            close(program, program.run(tn), want, "immediate")
        with monkeypatch.context() as patch:
            patch.setattr(config, "max_pending_ops", 7)
            reset_trie()
            close(program, program.run(tn), want, "cut into short traces")
        reset_trie()
        count("programs", AXES, 3 * len(want))


@pytest.mark.parametrize("block", range(10))
def test_a_program_computes_what_pytorch_does(block, count):
    tried = 0
    for seed in range(500 + block * 20, 520 + block * 20):
        program = Program(seed)
        want = program.run(torch)
        if not all(np.isfinite(b).all() for b in want.values()):
            continue
        got = program.run(tn)
        for key, b in want.items():
            scale = max(np.abs(b).max(initial=0), 1.0)
            off = np.abs(got[key].astype(np.float64) - b).max(initial=0)
            assert got[key].shape == b.shape
            assert off <= TOLERANCE[key.split()[0]] * scale, f"seed {seed}, {key}: {off}\n{program}"
        tried += 1
        count("programs", AXES, len(want))
    assert tried > 15


def test_every_step_is_in_some_program():
    met = {label for seed in range(200) for label, _ in Program(seed).steps}
    assert met == set(STEPS)


def test_a_different_number_is_noticed():
    """The comparison can fail."""
    program = Program(1)
    want = program.run(tn)
    program.leaves[0] = program.leaves[0] + np.float32(1e-3)
    with pytest.raises(AssertionError, match="other bits"):
        same_bits(program, program.run(tn), want, "changed")
    assert given(torch.ones(1)).item() == 1.0
