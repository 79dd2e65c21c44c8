"""K: kernels alone, each written once for every library with PyTorch's names.

A row gives the floating-point operations and the bytes it cannot do without (each input read
once, each output written once), so that its time can be read as GF/s or as a share of the
memory's bandwidth. Convolutions and attention stand in files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Shape = tuple[int, ...]
    Work = Callable[[], Any]

__all__ = ["KERNELS", "Kernel", "forced"]


@dataclass(frozen=True)
class Kernel:
    """One kernel to measure.

    Attributes:
        name, title: Its row and what stands beside it.
        family: What it is shown under.
        make: Library (`tenor` or `torch`) to a callable that does the work once.
        flops: Floating-point operations of one call; 0 where bytes say more.
        bytes: Bytes of the inputs and the outputs of one call.
        make_jax: `(jax, jax.numpy)` to a callable of the jitted peer, or None.
    """

    name: str
    title: str
    family: str
    make: Callable[[Any], Work]
    flops: int
    bytes: int
    make_jax: Callable[[Any, Any], Work] | None = None


def forced(*tensors: Any) -> tuple[np.ndarray, ...]:
    """Return the values as arrays on the tensors' own memory: computed now, copied nowhere."""
    return tuple(t.detach().numpy() for t in tensors)


# -- how arrays are drawn -------------------------------------------------------------------------
@dataclass(frozen=True)
class Drawn:
    """An input: integers below a bound, or normal numbers in float32, or their magnitudes."""

    shape: Shape
    below: int = 0
    gradient: bool = False
    positive: bool = False

    def array(self, rng: np.random.Generator) -> np.ndarray:
        """Return the values."""
        if self.below:
            return rng.integers(0, self.below, self.shape)
        x = rng.standard_normal(self.shape, np.float32)
        return np.abs(x) if self.positive else x


def _f(*shape: int) -> Drawn:
    return Drawn(shape)


