"""As much of PyTorch's names over JAX as the workloads use, so that JAX runs the same networks.

A module holds its arrays by name and reads them when it is called; under `jax.jit` they are
tracers (`Module.bind`). What XLA sees is what a hand-written function would give it. Images are
channels last, as XLA on CPUs likes them: `channels_last` and the modules below agree on it.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["channels_last", "library"]


class Module:
    """Arrays and modules by attribute name.

    Attributes:
        training: Whether batch norms use the batch.
    """

    training = True

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[int, ...]] = {}
        self.values: dict[str, Any] = {}

    def own(self, **shapes: tuple[int, ...]) -> None:
        """Declare arrays."""
        self.arrays |= shapes

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Give every module below with its path."""
        yield prefix, self
        for name, value in list(vars(self).items()):
            if isinstance(value, Module):
                yield from value.modules(f"{prefix}{name}.")

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return (name, shape) of every array, as `state_dict` names it."""
        return [(p + n, s) for p, m in self.modules() for n, s in m.arrays.items()]

    def bind(self, values: dict[str, Any]) -> None:
        """Take the arrays of a state dict."""
        for prefix, module in self.modules():
            module.values = {n: values[prefix + n] for n in module.arrays}

    def held(self) -> dict[str, Any]:
        """Return the arrays as they are now; a batch norm may have changed its own."""
        return {p + n: v for p, m in self.modules() for n, v in m.values.items()}

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        with contextlib.suppress(KeyError):
            return self.__dict__["values"][name]
        raise AttributeError(name)


class Several(Module):
    """Modules by number."""

    def __init__(self, modules: Any) -> None:
        super().__init__()
        self.count = len(modules)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(i)) for i in range(self.count))


class Sequential(Several):
    def __init__(self, *modules: Any) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class Linear(Module):
    def __init__(self, m: int, n: int, *, bias: bool = True) -> None:
        super().__init__()
        self.own(weight=(n, m), **({"bias": (n,)} if bias else {}))

    def forward(self, x: Any) -> Any:
        y = x @ self.weight.T
        return y + self.bias if "bias" in self.values else y


class Embedding(Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.own(weight=(rows, width))

    def forward(self, index: Any) -> Any:
        return self.weight[index]


class LayerNorm(Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.own(weight=(width,), bias=(width,))

    def forward(self, x: Any) -> Any:
        mean = x.mean(-1, keepdims=True)
        var = jnp.square(x - mean).mean(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * self.weight + self.bias


class BatchNorm(Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        one = (channels,)
        self.own(weight=one, bias=one, running_mean=one, running_var=one, num_batches_tracked=())

    def forward(self, x: Any) -> Any:
        if not Module.training:
            scale = self.weight * lax.rsqrt(self.running_var + 1e-5)
            return x * scale + (self.bias - self.running_mean * scale)
        dims = tuple(range(x.ndim - 1))
        mean = x.mean(dims)
        var = jnp.square(x - mean).mean(dims)
        count = x.size // x.shape[-1]
        held = self.values
        held["running_mean"] = 0.9 * held["running_mean"] + 0.1 * lax.stop_gradient(mean)
        unbiased = lax.stop_gradient(var) * (count / (count - 1))
        held["running_var"] = 0.9 * held["running_var"] + 0.1 * unbiased
        return (x - mean) * (self.weight * lax.rsqrt(var + 1e-5)) + self.bias


def _pair(value: Any, rank: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * rank


class Conv(Module):
    rank = 2

    def __init__(
        self, m: int, n: int, kernel: Any, stride: Any = 1, padding: Any = 0, *,
        groups: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.groups = _pair(stride, self.rank), groups
        self.padding = [(p, p) for p in _pair(padding, self.rank)]
        shape = (n, m // groups, *_pair(kernel, self.rank))
        self.own(weight=shape, **({"bias": (n,)} if bias else {}))

    def forward(self, x: Any) -> Any:
        order = ("NHWC", "OIHW", "NHWC") if self.rank == 2 else ("NHC", "OIH", "NHC")
        y = lax.conv_general_dilated(
            x, self.weight, self.stride, self.padding, dimension_numbers=order,
            feature_group_count=self.groups,
        )  # fmt: skip
        return y + self.bias if "bias" in self.values else y


class Conv1d(Conv):
    rank = 1


class ConvTranspose2d(Module):
    """Only kernel = stride: each pixel becomes a block."""

    def __init__(self, m: int, n: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.own(weight=(m, n, kernel, stride), bias=(n,))

    def forward(self, x: Any) -> Any:
        b, h, w, _ = x.shape
        y = jnp.einsum("bhwc,cnij->bhiwjn", x, self.weight)
        return y.reshape(b, 2 * h, 2 * w, -1) + self.bias


class MaxPool(Module):
    rank = 2

    def __init__(self, size: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride or size, padding

    def forward(self, x: Any) -> Any:
        inner, n = (1, *(self.size,) * self.rank, 1), self.stride
        pads = [(0, 0), *[(self.padding, self.padding)] * self.rank, (0, 0)]
        return lax.reduce_window(x, -jnp.inf, lax.max, inner, (1, *(n,) * self.rank, 1), pads)


class MaxPool1d(MaxPool):
    rank = 1


class AveragePool(Module):
    """Adaptive average pooling to one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        assert size == 1

    def forward(self, x: Any) -> Any:
        return x.mean(tuple(range(1, x.ndim - 1)), keepdims=True)


