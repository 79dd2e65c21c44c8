"""A table of functions, tried in every mode against PyTorch: one row a function.

A row's samples are calls `f(m, *tensors)` that mean the same with `m` as Tenor or as PyTorch. All
samples of a row and dtype are recorded into one trace; the compiled mode must agree with it bit
for bit, the others within the row's tolerance of what PyTorch gives.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

import tenor as tn
from tenor.config import config
from tenor.engine import trace
from tests.ops.oracle import given, name

if TYPE_CHECKING:
    from collections.abc import Callable

AXES = "function x dtype x sample x mode"
MODES = ("recorded", "immediate", "compiled", "reference")

FLOATS = ("float64", "float32", "float16", "bfloat16")
HALVES = ("float16", "bfloat16")
INTS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
ALL = (*FLOATS, *INTS, "bool")
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
EVERYWHERE = ("float32", "int64", "bool")
FLOATING, WHOLE = (torch.float32, torch.float64), (torch.int64, torch.uint8)
WIDE = {
    torch.float16: FLOATING,
    torch.bfloat16: FLOATING,
    torch.uint16: WHOLE,
    torch.uint32: WHOLE,
    torch.uint64: WHOLE,
}
"""What PyTorch is asked in instead where it has no kernel for a dtype, and for comparison."""


class Sample(NamedTuple):
    """One call: what is special about it, the tensors it is given, the call itself."""

    label: str
    leaves: tuple[torch.Tensor, ...]
    call: Callable[..., Any]


class Row(NamedTuple):
    """How a function is tried.

    Attributes:
        samples: From a Draw to samples.
        dtypes: The dtypes it is tried in.
        ulps: How far a float result may be from PyTorch's, in units of the dtype's eps times the
            larger of 1 and the value; a dict by dtype name, or one number.
        refuses: Dtypes PyTorch takes and Tenor refuses, on purpose.
        takes: Dtypes PyTorch refuses and Tenor takes, on purpose.
    """

    samples: Callable[[Draw], Any]
    dtypes: tuple[str, ...] = ALL
    ulps: Any = 4.0
    refuses: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


# -- values -------------------------------------------------------------------------------------
class Draw:
    """Draws tensors of one dtype, always the same for one seed."""

    def __init__(self, dtype: str, seed: str) -> None:
        self.name = dtype
        self.dtype = getattr(torch, dtype)
        self.kind = getattr(tn, dtype).kind
        self.random = np.random.default_rng(zlib.crc32(f"{seed} {dtype}".encode()))

    def __call__(self, shape: tuple[int, ...] = (3, 5), domain: str = "any") -> torch.Tensor:
        """Return a tensor of values: "any", "positive", "unit" in (-1, 1), "nonzero", "few"."""
        if self.kind == "bool":
            return torch.tensor(self.random.integers(0, 2, shape).astype(bool))
        if self.kind != "float":
            low = 0 if self.kind == "uint" else -9
            low, high = {"positive": (1, 9), "few": (0, 3), "unit": (0, 2)}.get(domain, (low, 10))
            made = self.random.integers(low, high, shape)
            made = np.where(made == 0, 3, made) if domain == "nonzero" else made
            return torch.tensor(made).to(self.dtype)
        made = self.random.normal(size=shape) * self.random.choice([0.25, 1.0, 2.0], shape)
        if domain == "positive":
            made = np.abs(made) + 0.05
        if domain == "unit":
            made = np.tanh(made) * 0.97
        if domain == "nonzero":
            made = made + np.sign(made) * 0.1
        if domain == "few":
            made = self.random.integers(0, 3, shape).astype(float)
        return torch.tensor(made).to(self.dtype)

    def some(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return every label for the dtypes in EVERYWHERE, every other one for the rest.

        Which elements are read and written is the same code for every dtype; what is done to them
        is not.
        """
        if self.name in EVERYWHERE:
            return labels
        return labels[self.random.integers(2) :: 2] if len(labels) > 1 else labels

    def specials(self) -> torch.Tensor:
        """Return infinities, NaN, zeros of both signs; the extremes of integers."""
        if self.kind == "float":
            return torch.tensor(
                [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.5, 100.0]
            ).to(self.dtype)
        if self.kind == "bool":
            return torch.tensor([True, False])
        info = torch.iinfo(self.dtype)
        top = min(info.max, 2**62)
        return torch.tensor([info.min, top, 0, 1, top - 1, 7]).to(self.dtype)


