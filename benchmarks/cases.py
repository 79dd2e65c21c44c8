"""What is compared: each case makes the same work for Tenor and for PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import tenor as tn

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], object]

__all__ = ["CASES"]


def _seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def mlp_step(lib: Any) -> Work:
    """Forward, backward and SGD of 784-128-10 at batch 32; plain Python, no decorator."""
    rng = _seeded()
    weights = [
        rng.standard_normal((128, 784)) * 0.05,
        np.zeros(128),
        rng.standard_normal((10, 128)) * 0.1,
        np.zeros(10),
    ]
    nn = lib.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    with lib.no_grad():
        for p, w in zip(model.parameters(), weights, strict=True):
            p.copy_(lib.tensor(w.astype(np.float32)))
    optimizer = lib.optim.SGD(model.parameters(), lr=0.01)
    x = lib.tensor(rng.standard_normal((32, 784)).astype(np.float32))
    y = lib.tensor(rng.integers(0, 10, 32))
    loss_of = nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def mixed(y: Any, x: Any) -> Any:
    """Four operations: arithmetic and tanh."""
    y = y * 1.01
    y = y + 0.1
    y = y.tanh()
    return y - x


def transcendental(y: Any, x: Any) -> Any:  # noqa: ARG001 - one signature for all links
    """Four operations: an exponential and a logarithm of what is kept in their range."""
    y = y * 0.1
    y = y.exp()
    y = y + 1.5
    return y.log()


def chain(link: Callable[[Any, Any], Any], *, gradient: bool = False) -> Callable[[Any], Work]:
    """A chain of 100 elementwise operations on 64x64: a link of four, 25 times."""

    def make(lib: Any) -> Work:
        values = _seeded().standard_normal((64, 64)).astype(np.float32)
        x = lib.tensor(values, requires_grad=gradient)

        def forward() -> Any:
            y = x
            for _ in range(25):
                y = link(y, x)
            return y

        def run() -> object:
            if not gradient:
                return forward().numpy()
            forward().sum().backward()
            g, x.grad = x.grad, None
            return g.numpy()

        return run

    return make


def matmul(m: int, k: int, n: int) -> Callable[[Any], Work]:
    """One matrix product, in float32."""

    def make(lib: Any) -> Work:
        rng = _seeded()
        a = lib.tensor(rng.standard_normal((m, k)).astype(np.float32))
        b = lib.tensor(rng.standard_normal((k, n)).astype(np.float32))

        def run() -> object:
            return (a @ b).numpy()

        return run

    return make


def linear(batch: int, features: int, out: int) -> Callable[[Any], Work]:
    """A linear layer as it is served: no gradient, PyTorch's layout of the weight."""

    def make(lib: Any) -> Work:
        rng = _seeded()
        x = lib.tensor(rng.standard_normal((batch, features)).astype(np.float32))
        w = lib.tensor(rng.standard_normal((out, features)).astype(np.float32))
        b = lib.tensor(rng.standard_normal(out).astype(np.float32))

        def run() -> object:
            return lib.nn.functional.linear(x, w, b).numpy()

        return run

    return make


def rows(name: str, count: int, length: int) -> Callable[[Any], Work]:
    """A softmax or the like over the last dim."""

    def make(lib: Any) -> Work:
        x = lib.tensor(_seeded().standard_normal((count, length)).astype(np.float32))
        function, about = getattr(lib.nn.functional, name), -1
        if name == "layer_norm":
            about = (length,)

        def run() -> object:
            return function(x, about).numpy()

        return run

    return make


def conv(
    images: int, channels: int, size: int, out: int, kernel: int, stride: int = 1, groups: int = 1,
    *, gradient: bool = False,
) -> Callable[[Any], Work]:  # fmt: skip
    """A convolution of square images, or it and the gradients of its image and its weight."""

    def make(lib: Any) -> Work:
        rng = _seeded()
        shapes = (images, channels, size, size), (out, channels // groups, kernel, kernel)
        x, w = (
            lib.tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=gradient)
            for shape in shapes
        )
        around = kernel // 2

        def run() -> object:
            y = lib.nn.functional.conv2d(x, w, stride=stride, padding=around, groups=groups)
            if not gradient:
                return y.numpy()
            y.backward(g)
            found = x.grad.numpy(), w.grad.numpy()
            x.grad = w.grad = None
            return found

        side = (size + 2 * around - kernel) // stride + 1
        g = lib.ones(images, out, side, side)
        return run

    return make


