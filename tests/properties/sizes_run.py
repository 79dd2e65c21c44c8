"""Programs at many sizes: what a process computes, as text. Run as a script, it prints it."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

import tenor as tn
from tenor import nn
from tenor.nn import functional as F

SIZES = [(4, 9), (3, 8), (2, 2), (5, 17), (2, 16), (3, 33), (7, 31), (1, 5), (2, 64), (6, 3),
         (1, 1), (9, 13), (16, 32), (2, 47), (13, 1), (4, 100), (33, 5), (3, 70)]  # fmt: skip
"""(batch, time): ones, primes, whole vectors and tiles, one more and one less than those."""


def array(rng, *shape, dtype=np.float32):
    """Return normal numbers."""
    return tn.tensor(rng.standard_normal(shape).astype(dtype))


def elementwise(rng, b, t):
    """Maps with everything broadcast that can be."""
    x, row, column = array(rng, b, t, 20), array(rng, 20), array(rng, b, 1, 1)
    return F.gelu(x * row + column), (x > 0).sum(), tn.where(x > row, x, column).exp()


def inner(rng, b, t):
    """Reductions of the last dim, whose length varies."""
    x = array(rng, b, 3, t)
    return x.sum(-1), x.softmax(-1), x.amax(-1), x.argmax(-1), x.mean(), (x * x).sum((0, 2))


def outer(rng, b, t):
    """Reductions of leading dims, whose length varies."""
    x = array(rng, b, t, 24)
    return x.sum(0), x.mean((0, 1)), x.var((0, 1)), x.amin(1), x.cumsum(1), F.layer_norm(x, (24,))


def kinds(rng, b, t):
    """Other dtypes."""
    x = array(rng, b, t, 6, dtype=np.float64)
    whole = tn.tensor(rng.integers(-9, 9, (b, t)))
    half = array(rng, b * t, 18).to(tn.bfloat16)
    return x.sum((0, 1)), x.softmax(1), whole.sum(0), whole.max(), half @ half.t(), half.sum(0)


def products(rng, b, t):
    """Matrix products: rows, columns or the contracted dim vary, or all of them."""
    x, w = array(rng, b, t, 40), array(rng, 40, 24)
    v = array(rng, 24, 40)
    score = x @ x.transpose(1, 2)
    served = F.relu(F.linear(array(rng, b * t, 600), array(rng, 70, 600)))
    return (
        served,
        x @ w,
        x @ v.t(),
        x.reshape(b * t, 40).t() @ (x @ w).reshape(b * t, 24),
        score,
        score @ x,
        w.t() @ x.transpose(1, 2),
        x.reshape(b * t, 40)[:, 0] @ x[:, :, 1].flatten(),
    )


def places(rng, b, t):
    """Movement and indices."""
    x, index = array(rng, b, t, 10), tn.tensor(rng.integers(0, t, (b, 4)))
    table, words = array(rng, 50, 12), tn.tensor(rng.integers(0, 50, (b, t)))
    tail = x[:, 1:] - x[:, :-1] if t > 1 else x
    return (
        tail,
        x.flip(1),
        F.pad(x, (1, 2, 3, 0)),
        tn.cat([x, x + 1], 1),
        table[words],
        x.gather(1, index[:, :, None].expand(b, 4, 10)),
        x.sort(1).values,
        x.permute(2, 1, 0),
        tn.zeros(50, 12).index_add(0, words.flatten(), table[words].reshape(b * t, 12)),
    )


def classifier():
    """A step of training a perceptron and AdamW."""
    model = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.LayerNorm(48), nn.Linear(48, 7))
    optimizer = tn.optim.AdamW(model.parameters(), lr=0.01)

    def step(rng, b, t):
        x, y = array(rng, b * t, 20), tn.tensor(rng.integers(0, 7, (b * t,)))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss, *model.parameters()

    return step


class Language(nn.Module):
    """A block of a language model."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(30, 32), nn.Embedding(128, 32)
        self.first, self.last = nn.LayerNorm(32), nn.LayerNorm(32)
        self.mix, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.head = nn.Linear(32, 30)

    def forward(self, words):
        b, t = words.shape
        x = self.words(words) + self.places(tn.arange(t))
        parts = self.mix(self.first(x)).chunk(3, dim=-1)
        q, k, v = (p.reshape(b, t, 2, 16).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, 32))
        return self.head(self.last(x))


def language():
    """A step of training a language model."""
    model = Language()
    optimizer = tn.optim.AdamW(model.parameters(), lr=0.01)

    def step(rng, b, t):
        words = tn.tensor(rng.integers(0, 30, (b, t)))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(words).reshape(b * t, 30), words.flatten(), ignore_index=3)
        loss.backward()
        optimizer.step()
        return loss, *model.parameters()

    return step


def images():
    """A step of training a convolutional network; the batch varies."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 16, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    optimizer = tn.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step(rng, b, t):
        x, y = array(rng, b, 3, 12, 12), tn.tensor(rng.integers(0, 5, (b,)))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss, *model.parameters(), *model.buffers()

    return step


def signals():
    """A step of training on signals: convolutions and pooling over a length that varies."""
    model = nn.Sequential(
        nn.Conv1d(3, 8, 5, padding=2), nn.GroupNorm(2, 8), nn.GELU(), nn.MaxPool1d(3, 2, 1),
        nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=2), nn.SiLU(),
        nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1), nn.AvgPool1d(2, ceil_mode=True),
    )  # fmt: skip
    optimizer = tn.optim.RMSprop(model.parameters(), lr=0.01)

    def step(rng, b, t):
        x = array(rng, b, 3, t + 3)
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean() + F.interpolate(x, scale_factor=2).var()
        loss.backward()
        optimizer.step()
        return loss, *model.parameters()

    return step


PROGRAMS = {
    "elementwise": lambda: elementwise, "inner": lambda: inner, "outer": lambda: outer,
    "kinds": lambda: kinds, "products": lambda: products, "places": lambda: places,
    "classifier": classifier, "language": language, "images": images, "signals": signals,
}  # fmt: skip


def run(name, sizes=SIZES, after=lambda: None):
    """Return a digest of the results at each size, in order; `after()` is called after each."""
    tn.manual_seed(0)
    step = PROGRAMS[name]()
    digests = []
    for number, (b, t) in enumerate(sizes):
        results = step(np.random.default_rng(number), b, t)
        raw = [r.detach().float().numpy() if r.dtype is tn.bfloat16 else r.detach().numpy()
               for r in results]  # fmt: skip
        after()
        digests.append(hashlib.sha256(b"".join(a.tobytes() for a in raw)).hexdigest()[:16])
    return digests


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(name, *run(name, SIZES[: int(sys.argv[1])]))
