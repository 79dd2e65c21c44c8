"""K, continued: convolutions (forward, and both gradients) and attention alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.kernels import Kernel, forced

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LAYERS"]

SIZES = (
    # name, images, channels, size, out, kernel, stride, groups, dilation
    ("3x3 64", 8, 64, 56, 64, 3, 1, 1, 1),
    ("3x3 128", 8, 128, 28, 128, 3, 1, 1, 1),
    ("3x3 256", 8, 256, 14, 256, 3, 1, 1, 1),
    ("3x3 512", 8, 512, 7, 512, 3, 1, 1, 1),
    ("3x3/2 128", 8, 128, 56, 128, 3, 2, 1, 1),
    ("1x1 64-256", 8, 64, 56, 256, 1, 1, 1, 1),
    ("1x1 256-1024", 8, 256, 14, 1024, 1, 1, 1, 1),
    ("7x7/2 3-64", 8, 3, 224, 64, 7, 2, 1, 1),
    ("depthwise 128", 8, 128, 28, 128, 3, 1, 128, 1),
    ("dilated 64", 8, 64, 56, 64, 3, 1, 1, 2),
)
WAVES = (("1-D 3 32-64", 8, 32, 4000, 64, 3, 1), ("1-D 80/4 1-32", 8, 1, 16_000, 32, 80, 4))
WANTED = {"": (), "input": (0,), "weight": (1,)}
"""What a row computes: the result, or the gradient of one operand alone."""


def _work(
    shapes: tuple[tuple[int, ...], ...], wanted: tuple[int, ...], body: Callable[..., Any]
) -> Callable[[Any], Callable[[], Any]]:
    def make(lib: Any) -> Callable[[], Any]:
        rng = np.random.default_rng(0)
        given = [
            lib.tensor(rng.standard_normal(s, np.float32), requires_grad=i in wanted)
            for i, s in enumerate(shapes)
        ]
        g = lib.ones(*body(lib, *given).shape)

        def run() -> Any:
            y = body(lib, *given)
            if not wanted:
                return forced(y)
            y.backward(g)
            found = forced(*(given[i].grad for i in wanted))
            for i in wanted:
                given[i].grad = None
            return found

        return run

    return make


def _convolutions() -> list[Kernel]:
    rows = []
    for title, n, c, size, out, k, stride, groups, dilation in SIZES:
        around = dilation * (k // 2)

        def body(
            lib: Any, x: Any, w: Any, stride: int = stride, around: int = around,
            groups: int = groups, dilation: int = dilation,
        ) -> Any:  # fmt: skip
            conv = lib.nn.functional.conv2d
            return conv(x, w, None, stride, around, dilation, groups)

        side = (size + 2 * around - dilation * (k - 1) - 1) // stride + 1
        shapes = (n, c, size, size), (out, c // groups, k, k)
        macs = n * side * side * out * (c // groups) * k * k
        rows += _three("convolution", f"conv {title}", shapes, body, macs, n * out * side**2)
    for title, n, c, size, out, k, stride in WAVES:

        def along(lib: Any, x: Any, w: Any, stride: int = stride, around: int = k // 2) -> Any:
            return lib.nn.functional.conv1d(x, w, None, stride, around)

        side = (size + 2 * (k // 2) - k) // stride + 1
        shapes = (n, c, size), (out, c, k)
        rows += _three("convolution", f"conv {title}", shapes, along, n * side * out * c * k,
                       n * out * side)  # fmt: skip
    return rows


def _three(
    family: str, title: str, shapes: Any, body: Callable[..., Any], macs: int, out: int
) -> list[Kernel]:
    rows = []
    moved = 4 * (sum(int(np.prod(s)) for s in shapes) + out)
    for what, wanted in WANTED.items():
        named = f"{title}{f', {what} gradient' if what else ''}"
        name = f"{title}{f' {what}' if what else ''}".replace(" ", "-").replace("/", "s")
        rows.append(
            Kernel(name, named, family, _work(shapes, wanted, body),
                   2 * macs * (1 + bool(wanted)), moved)
        )  # fmt: skip
    return rows


def _attention() -> list[Kernel]:
    rows = []
    for length in (128, 512, 2048):
        for causal in (False, True):
            shape = 2, 8, length, 64

            def body(lib: Any, q: Any, k: Any, v: Any, causal: bool = causal) -> Any:
                attend = lib.nn.functional.scaled_dot_product_attention
                return attend(q, k, v, is_causal=causal)

            title = f"attention {length}{' causal' * causal}"
            name = title.replace(" ", "-")
            flops = 4 * 2 * 8 * length**2 * 64 // (1 + causal)
            for what, wanted in (("", ()), ("gradients", (0, 1, 2))):
                times = 1 if not wanted else 3
                rows.append(
                    Kernel(f"{name}-{what}" if what else name,
                           f"{title}, {what}" if what else title, "attention",
                           _work((shape,) * 3, wanted, body), flops * times,
                           4 * 4 * int(np.prod(shape)))
                )  # fmt: skip
    return rows


LAYERS = (*_convolutions(), *_attention())
"""The rows, in order."""