def _arrays(drawn: tuple[Drawn, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [d.array(rng) for d in drawn]


def _tensors(lib: Any, drawn: tuple[Drawn, ...]) -> list[Any]:
    values = [lib.tensor(a) for a in _arrays(drawn)]
    return [x.requires_grad_() if d.gradient else x for x, d in zip(values, drawn, strict=True)]


def _forward(body: Callable[..., Any], drawn: tuple[Drawn, ...]) -> Callable[[Any], Work]:
    def make(lib: Any) -> Work:
        xs = _tensors(lib, drawn)

        def run() -> Any:
            y = body(lib, *xs)
            return forced(*(y if isinstance(y, tuple) else (y,)))

        return run

    return make


def _gradients(body: Callable[..., Any], drawn: tuple[Drawn, ...]) -> Callable[[Any], Work]:
    """Forward and backward; the last input is the gradient that comes back."""

    def make(lib: Any) -> Work:
        *xs, g = _tensors(lib, drawn)
        wanted = [x for x in xs if x.requires_grad]

        def run() -> Any:
            y = body(lib, *xs)
            y.backward(g)
            # What y holds is computed along with the gradients: it is still wanted.
            found = forced(*(x.grad for x in wanted))
            for x in wanted:
                x.grad = None
            return y, *found

        return run

    return make


def _jitted(body: Callable[..., Any], drawn: tuple[Drawn, ...]) -> Callable[[Any, Any], Work]:
    def make(jax: Any, jnp: Any) -> Work:
        xs = [jnp.asarray(a) for a in _arrays(drawn)]
        function = jax.jit(lambda *xs: body(jax, jnp, *xs))
        return lambda: jax.block_until_ready(function(*xs))

    return make


def _row(
    family: str, name: str, title: str, body: Callable[..., Any], *drawn: Drawn, flops: int = 0,
    out: int = 0, peer: Callable[..., Any] | None = None, read: int | None = None,
    backward: bool = False,
) -> Kernel:  # fmt: skip
    """Return a row; `out` is the bytes written, `read` those read where it is not every input."""
    taken = sum(prod(d.shape) * (8 if d.below else 4) for d in drawn) if read is None else read
    make = (_gradients if backward else _forward)(body, drawn)
    return Kernel(
        name, title, family, make, flops, taken + out, _jitted(peer, drawn) if peer else None
    )


# -- products -------------------------------------------------------------------------------------
def _matmul(m: int, k: int, n: int) -> Kernel:
    return _row(
        "matmul", f"matmul-{m}x{k}x{n}", f"matmul {m}x{k}x{n}", lambda _, a, b: a @ b,
        _f(m, k), _f(k, n), flops=2 * m * k * n, out=4 * m * n, peer=lambda _j, _n, a, b: a @ b,
    )  # fmt: skip


def _turned(which: str, n: int) -> Kernel:
    def body(_lib: Any, a: Any, b: Any) -> Any:
        return a.T @ b if which == "A" else a @ b.T

    return _row(
        "matmul", f"matmul-{n}-{which}T", f"matmul {n}, {which} transposed", body, _f(n, n),
        _f(n, n), flops=2 * n**3, out=4 * n * n, peer=lambda _j, _n, a, b: body(None, a, b),
    )  # fmt: skip


def _batched(count: int, m: int, k: int, n: int) -> Kernel:
    return _row(
        "matmul", f"bmm-{count}x{m}x{k}x{n}", f"matmul {count} x ({m}x{k}x{n})",
        lambda _, a, b: a @ b, _f(count, m, k), _f(count, k, n), flops=2 * count * m * k * n,
        out=4 * count * m * n, peer=lambda _j, _n, a, b: a @ b,
    )  # fmt: skip


def _linear(batch: int, m: int, n: int) -> Kernel:
    """A linear layer as it is served: no gradient, PyTorch's layout of the weight."""
    return _row(
        "matmul", f"linear-{batch}x{m}x{n}", f"linear {batch}x{m} -> {n}",
        lambda lib, x, w, b: lib.nn.functional.linear(x, w, b), _f(batch, m), _f(n, m), _f(n),
        flops=2 * batch * m * n, out=4 * batch * n, peer=lambda _j, _n, x, w, b: x @ w.T + b,
    )  # fmt: skip


PRODUCTS = (
    *(_matmul(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)),
    _matmul(1, 1024, 1024), _matmul(1, 4096, 4096), _matmul(8, 1024, 1024), _matmul(32, 784, 512),
    _matmul(1024, 1024, 10), _matmul(128, 768, 3072), _matmul(128, 3072, 768),
    _turned("A", 512), _turned("B", 512),
    _batched(64, 128, 64, 128), _batched(64, 64, 64, 64), _batched(512, 32, 32, 32),
    _linear(1, 1024, 1024), _linear(1, 4096, 4096), _linear(8, 1024, 1024),
)  # fmt: skip


# -- rows: softmax, norms, cross-entropy ----------------------------------------------------------
def _softmax(m: int, n: int, name: str = "softmax") -> Kernel:
    title = name.replace("_", "-")
    return _row(
        "softmax", f"{title}-{m}x{n}", f"{title} {m}x{n}",
        lambda lib, x: getattr(lib, name)(x, -1), _f(m, n), out=4 * m * n,
        peer=lambda jax, _, x: getattr(jax.nn, name)(x, -1),
    )  # fmt: skip


def _layer_norm(m: int, n: int, *, backward: bool = False) -> Kernel:
    def body(lib: Any, x: Any, w: Any, b: Any) -> Any:
        return lib.nn.functional.layer_norm(x, (n,), w, b)

    def peer(_jax: Any, jnp: Any, x: Any, w: Any, b: Any) -> Any:
        middle = x - x.mean(-1, keepdims=True)
        return middle / jnp.sqrt((middle**2).mean(-1, keepdims=True) + 1e-5) * w + b

    drawn = tuple(Drawn(s, gradient=backward) for s in ((m, n), (n,), (n,)))
    name, title = f"layer-norm-{m}x{n}", f"layer norm {m}x{n}"
    if backward:
        return _row("norm", name + "-backward", title + ", forward + backward", body, *drawn,
                    _f(m, n), out=4 * (2 * m * n + 2 * n), backward=True)  # fmt: skip
    return _row("norm", name, title, body, *drawn, out=4 * m * n, peer=peer)


def _batch_norm(shape: Shape, *, backward: bool = False) -> Kernel:
    channels, size = shape[1], prod(shape)

    def body(lib: Any, x: Any, w: Any, b: Any, *_: Any) -> Any:
        return lib.nn.functional.batch_norm(x, None, None, w, b, True)

    def peer(_jax: Any, jnp: Any, x: Any, w: Any, b: Any) -> Any:
        dims, like = (0, 2, 3), (1, -1, 1, 1)
        middle = x - x.mean(dims, keepdims=True)
        scale = w.reshape(like) / jnp.sqrt((middle**2).mean(dims, keepdims=True) + 1e-5)
        return middle * scale + b.reshape(like)

    drawn = tuple(Drawn(s, gradient=backward) for s in (shape, (channels,), (channels,)))
    text = "x".join(map(str, shape))
    name, title = f"batch-norm-{text}", f"batch norm, training, {text}"
    if backward:
        return _row("norm", name + "-backward", title + ", forward + backward", body, *drawn,
                    _f(*shape), out=4 * (2 * size + 2 * channels), backward=True)  # fmt: skip
    return _row("norm", name, title, body, *drawn, out=4 * size, peer=peer)


def _cross_entropy(m: int, n: int, *, backward: bool = False) -> Kernel:
    def body(lib: Any, x: Any, y: Any) -> Any:
        return lib.nn.functional.cross_entropy(x, y)

    def peer(jax: Any, jnp: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean()

    logits, labels = Drawn((m, n), gradient=backward), Drawn((m,), below=n)
    name, title = f"cross-entropy-{m}x{n}", f"cross-entropy {m}x{n}"
    if backward:
        return _row("softmax", name + "-backward", title + ", forward + backward", body, logits,
                    labels, _f(), out=4 * m * n, backward=True)  # fmt: skip
    return _row("softmax", name, title, body, logits, labels, peer=peer)


ROWS = (
    _softmax(512, 128), _softmax(4096, 1024), _softmax(128, 32_000),
    _softmax(4096, 1024, "log_softmax"),
    _cross_entropy(256, 32_000), _cross_entropy(256, 32_000, backward=True),
    _layer_norm(256, 768), _layer_norm(4096, 768), _layer_norm(256, 768, backward=True),
    _layer_norm(4096, 768, backward=True),
    _batch_norm((32, 64, 56, 56)), _batch_norm((32, 64, 56, 56), backward=True),
)  # fmt: skip


# -- reading and writing by index -----------------------------------------------------------------
TABLE, WIDTH, PICKS = 50_000, 128, 16_384
_TABLE, _PICKED = _f(TABLE, WIDTH), _f(PICKS, WIDTH)
_INDEX = Drawn((PICKS,), below=TABLE)
_MOVED = 4 * PICKS * WIDTH

INDEXED = (
    _row("index", "index-select", "index_select, 16,384 rows of 128 from 50,000",
         lambda lib, x, i: lib.index_select(x, 0, i), _TABLE, _INDEX,
         read=_MOVED + 8 * PICKS, out=_MOVED, peer=lambda _j, jnp, x, i: jnp.take(x, i, 0)),
    _row("index", "embedding", "embedding, 16,384 rows of 128 from 50,000",
         lambda lib, x, i: lib.nn.functional.embedding(i, x), _TABLE, _INDEX,
         read=_MOVED + 8 * PICKS, out=_MOVED, peer=lambda _j, jnp, x, i: jnp.take(x, i, 0)),
    _row("index", "index-add", "index_add, 16,384 rows of 128 to 50,000",
         lambda lib, x, i, y: lib.index_add(x, 0, i, y), _TABLE, _INDEX, _PICKED,
         out=4 * TABLE * WIDTH, peer=lambda _j, _n, x, i, y: x.at[i].add(y)),
    _row("index", "embedding-gradient", "embedding, forward and gradient of the table",
         lambda lib, x, i: lib.nn.functional.embedding(i, x),
         Drawn((TABLE, WIDTH), gradient=True), _INDEX, _PICKED,
         read=2 * _MOVED + 8 * PICKS, out=_MOVED + 4 * TABLE * WIDTH, backward=True),
)  # fmt: skip


# -- element by element ---------------------------------------------------------------------------
def eight(lib: Any, x: Any) -> Any:
    """Eight operations: arithmetic, comparisons and a square root."""
    y = x * 1.01
    y = y + 0.1
    y = lib.abs(y)
    y = y - 0.5
    y = y * x
    y = lib.clip(y, -3.0, 3.0)
    y = y * y
    return lib.sqrt(y + 1.0)


def _elementwise(title: str, name: str, body: Callable[..., Any], n: int,
                 peer: Callable[..., Any] | None = None, count: int = 1) -> Kernel:  # fmt: skip
    return _row("elementwise", name, title, body, *[_f(n)] * count, out=4 * n, peer=peer)


def _alone(name: str) -> Kernel:
    def body(lib: Any, x: Any) -> Any:
        return getattr(lib if hasattr(lib, name) else lib.nn.functional, name)(x)

    def peer(jax: Any, jnp: Any, x: Any) -> Any:
        if name == "gelu":
            return jax.nn.gelu(x, approximate=False)
        return getattr(jax.nn if hasattr(jax.nn, name) else jnp, name)(x)

    x = Drawn((1 << 20,), positive=name == "log")
    return _row("elementwise", name, f"{name} over 1M", body, x, out=1 << 22, peer=peer)


def _mixed(y: Any, x: Any) -> Any:
    """Four operations: arithmetic and tanh."""
    y = y * 1.01
    y = y + 0.1
    y = y.tanh()
    return y - x


def _transcendental(y: Any, _x: Any) -> Any:
    """Four operations: an exponential and a logarithm of what is kept in their range."""
    y = y * 0.1
    y = y.exp()
    y = y + 1.5
    return y.log()


def _chain(name: str, title: str, link: Callable[[Any, Any], Any], *, backward: bool) -> Kernel:
    """A hundred operations on 64x64: a link of four, 25 times."""

    def body(_lib: Any, x: Any) -> Any:
        y = x
        for _ in range(25):
            y = link(y, x)
        return y.sum() if backward else y

    x = Drawn((64, 64), gradient=backward)
    rest = (_f(),) if backward else ()
    return _row("elementwise", name, title, body, x, *rest, out=4 * 64 * 64, backward=backward)


_MASKED = (_f(2048, 2048), _f(2048, 2048))
ELEMENTWISE = (
    _elementwise("8 operations over 4M", "chain8-4M", eight, 1 << 22,
                 lambda _, jnp, x: eight(jnp, x)),
    _elementwise("8 operations over 64k", "chain8-64k", eight, 1 << 16,
                 lambda _, jnp, x: eight(jnp, x)),
    _elementwise("sum of two arrays of 4M", "add-4M", lambda _, x, y: x + y, 1 << 22,
                 lambda _j, _n, x, y: x + y, 2),
    *map(_alone, ("sigmoid", "silu", "gelu", "tanh", "exp", "log")),
    _chain("chain100", "100 ops on 64x64, forward", _mixed, backward=False),
    _chain("chain100-backward", "100 ops on 64x64, forward + backward", _mixed, backward=True),
    _chain("chain100-exp", "100 ops with exp and log, forward", _transcendental, backward=False),
    _row("elementwise", "where", "where, 2048x2048", lambda lib, x, y: lib.where(x > 0, x, y),
         *_MASKED, out=1 << 24, peer=lambda _, jnp, x, y: jnp.where(x > 0, x, y)),
    _row("elementwise", "masked-fill", "masked_fill, 2048x2048",
         lambda _, x, y: x.masked_fill(y > 0, 0.0), *_MASKED, out=1 << 24,
         peer=lambda _, jnp, x, y: jnp.where(y > 0, 0.0, x)),
    _row("elementwise", "cat", "concatenation, 2 x (2048x2048), dim 1",
         lambda lib, x, y: lib.cat([x, y], 1), *_MASKED, out=2 << 24,
         peer=lambda _, jnp, x, y: jnp.concatenate([x, y], 1)),
    _row("elementwise", "dropout", "dropout, 2048x2048",
         lambda lib, x: lib.nn.functional.dropout(x, 0.1, True), _f(2048, 2048), out=1 << 24),
)  # fmt: skip


# -- reductions -----------------------------------------------------------------------------------
CUBE = (256, 256, 256)


def _reduction(name: str, dim: int | None) -> Kernel:
    kept = 1 if dim is None else 256 * 256
    over = "all" if dim is None else f"dim {dim}"

    def body(lib: Any, x: Any) -> Any:
        if dim is None:
            return getattr(lib, name)(x)
        y = getattr(lib, name)(x, dim)
        return tuple(y) if name == "max" else y

    def peer(_jax: Any, jnp: Any, x: Any) -> Any:
        return getattr(jnp, name)(x, dim)

    def pair(_jax: Any, jnp: Any, x: Any) -> Any:
        return jnp.max(x, dim), jnp.argmax(x, dim)

    wide, short = {"max": 12, "argmax": 8}.get(name, 4), over.split()[-1]
    return _row(
        "reduction", f"{name}-{short}", f"{name} of 256x256x256 over {over}", body,
        _f(*CUBE), out=wide * kept, peer=pair if name == "max" else peer,
    )  # fmt: skip


REDUCTIONS = (
    *(_reduction("sum", dim) for dim in (0, 1, 2, None)),
    *(_reduction(name, dim) for name in ("max", "argmax", "mean", "var") for dim in (0, 2)),
)


# -- other layouts, other orders ------------------------------------------------------------------
def _permute(name: str, shape: Shape, dims: Shape) -> Kernel:
    title = f"permute {'x'.join(map(str, shape))} to {dims}"
    return _row(
        "movement", name, title, lambda _, x: x.permute(dims).contiguous(), _f(*shape),
        out=4 * prod(shape), peer=lambda _, jnp, x: jnp.transpose(x, dims) + 0.0,
    )  # fmt: skip


def _top(k: int) -> Kernel:
    return _row(
        "order", f"topk-{k}", f"topk {k} of 64x32,000",
        lambda lib, x: tuple(lib.topk(x, k)), _f(64, 32_000), out=12 * 64 * k,
        peer=lambda jax, _, x: jax.lax.top_k(x, k),
    )  # fmt: skip


def _sorted(name: str, shape: Shape) -> Kernel:
    def body(lib: Any, x: Any) -> Any:
        y = getattr(lib, name)(x)
        return tuple(y) if name == "sort" else y

    size, text = prod(shape), "x".join(f"{n:,}" for n in shape)
    out = (12 if name == "sort" else 8) * size
    return _row("order", f"{name}-{'x'.join(map(str, shape))}", f"{name} {text}", body, _f(*shape),
                out=out, peer=lambda _, jnp, x: getattr(jnp, name)(x))  # fmt: skip


ARRANGED = (
    _permute("transpose", (2048, 2048), (1, 0)),
    _permute("to-channels-last", (32, 64, 56, 56), (0, 2, 3, 1)),
    _permute("split-heads", (8, 128, 8, 64), (0, 2, 1, 3)),
    _top(10), _top(100), _sorted("sort", (64, 32_000)), _sorted("sort", (1 << 20,)),
    _sorted("argsort", (64, 32_000)),
    _row("order", "cumsum-2", "cumsum of 4096x1024 along dim 1", lambda lib, x: lib.cumsum(x, 1),
         _f(4096, 1024), out=1 << 24, peer=lambda _, jnp, x: jnp.cumsum(x, 1)),
    _row("order", "cumsum-1", "cumsum of 4096x1024 along dim 0", lambda lib, x: lib.cumsum(x, 0),
         _f(4096, 1024), out=1 << 24, peer=lambda _, jnp, x: jnp.cumsum(x, 0)),
)  # fmt: skip

KERNELS = {
    row.name: row for row in (*PRODUCTS, *ROWS, *INDEXED, *ELEMENTWISE, *REDUCTIONS, *ARRANGED)
}
"""Every row by its name."""
