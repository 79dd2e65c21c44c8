"""Small NumPy models, and a client for each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from tenor.ir import dtype as dt
from tenor.serve import Limits, create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Spec:
    name: str
    dtype: dt.DType
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Asked:
    name: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]


@dataclass
class NumpyModel:
    """A servable whose signatures are plain functions; it counts its runs."""

    name: str
    functions: Mapping[str, Callable[..., Mapping[str, Any]]]
    signatures: Mapping[str, Asked]
    version: str = "1"
    description: str = "a test model"
    runs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def run(self, signature, inputs):
        self.runs.append((signature, dict(inputs)))
        return self.functions[signature](**inputs)


def model(name, inputs, outputs, function, version="1"):
    asked = Asked(
        "predict",
        tuple(Spec(*entry) for entry in inputs),
        tuple(Spec(*entry) for entry in outputs),
    )
    return NumpyModel(name, {"predict": function}, {"predict": asked}, version)


def identity(dtype, shape=("batch",), name="echo"):
    """A model that answers what it is sent."""
    return model(name, [("x", dtype, shape)], [("y", dtype, shape)], lambda x: {"y": x})


def half_plus_three(version="123"):
    """TensorFlow Serving's own example: y = x / 2 + 3."""
    return model(
        "half_plus_three",
        [("x", dt.float32, ("batch",))],
        [("y", dt.float32, ("batch",))],
        lambda x: {"y": x / np.float32(2) + np.float32(3)},
        version,
    )


def linear():
    """Two rows of weights: [batch, 3] float32 to [batch, 2]."""
    weights = np.array([[1, 0], [0, 1], [2, -1]], np.float32)
    return model(
        "linear",
        [("x", dt.float32, ("batch", 3))],
        [("y", dt.float32, ("batch", 2))],
        lambda x: {"y": x @ weights},
    )


def recommend():
    """Two inputs and two outputs of several dtypes, which share the batch."""
    return model(
        "recommend",
        [("user", dt.int64, ("batch",)), ("features", dt.float32, ("batch", 2))],
        [("score", dt.float32, ("batch",)), ("good", dt.bool_, ("batch", 1))],
        lambda user, features: {
            "score": features.sum(1) + user.astype(np.float32),
            "good": (features[:, :1] > 0),
        },
    )


def calling(function):
    """A [batch] float32 model that calls `function` on its input."""
    return model(
        "calling", [("x", dt.float32, ("batch",))], [("y", dt.float32, ("batch",))], function
    )


@dataclass(frozen=True)
class Zoo:
    """The models, for tests to make their own."""

    Spec = Spec
    Asked = Asked
    NumpyModel = NumpyModel
    model = staticmethod(model)
    identity = staticmethod(identity)
    half_plus_three = staticmethod(half_plus_three)
    linear = staticmethod(linear)
    recommend = staticmethod(recommend)
    calling = staticmethod(calling)


@pytest.fixture(scope="session")
def zoo():
    return Zoo()


class Client:
    """Ask an application from synchronous code, without a socket."""

    def __init__(self, app):
        self.service = app.state.service
        self.runner = asyncio.Runner()
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def request(self, method, path, **options):
        return self.runner.run(self.client.request(method, path, **options))

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)

    def gather(self, function):
        """Run a coroutine function of the asynchronous client."""
        return self.runner.run(function(self.client))

    def close(self):
        self.runner.run(self.client.aclose())
        self.runner.close()
        self.service.workers.close()


@pytest.fixture
def client_of():
    """Return a function that makes a client of models; what it started ends with the test."""
    clients = []

    def make(*models, **limits):
        clients.append(Client(create_app(models, Limits(**limits))))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