class Flatten(Module):
    def forward(self, x: Any) -> Any:
        return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)


class LSTM(Module):
    def __init__(self, inputs: int, hidden: int, *, num_layers: int, batch_first: bool) -> None:
        super().__init__()
        assert batch_first
        self.layers, self.hidden = num_layers, hidden
        for i in range(num_layers):
            self.own(**{
                f"weight_ih_l{i}": (4 * hidden, hidden if i else inputs),
                f"weight_hh_l{i}": (4 * hidden, hidden),
                f"bias_ih_l{i}": (4 * hidden,), f"bias_hh_l{i}": (4 * hidden,),
            })  # fmt: skip

    def forward(self, x: Any) -> Any:
        x = jnp.swapaxes(x, 0, 1)
        for i in range(self.layers):
            v = self.values
            given = x @ v[f"weight_ih_l{i}"].T + v[f"bias_ih_l{i}"] + v[f"bias_hh_l{i}"]
            weight = v[f"weight_hh_l{i}"].T

            def step(carry: Any, row: Any, weight: Any = weight) -> Any:
                h, c = carry
                a, f, g, o = jnp.split(row + h @ weight, 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(a) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zero = jnp.zeros((x.shape[1], self.hidden), x.dtype)
            last, x = lax.scan(step, (zero, zero), given)
        return jnp.swapaxes(x, 0, 1), last


class Apply(Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.forward = function


def _attention(q: Any, k: Any, v: Any, *, attn_mask: Any = None, is_causal: bool = False) -> Any:
    scores = q @ jnp.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5)
    if is_causal:
        attn_mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if attn_mask is not None:
        scores = jnp.where(attn_mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, -1) @ v


def _cat(parts: Any, dim: int) -> Any:
    return jnp.concatenate(parts, -1 if parts[0].ndim == 4 and dim == 1 else dim)


def channels_last(x: Any) -> Any:
    """Return a float batch (N, C, ...) with its channels last; anything else as it is."""
    spatial = x.ndim in (3, 4) and x.dtype.kind == "f" and x.shape[1] <= 3
    return jnp.moveaxis(jnp.asarray(x), 1, -1) if spatial else jnp.asarray(x)


library = SimpleNamespace(
    nn=SimpleNamespace(
        Module=Module, ModuleList=Several, Sequential=Sequential, Linear=Linear,
        Embedding=Embedding, LayerNorm=LayerNorm, BatchNorm2d=BatchNorm, BatchNorm1d=BatchNorm,
        Conv2d=Conv, Conv1d=Conv1d, ConvTranspose2d=ConvTranspose2d, MaxPool2d=MaxPool,
        MaxPool1d=MaxPool1d, AdaptiveAvgPool2d=AveragePool, AdaptiveAvgPool1d=AveragePool,
        Flatten=Flatten, LSTM=LSTM, Identity=lambda: Apply(lambda x: x),
        ReLU=lambda: Apply(jax.nn.relu), ReLU6=lambda: Apply(jax.nn.relu6),
        functional=SimpleNamespace(
            relu=jax.nn.relu, scaled_dot_product_attention=_attention,
            gelu=lambda x, approximate: jax.nn.gelu(x, approximate == "tanh"),
        ),
    ),
    cat=_cat, stack=jnp.stack, where=jnp.where, arange=jnp.arange, permute=jnp.transpose,
)  # fmt: skip
"""What a workload takes for its library."""