def backwards(x):
    """Return x with its last dim reversed: a view in Tenor."""
    return x.flip(-1) if isinstance(x, torch.Tensor) else x[..., ::-1]


LOOKS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "a vector": ((7,), lambda x: x),
    "no dims": ((), lambda x: x),
    "empty": ((0, 3), lambda x: x),
    "odd": ((3, 5), lambda x: x),
    "long": ((133,), lambda x: x),
    "transposed": ((4, 6), lambda x: x.mT),
    "every other": ((3, 9), lambda x: x[..., 1::2]),
    "backwards": ((2, 3, 5), backwards),
    "expanded": ((3, 1), lambda x: x.expand(3, 4)),
    "cut and turned": ((5, 8), lambda x: x[1:4].mT[::3]),
}
"""Shapes and views a function of one tensor is tried on."""


def one(call, domain="any", specials=True, looks=tuple(LOOKS)):
    """Return samples for `call(m, x)`."""

    def samples(draw):
        for look in draw.some(looks):
            shape, view = LOOKS[look]
            yield Sample(look, (draw(shape, domain),), lambda m, x, view=view: call(m, view(x)))
        if specials:
            yield Sample("specials", (draw.specials(),), call)

    return samples


PAIRS: dict[str, tuple[Any, Any, Callable[[Any, Any], Any]]] = {
    "same shape": ((3, 5), (3, 5), lambda a, b: (a, b)),
    "column and row": ((3, 1), (1, 5), lambda a, b: (a, b)),
    "vector meets matrix": ((5,), (3, 5), lambda a, b: (a, b)),
    "a new dim in front": ((2, 1, 3), (4, 3), lambda a, b: (a, b)),
    "no dims and a matrix": ((), (3, 5), lambda a, b: (a, b)),
    "both without dims": ((), (), lambda a, b: (a, b)),
    "empty and a row": ((0, 3), (3,), lambda a, b: (a, b)),
    "empty and extent 1": ((0,), (1,), lambda a, b: (a, b)),
    "transposed": ((5, 3), (3, 5), lambda a, b: (a.mT, b)),
    "every other and backwards": ((3, 9), (3, 4), lambda a, b: (a[:, 1::2], backwards(b))),
    "expanded": ((3, 1), (3, 4), lambda a, b: (a.expand(3, 4), b)),
    "long": ((131,), (131,), lambda a, b: (a, b)),
}
"""Shapes and views a function of two tensors is tried on."""


def two(call, domains=("any", "any"), numbers=(2, 2.5, True), pairs=tuple(PAIRS)):
    """Return samples for `call(m, a, b)`, b also a Python number of each kind."""

    def samples(draw):
        for pair in draw.some(pairs):
            first, second, view = PAIRS[pair]
            leaves = (draw(first, domains[0]), draw(second, domains[1]))
            yield Sample(pair, leaves, lambda m, a, b, view=view: call(m, *view(a, b)))
        for number in numbers:
            leaves = (draw((3, 5), domains[0]),)
            yield Sample(f"with {number!r}", leaves, lambda m, a, n=number: call(m, a, n))
            leaves = (draw((), domains[0]),)
            yield Sample(f"no dims, {number!r}", leaves, lambda m, a, n=number: call(m, a, n))

    return samples


# -- running ------------------------------------------------------------------------------------
REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)


def outcome(sample):
    """Return what PyTorch makes of a sample, or the exception it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return sample.call(torch, *sample.leaves)
        except REFUSALS as error:
            late = {x.dtype for x in sample.leaves} & set(WIDE)
            missing = "not implemented for" in str(error) or "Promotion for uint" in str(error)
            if not late or not missing:
                return error
            (narrow,) = late
        try:
            return _widely(sample, narrow)
        except REFUSALS as error:
            return error


def _widely(sample, narrow):
    """Return what PyTorch makes of it in a wider dtype, brought back to the narrow one.

    A result that changes dtype with the operands is the operands' dtype; the others are what they
    are.
    """
    first, second = (
        listed(sample.call(torch, *[x.to(wide) if x.dtype is narrow else x for x in sample.leaves]))
        for wide in WIDE[narrow]
    )
    back = [
        a.to(narrow) if (a.dtype, b.dtype) == WIDE[narrow] else a
        for a, b in zip(first, second, strict=True)
    ]
    return tuple(back)


def listed(found):
    """Return the tensors of a result."""
    return list(found) if isinstance(found, (tuple, list)) else [found]


def bits(x):
    """Return a tensor's bytes."""
    x = x.detach()
    return (x.float() if x.dtype is tn.bfloat16 else x).numpy().tobytes()


