"""Small models and data for the tests of training."""

from __future__ import annotations

import numpy as np
import pytest

import tenor as tn
from tenor import nn


def make_net(seed=0, inputs=4, classes=3):
    tn.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, classes))


@pytest.fixture
def net():
    return make_net()


@pytest.fixture
def blobs():
    """Return 90 points of 3 classes that a line can tell apart: (x, y)."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    centres = rng.normal(scale=3.0, size=(3, 4))
    return (centres[y] + rng.normal(size=(90, 4))).astype(np.float32), y


@pytest.fixture
def model(net):
    made = tn.Model(net)
    made.compile(tn.optim.SGD(net.parameters(), lr=0.1), "cross_entropy", metrics=["accuracy"])
    return made
