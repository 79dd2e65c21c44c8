"""A small training program with everything that could disturb bits; prints what it computed.

A process of its own runs it as `python training_run.py`, and so do the tests in theirs.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

import tenor as tn
from tenor import nn

STEPS, BATCH, SEED = 3, 24, 5
WAYS = ("recorded", "compiled", "looked at")


class Network(nn.Module):
    """A small image classifier: convolutions, batch norm, dropout, then an MLP."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.GELU(),
            nn.Dropout(0.25), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(32, 33), nn.LayerNorm(33), nn.Tanh(), nn.Dropout(0.5), nn.Linear(33, 5)
        )

    def forward(self, x, look=False):
        for layer in (*self.body, *self.head):
            x = layer(x)
            if look:
                x.mean().item()
        return x


def batches():
    numbers = np.random.default_rng(SEED)
    for _ in range(STEPS):
        x = numbers.standard_normal((BATCH, 1, 10, 10)).astype(np.float32)
        yield x, numbers.integers(0, 5, BATCH)


def train(way="recorded"):
    """Train from scratch; return the losses, the trained tensors and gradients by name.

    Args:
        way: One of WAYS: plainly, by `tn.compile`, or with every activation looked at.
    """
    assert way in WAYS
    tn.manual_seed(SEED)
    model = Network()
    opt = tn.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)

    def step(x, y):
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x, way == "looked at"), y, label_smoothing=0.1)
        loss.backward()
        opt.step()
        return loss

    run = tn.compile(step) if way == "compiled" else step
    found = {}
    for k, (x, y) in enumerate(batches()):
        loss = run(tn.tensor(x), tn.tensor(y))
        found[f"loss {k}"] = loss.detach().numpy().copy()
    for name, value in model.state_dict().items():
        found[name] = value.numpy().copy()
    for name, parameter in model.named_parameters():
        found[f"gradient of {name}"] = parameter.grad.numpy().copy()
    return found


def fingerprint(found):
    """Return a line for each tensor: its name, and a hash of its bytes."""
    return [f"{name} {hashlib.sha256(a.tobytes()).hexdigest()}" for name, a in found.items()]


if __name__ == "__main__":
    print("\n".join(fingerprint(train(*sys.argv[1:]))))