def conv_step(lib: Any) -> Work:
    """Forward, backward and Adam of a small CNN on 32 images of 1x28x28."""
    rng = _seeded()
    nn = lib.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )
    optimizer = lib.optim.Adam(model.parameters(), lr=0.001)
    x = lib.tensor(rng.standard_normal((32, 1, 28, 28)).astype(np.float32))
    y = lib.tensor(rng.integers(0, 10, 32))
    loss_of = nn.CrossEntropyLoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


CASES: dict[str, tuple[Callable[[Any], Work], tuple[int, ...], float | None]] = {
    "MLP 784-128-10 step, batch 32": (mlp_step, (1,), 2.0),
    "100 ops on 64x64, forward": (chain(mixed), (1,), 2.0),
    "100 ops on 64x64, forward + backward": (chain(mixed, gradient=True), (1,), 2.0),
    "100 ops with exp and log, forward": (chain(transcendental), (1,), 2.0),
    "matmul 256x256x256": (matmul(256, 256, 256), (1, 2), 0.9),
    "matmul 512x512x512": (matmul(512, 512, 512), (1, 2), 0.9),
    "matmul 1024x1024x1024": (matmul(1024, 1024, 1024), (1, 2), 0.9),
    "matmul 128x768x3072": (matmul(128, 768, 3072), (1, 2), 0.9),
    "CNN 28x28 step, batch 32": (conv_step, (1, 2), None),
    "linear 1x1024 -> 1024": (linear(1, 1024, 1024), (1,), None),
    "linear 1x4096 -> 4096": (linear(1, 4096, 4096), (1, 2), None),
    "linear 8x1024 -> 1024": (linear(8, 1024, 1024), (1,), None),
    "matmul 1x4096x4096": (matmul(1, 4096, 4096), (1, 2), None),
    "conv 3x3, 8x64x56x56 -> 64": (conv(8, 64, 56, 64, 3), (1, 2), None),
    "conv 3x3, 8x128x28x28 -> 128": (conv(8, 128, 28, 128, 3), (1,), None),
    "conv 3x3, 8x256x14x14 -> 256": (conv(8, 256, 14, 256, 3), (1,), None),
    "conv 3x3 / 2, 8x128x56x56 -> 128": (conv(8, 128, 56, 128, 3, 2), (1,), None),
    "conv 1x1, 8x64x56x56 -> 256": (conv(8, 64, 56, 256, 1), (1,), None),
    "conv 3x3, 8x128x28x28 -> 128, gradients": (
        conv(8, 128, 28, 128, 3, gradient=True), (1,), None),
    "conv 1x1, 8x256x14x14 -> 1024, gradients": (
        conv(8, 256, 14, 1024, 1, gradient=True), (1,), None),
    "conv 3x3 depthwise, 8x128x28x28, gradients": (
        conv(8, 128, 28, 128, 3, groups=128, gradient=True), (1,), None),
    "softmax 512x128": (rows("softmax", 512, 128), (1,), None),
    "softmax 4096x1024": (rows("softmax", 4096, 1024), (1,), None),
    "layer norm 256x768": (rows("layer_norm", 256, 768), (1,), None),
}  # fmt: skip
"""Name: how to make the work, at which thread counts, and the ratio promised (or None)."""


def work_for(name: str, threads: int) -> tuple[Work, Work]:
    """Return Tenor's and PyTorch's work of a case at a thread count."""
    tn.set_num_threads(threads)
    torch.set_num_threads(threads)
    make = CASES[name][0]
    return make(tn), make(torch)
