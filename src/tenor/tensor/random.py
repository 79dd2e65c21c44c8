"""Random numbers: Philox counters, generators, and the distributions made of their bits.

A generator is a seed and a count of the blocks it gave out. Every call takes the next blocks, so
that a number depends on the seed and on the calls before it alone, never on threads or fusion.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.engine.alias import write
from tenor.engine.handle import Handle
from tenor.engine.pin import once
from tenor.engine.trace import emit_scalar, local, record
from tenor.errors import ArgumentError, DTypeError, ShapeError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.node import Shape, size
from tenor.tensor.conversion import concrete, from_array
from tenor.tensor.creation import extents, on_cpu
from tenor.tensor.device import CPU
from tenor.tensor.elementwise import ceil, cos, exp, floor, log, maximum_, minimum_, sqrt
from tenor.tensor.gradient import requires_grad_
from tenor.tensor.operands import broadcast_shapes, cast, constant, expand, slot
from tenor.tensor.ordering import searchsorted, topk
from tenor.tensor.running import cumsum, part
from tenor.tensor.transcendental import tan

if TYPE_CHECKING:
    from tenor.ir.dtype import DType
    from tenor.tensor.tensor import Tensor

__all__ = [
    "Generator", "bernoulli", "bernoulli_mask", "default_generator", "get_rng_state",
    "initial_seed", "manual_seed", "multinomial", "normal", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "seed", "set_rng_state",
]  # fmt: skip

FIRST_SEED = 67280421310721
"""The seed before anyone sets one: a program gives the same numbers each time it is run."""
WORD = 2.0**-32

_lock = threading.RLock()


def _after_fork() -> None:
    """Begin a child with a lock of its own: another thread's is never released."""
    global _lock  # noqa: PLW0603 - the process's one lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Generator:
    """A stream of random numbers of its own.

    Args:
        device: "cpu".

    Example:
        >>> import tenor as tn
        >>> g = tn.Generator().manual_seed(1)
        >>> h = tn.Generator().manual_seed(1)
        >>> bool((tn.rand(3, generator=g) == tn.rand(3, generator=h)).all())
        True
    """

    def __init__(self, device: Any = None) -> None:
        on_cpu(device)
        self.device = CPU
        self.key = FIRST_SEED
        self.count = 0

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of a seed; return the generator."""
        once()
        with _lock:
            self.key = _wrapped(seed)
            self.count = 0
        return self

    def seed(self) -> int:
        """Begin a stream from a seed of the operating system; return the seed."""
        made = int.from_bytes(os.urandom(8), "little") >> 1
        self.manual_seed(made)
        return made

    def initial_seed(self) -> int:
        """Return the seed of the stream."""
        return self.key

    def get_state(self) -> Tensor:
        """Return where the stream stands: 16 bytes, seed and count."""
        with _lock:
            return from_array(np.array([self.key, self.count], np.int64).view(np.uint8))

    def set_state(self, state: Tensor) -> None:
        """Go to where a stream stood.

        Raises:
            ArgumentError: the state is not one that `get_state` gave.
        """
        once()
        held = concrete(state, "set_state()")
        if held.dtype != np.uint8 or held.shape != (16,):
            raise ArgumentError(
                "set_state: expects the 16 bytes that get_state() gives.",
                came=f"{state.element_type.name} of shape {state.shape_tuple}",
                fix="pass a state saved from a generator",
            )
        key, count = np.ascontiguousarray(held).view(np.int64).tolist()
        with _lock:
            self.key, self.count = key, count

    def clone_state(self) -> Generator:
        """Return a generator that stands where this one does."""
        made = Generator()
        made.set_state(self.get_state())
        return made

    def take(self, blocks: int) -> int:
        """Return the number of the next block, and go past that many."""
        with _lock:
            first, self.count = self.count, self.count + blocks
        return first


def _wrapped(seed: int) -> int:
    """Return a seed as a signed 64-bit integer."""
    low = int(seed) & (2**64 - 1)
    return low - 2**64 if low >> 63 else low


default_generator = Generator()
"""The generator of all calls that name none."""


def manual_seed(seed: int) -> Generator:
    """Begin the default stream of a seed; return its generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Begin the default stream from a seed of the operating system; return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """Return the seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Return where the default stream stands."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go to where the default stream stood."""
    default_generator.set_state(new_state)