@contextlib.contextmanager
def reference():
    """Run what is recorded by the NumPy interpreter."""
    config.backend = "reference"
    trace.reset_trie()
    try:
        yield
    finally:
        config.backend = "llvm"
        trace.reset_trie()


def run(samples, mode):
    """Return each sample's tensors, or the error it raised."""

    def everything(*leaves):
        found, rest = [], iter(leaves)
        for sample in samples:
            mine = list(itertools.islice(rest, len(sample.leaves)))
            try:
                found.append(listed(sample.call(tn, *mine)))
            except tn.TenorError as error:
                found.append(error)
        return found

    leaves = [given(x) for sample in samples for x in sample.leaves]
    if mode == "immediate":
        with tn.immediate():
            return everything(*leaves)
    if mode == "compiled":
        kept = {}

        def traced(*leaves):
            found = everything(*leaves)
            kept["errors"] = [r if isinstance(r, Exception) else None for r in found]
            return [r for r in found if not isinstance(r, Exception)]

        compiled = tn.compile(traced)
        compiled(*leaves)
        replayed = iter(compiled(*leaves))
        return [error or next(replayed) for error in kept["errors"]]
    return everything(*leaves)


def complaint(got, want, ulps):
    """Return what is wrong with a result, or None."""
    if isinstance(want, Exception):
        return None if isinstance(got, Exception) else f"PyTorch refuses: {want}"
    if isinstance(got, Exception):
        return f"refused: {got}"
    wanted = listed(want)
    if len(got) != len(wanted):
        return f"{len(got)} results, not {len(wanted)}"
    for g, w in zip(got, wanted, strict=True):
        if not isinstance(w, torch.Tensor):
            if g != w:
                return f"{g!r}, not {w!r}"
            continue
        if name(g.dtype) != name(w.dtype):
            return f"dtype {g.dtype}, not {w.dtype}"
        if tuple(g.shape) != tuple(w.shape):
            return f"shape {tuple(g.shape)}, not {tuple(w.shape)}"
        wrong = _values(g, w, ulps)
        if wrong:
            return wrong
    return None


def _values(got, want, ulps):
    floats = want.dtype.is_floating_point
    wide = (tn.float64, torch.float64) if floats else (tn.int64, torch.int64)
    a, b = got.detach().to(wide[0]).numpy(), want.detach().to(wide[1]).numpy()
    if not floats:
        return None if np.array_equal(a, b) else f"values\n{a}\nnot\n{b}"
    kind = name(want.dtype)
    allowed = ulps.get(kind, 4.0) if isinstance(ulps, dict) else ulps
    tolerance = allowed * EPS[kind]
    with np.errstate(all="ignore"):
        close = np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return None
    at = tuple(np.argwhere(~close)[0])
    return f"{(~close).sum()} of {close.size} values; {a[at]} not {b[at]} at {at}"


def problems(label, row, dtype, modes=MODES, count=None):
    """Return what is wrong with a row's function in one dtype, in every mode."""
    samples = list(row.samples(Draw(dtype, label)))
    with np.errstate(all="ignore"):
        wants = [outcome(sample) for sample in samples]
    found, recorded = [], None
    for mode in modes:
        with reference() if mode == "reference" else contextlib.nullcontext():
            gots = run(samples, mode)
            recorded = gots if mode == "recorded" else recorded
            for i, (sample, got, want) in enumerate(zip(samples, gots, wants, strict=True)):
                if isinstance(want, Exception) and dtype in row.takes:
                    continue
                if isinstance(got, Exception) and dtype in row.refuses:
                    continue
                wrong = complaint(got, want, row.ulps)
                if not wrong and mode == "compiled" and recorded and not isinstance(got, Exception):
                    same = [bits(g) == bits(r) for g, r in zip(got, recorded[i], strict=True)]
                    wrong = None if all(same) else "other bits than recorded"
                if wrong:
                    found.append(f"{sample.label}, {mode}: {wrong}")
                if count is not None:
                    count("functions", AXES)
    return found