@dataclass(frozen=True)
class Key:
    """The seed of a generator, asked for at each run of a compiled program."""

    source: Generator

    def __call__(self) -> int:
        """Return the seed."""
        return self.source.key


@dataclass(frozen=True)
class Draw:
    """The next blocks of a generator, asked for at each run of a compiled program."""

    source: Generator
    blocks: int

    def __call__(self) -> int:
        """Return the number of the first block, and go past them."""
        return self.source.take(self.blocks)


# -- bits and units -----------------------------------------------------------------------------
def words(shape: Shape, count: int, generator: Generator | None) -> list[Tensor]:
    """Return `count` tensors of random uint32 words; a replayed program gets the next ones."""
    source = default_generator if generator is None else generator
    blocks = -(-size(shape) // 4)
    total = blocks * count
    key = emit_scalar(source.key, dt.int64, Key(source))
    first = emit_scalar(source.take(total), dt.int64, Draw(source, total))
    found = []
    for i in range(count):
        offset = record(ops.ADD, (first, constant(i * blocks, dt.int64))) if i else first
        found.append(record(ops.RANDOM_BITS, (key, offset), (shape,)))
    return found


BITS = {dt.float16: 11, dt.bfloat16: 8, dt.float32: 24}
"""How many random bits a dtype holds without rounding, so that no number becomes 1."""


def units(shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Return numbers evenly from [0, 1)."""
    if dtype is dt.float64:
        high, low = (cast(w, dtype) for w in words(shape, 2, generator))
        high = floor(high * 2.0**-5)
        low = floor(low * 2.0**-6)
        return (high * 2.0**26 + low) * 2.0**-53
    bits = BITS[dtype]
    word = words(shape, 1, generator)[0]
    top = record(ops.SHR, (word, constant(32 - bits, dt.uint32)))
    scaled = record(ops.MUL, (cast(top, dt.float32), constant(2.0**-bits, dt.float32)))
    return cast(scaled, dtype)


def _positive(word: Tensor, dtype: DType) -> Tensor:
    """Return a word as a number of (0, 1], fine near 0."""
    half = record(ops.ADD, (cast(word, dtype), constant(0.5, dtype)))
    made: Tensor = record(ops.MUL, (half, constant(WORD, dtype)))
    return made


def exponentials(shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Return exponentially distributed numbers of rate 1, all above 0."""
    wide = dtype.compute
    if wide is dt.float64:
        found, least = -log(1.0 - units(shape, wide, generator)), 2.0**-54
    else:
        found, least = -log(_positive(words(shape, 1, generator)[0], wide)), 2.0**-24
    return cast(maximum_(found, constant(least, wide)), dtype)


def normals(shape: Shape, dtype: DType, generator: Generator | None) -> Tensor:
    """Return normally distributed numbers: sqrt(-2 log u) cos(2 pi v).

    Source:
        Box and Muller 1958.
    """
    wide = dtype.compute
    if wide is dt.float64:
        first, turn = 1.0 - units(shape, wide, generator), units(shape, wide, generator)
    else:
        word, second = words(shape, 2, generator)
        first = _positive(word, wide)
        turn = record(ops.MUL, (cast(second, wide), constant(WORD, wide)))
    radius = sqrt(record(ops.MUL, (log(first), constant(-2.0, wide))))
    angle = record(ops.MUL, (turn, constant(2.0 * math.pi, wide)))
    return cast(radius * cos(angle), dtype)


def _float(name: str, dtype: Any) -> DType:
    wanted = dt.default_float if dtype is None else dt.of(dtype)
    if wanted.kind != "float":
        raise DTypeError(
            f"{name}: makes floating tensors.", came=wanted.name, fix="use randint() for integers"
        )
    return wanted


def _finished(x: Tensor, requires_grad: bool) -> Tensor:
    return requires_grad_(x) if requires_grad else x


# -- tensors of random numbers --------------------------------------------------------------------
def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return numbers evenly from [0, 1).

    Args:
        size: The shape, as integers or as one sequence.
        generator: The stream; the default one if left out.
        dtype: A floating dtype; float32 by default.
        device: "cpu".
        requires_grad: Whether a gradient is computed for it.

    Raises:
        DTypeError: the dtype is not floating.
    """
    on_cpu(device)
    made = units(extents("rand", size), _float("rand", dtype), generator)
    return _finished(made, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return normally distributed numbers of mean 0 and deviation 1; arguments as for `rand`."""
    on_cpu(device)
    made = normals(extents("randn", size), _float("randn", dtype), generator)
    return _finished(made, requires_grad)


def _integers(low: int, high: int, shape: Shape, generator: Generator | None) -> Tensor:
    """Return int64 from low to high - 1, each as likely but for 2^-32 of the range."""
    span = high - low
    if span <= 0:
        raise ArgumentError(
            "randint: high must be above low.", came=f"low={low}, high={high}", fix="swap them"
        )
    if span < 2**31:
        word = cast(words(shape, 1, generator)[0], dt.int64)
        scaled = record(ops.MUL, (word, slot(span, dt.int64)))
        steps = record(ops.SHR, (scaled, constant(32, dt.int64)))
    else:
        first, second = (cast(w, dt.uint64) for w in words(shape, 2, generator))
        both = record(ops.OR, (record(ops.SHL, (first, constant(32, dt.uint64))), second))
        wanted = slot(span, dt.uint64) if span < 2**64 else None
        steps = cast(record(ops.MOD, (both, wanted)) if wanted is not None else both, dt.int64)
    made: Tensor = record(ops.ADD, (steps, slot(low, dt.int64)))
    return made


def randint(
    low: int = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return integers evenly from [low, high); `randint(high, size)` counts from 0.

    Args:
        low: The smallest.
        high: One more than the largest.
        size: The shape.
        generator: The stream; the default one if left out.
        dtype: int64 by default.
        device: "cpu".
        requires_grad: Whether a gradient is computed for it, if the dtype is floating.

    Raises:
        ArgumentError: the range is empty.
    """
    on_cpu(device)
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if size is None:
        raise ArgumentError(
            "randint: needs a shape.", came="size=None", fix="call tn.randint(low, high, (n,))"
        )
    made = _integers(int(low), int(high), extents("randint", (size,)), generator)
    return _finished(cast(made, dt.int64 if dtype is None else dt.of(dtype)), requires_grad)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return the integers from 0 to n - 1 in random order; int64 by default."""
    on_cpu(device)
    first, second = (cast(w, dt.int64) for w in words(extents("randperm", (n,)), 2, generator))
    key = record(ops.OR, (record(ops.SHL, (first, constant(31, dt.int64))), second))
    order = record(ops.ARGSORT, (key,), (0, False))
    return _finished(cast(order, dt.int64 if dtype is None else dt.of(dtype)), requires_grad)


def rand_like(
    x: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return numbers evenly from [0, 1), of x's shape and dtype."""
    return rand(
        x.shape_tuple, generator=generator, dtype=dtype or x.element_type, device=device,
        requires_grad=requires_grad,
    )  # fmt: skip


def randn_like(
    x: Tensor, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return normally distributed numbers of x's shape and dtype."""
    return randn(
        x.shape_tuple, generator=generator, dtype=dtype or x.element_type, device=device,
        requires_grad=requires_grad,
    )  # fmt: skip


def randint_like(
    x: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None,
    dtype: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return integers evenly from [low, high), of x's shape and dtype."""
    if high is None:
        low, high = 0, low
    return randint(
        low, high, x.shape_tuple, generator=generator, dtype=dtype or x.element_type,
        device=device, requires_grad=requires_grad,
    )  # fmt: skip


def normal(
    mean: Tensor | float = 0.0, std: Tensor | float = 1.0, size: Any = None, *,
    generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Return normally distributed numbers of given means and deviations.

    Args:
        mean: A number, or a tensor with the mean of each element.
        std: A number, or a tensor with the deviation of each element.
        size: The shape, where both are numbers.
        generator: The stream; the default one if left out.
        dtype: A floating dtype; that of the tensors, or float32.
        device: "cpu".
        requires_grad: Whether a gradient is computed for it.

    Raises:
        ArgumentError: neither a tensor nor a shape is given.
    """
    on_cpu(device)
    given = [v for v in (mean, std) if isinstance(v, Handle)]
    if size is not None:
        shape = extents("normal", (size,))
    elif given:
        shape = broadcast_shapes("normal", *[v.shape_tuple for v in given])
    else:
        raise ArgumentError(
            "normal: needs a shape.",
            came="two numbers and no size",
            fix="call tn.normal(0.0, 1.0, (n,)), or tn.randn(n)",
        )
    wanted = given[0].element_type if given and dtype is None else _float("normal", dtype)
    if not isinstance(std, Handle) and std < 0:
        raise ArgumentError("normal: std is not negative.", came=str(std), fix="use its size")
    made = cast(normals(shape, wanted, generator) * std + mean, wanted)
    return _finished(made, requires_grad)


def bernoulli_mask(shape: Any, p: Tensor | float, generator: Generator | None = None) -> Tensor:
    """Return bools of a shape, each True with probability p; p of 1 gives True for certain."""
    wide = dt.float64 if isinstance(p, Handle) and p.element_type is dt.float64 else dt.float32
    chance = cast(p, wide) if isinstance(p, Handle) else slot(p, wide)
    shape = tuple(shape)
    return units(shape, wide, generator) < expand(chance, shape)


def bernoulli(x: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Return 1 with the probability each element gives (or p), else 0; of x's dtype.

    Raises:
        DTypeError: the probabilities are not floating.
    """
    if p is None and x.element_type.kind != "float":
        raise DTypeError(
            "bernoulli: probabilities are floating.",
            came=x.element_type.name,
            fix="convert with .float(), or give p=",
        )
    chance = x.detach() if p is None else p
    return cast(bernoulli_mask(x.shape_tuple, chance, generator), x.element_type)


def multinomial(
    x: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Return positions drawn with probabilities in proportion to the weights of each row.

    Args:
        x: Weights, not negative, shape [categories] or [rows, categories].
        num_samples: How many to draw from each row.
        replacement: Whether a position may be drawn more than once.
        generator: The stream; the default one if left out.

    Returns:
        int64, shape [num_samples] or [rows, num_samples].

    Raises:
        ShapeError: the weights are neither a vector nor a matrix.
        ArgumentError: a row has negative or infinite weights or none above 0, or there are not
            enough positions to draw.
    """
    shape = x.shape_tuple
    if len(shape) not in (1, 2):
        raise ShapeError(
            "multinomial: expects a vector or a matrix of weights.",
            came=f"shape {shape}",
            fix="reshape to [rows, categories]",
        )
    if x.element_type.kind != "float":
        raise DTypeError(
            "multinomial: weights are floating.", came=x.element_type.name, fix="use .float()"
        )
    if num_samples <= 0 or (not replacement and num_samples > shape[-1]):
        raise ArgumentError(
            f"multinomial: without replacement 1 to {shape[-1]} positions can be drawn.",
            came=f"num_samples={num_samples}",
            fix="draw fewer, or set replacement=True",
        )
    weights = x.detach()
    _check_weights(weights, 1 if replacement else num_samples)
    weights = cast(weights, weights.element_type.compute)
    if not replacement:
        # The k largest of w / e, e exponential, are k draws without replacement.
        race = exponentials(shape, weights.element_type, generator)
        return _drawn(topk(weights / race, num_samples, -1).indices)
    totals = cumsum(weights, -1)
    drawn = units((*shape[:-1], num_samples), weights.element_type, generator)
    most = part(totals, len(shape) - 1, shape[-1] - 1, 1)
    # A draw can be rounded up to the total: it is of the last position that has a weight.
    last = searchsorted(totals, most)
    return _drawn(minimum_(searchsorted(totals, drawn * most, right=True), last))


def _drawn(positions: Tensor) -> Tensor:
    """Compute the positions at once: the weights were read, and what follows is a new trace."""
    if local.pinning is None:
        local.flush()
    return positions


def _check_weights(x: Tensor, needed: int) -> None:
    """Refuse weights nothing can be drawn by; left out where values cannot be read yet."""
    if local.pinning is not None:
        return
    held = concrete(x, "multinomial()")
    good = np.isfinite(held) & (held >= 0)
    enough = (held > 0).sum(-1) >= needed
    if not (good.all() and enough.all()):
        raise ArgumentError(
            f"multinomial: weights must be finite and not negative, {needed} of each row above 0.",
            came="a row with too few" if good.all() else "a weight that is negative or not finite",
            fix="use softmax() to make weights of scores",
        )


# -- in place -----------------------------------------------------------------------------------
def _filled(x: Tensor, value: Tensor) -> Tensor:
    write(x, cast(value, x.element_type))
    return x


def _floating(name: str, x: Tensor) -> DType:
    if x.element_type.kind != "float":
        raise DTypeError(
            f"{name}: is defined for floating tensors.",
            came=x.element_type.name,
            fix="use random_() for integers",
        )
    return x.element_type


def _ends(name: str, low: Any, high: Any, named: dict[str, Any]) -> tuple[Any, Any]:
    """Return the ends of a range; PyTorch calls the lower one `from`, a word of Python's."""
    low = named.pop("from", low)
    if named:
        raise ArgumentError(
            f"{name}: takes from, to and generator.",
            came=", ".join(named),
            fix="leave the others out",
        )
    return low, high


def uniform_(
    x: Tensor, low: float = 0.0, to: float = 1.0, *, generator: Generator | None = None,
    **named: float,
) -> Tensor:  # fmt: skip
    """Write numbers evenly from [low, to); return the tensor.

    Raises:
        ArgumentError: `to` is below the lower end.
        DTypeError: the tensor is not floating.
    """
    low, to = _ends("uniform_", low, to, named)
    if to < low:
        raise ArgumentError(
            "uniform_: the ends must be in order.", came=f"{low}, {to}", fix="swap them"
        )
    drawn = units(x.shape_tuple, _floating("uniform_", x), generator)
    return _filled(x, drawn * (to - low) + low)


def normal_(
    x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Write normally distributed numbers; return the tensor.

    Raises:
        ArgumentError: std is negative.
    """
    if std < 0:
        raise ArgumentError("normal_: std is not negative.", came=str(std), fix="use its size")
    drawn = normals(x.shape_tuple, _floating("normal_", x), generator)
    return _filled(x, drawn * std + mean)


LARGEST = {dt.float16: 2**11, dt.bfloat16: 2**8, dt.float32: 2**24, dt.float64: 2**53, dt.bool_: 1}
"""The last integer up to which a dtype holds every integer."""


def random_(
    x: Tensor, low: int | None = None, to: int | None = None, *,
    generator: Generator | None = None, **named: Any,
) -> Tensor:  # fmt: skip
    """Write integers evenly from [low, to); return the tensor.

    With one number it is the upper end; with none, all integers from 0 that the dtype holds.

    Raises:
        ArgumentError: the range is empty.
    """
    given = "from" in named
    low, to = _ends("random_", low, to, named)
    if to is None and not given:
        low, to = 0, low
    kind = x.element_type
    if to is None:
        most = LARGEST.get(kind)
        to = 1 + (most if most is not None else int(np.iinfo(kind.numpy).max))
    return _filled(x, _integers(int(low or 0), int(to), x.shape_tuple, generator))


def bernoulli_(x: Tensor, p: Tensor | float = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Write 1 with probability p, else 0; return the tensor."""
    return _filled(x, bernoulli_mask(x.shape_tuple, p, generator))


def exponential_(x: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Write exponentially distributed numbers of a rate; return the tensor.

    Raises:
        ArgumentError: the rate is not positive.
    """
    if lambd <= 0:
        raise ArgumentError(
            "exponential_: the rate must be positive.", came=str(lambd), fix="give lambd above 0"
        )
    drawn = exponentials(x.shape_tuple, _floating("exponential_", x), generator)
    return _filled(x, drawn / lambd)


def log_normal_(
    x: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Write exponentials of normally distributed numbers; return the tensor.

    Raises:
        ArgumentError: std is not positive.
    """
    if std <= 0:
        raise ArgumentError("log_normal_: std must be positive.", came=str(std), fix="use its size")
    wide = _floating("log_normal_", x).compute
    return _filled(x, exp(normals(x.shape_tuple, wide, generator) * std + mean))


def geometric_(x: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Write how many trials of probability p the first success takes, from 1; return the tensor.

    Raises:
        ArgumentError: p does not lie in (0, 1).
    """
    if not 0 < p < 1:
        raise ArgumentError("geometric_: p must lie in (0, 1).", came=str(p), fix="check it")
    wide = x.element_type.compute if x.element_type.kind == "float" else dt.float64
    drawn = exponentials(x.shape_tuple, wide, generator)
    return _filled(x, ceil(drawn / -math.log1p(-p)))


def cauchy_(
    x: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Write Cauchy distributed numbers; return the tensor.

    Raises:
        ArgumentError: sigma is not positive.
    """
    if sigma <= 0:
        raise ArgumentError("cauchy_: sigma must be positive.", came=str(sigma), fix="use its size")
    wide = _floating("cauchy_", x).compute
    angle = (units(x.shape_tuple, wide, generator) - 0.5) * math.pi
    return _filled(x, tan(angle) * sigma + median)
