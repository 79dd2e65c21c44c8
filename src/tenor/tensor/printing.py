"""Tensors as text, laid out as PyTorch lays them out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tenor.errors import ArgumentError
from tenor.ir import dtype as dt
from tenor.tensor.conversion import concrete, item
from tenor.tensor.gradient import grad_fn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tenor.tensor.tensor import Tensor

__all__ = ["formatted", "get_printoptions", "printoptions", "set_printoptions", "text"]

PREFIX = "tensor("


@dataclass
class Options:
    """How tensors are printed.

    Attributes:
        precision: Digits after the point.
        threshold: Tensors of more elements are shortened.
        edgeitems: How many elements at each end of a dim a shortened tensor shows.
        linewidth: Characters in a line.
        sci_mode: Whether floats are printed with an exponent; None lets their range decide.
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {
    "default": Options(),
    "short": Options(precision=2, edgeitems=2),
    "full": Options(threshold=float("inf")),
}
options = Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed; what is left out stays, but sci_mode, which goes back to None.

    Args:
        precision: Digits after the point.
        threshold: Tensors of more elements are shortened.
        edgeitems: How many elements at each end of a dim a shortened tensor shows.
        linewidth: Characters in a line.
        profile: "default", "short" or "full", to begin from.
        sci_mode: Whether floats are printed with an exponent; None lets their range decide.

    Raises:
        ArgumentError: there is no such profile.
    """
    if profile is not None and profile not in PROFILES:
        raise ArgumentError(
            "set_printoptions: there is no such profile.",
            came=repr(profile),
            fix=f"use one of {', '.join(PROFILES)}",
        )
    given: dict[str, Any] = {
        "precision": precision, "threshold": threshold, "edgeitems": edgeitems,
        "linewidth": linewidth,
    }  # fmt: skip
    start = options if profile is None else PROFILES[profile]
    wanted = replace(start, **{k: v for k, v in given.items() if v is not None})
    _adopt(replace(wanted, sci_mode=sci_mode))


def _adopt(wanted: Options) -> None:
    for name, value in asdict(wanted).items():
        setattr(options, name, value)


def get_printoptions() -> dict[str, Any]:
    """Return how tensors are printed, as arguments of `set_printoptions`."""
    return asdict(options)


@contextmanager
def printoptions(**changes: Any) -> Iterator[None]:
    """Print tensors differently inside a `with` block; arguments as for `set_printoptions`."""
    before = replace(options)
    set_printoptions(**changes)
    try:
        yield
    finally:
        _adopt(before)


# -- numbers ------------------------------------------------------------------------------------
def _writer(shown: NDArray[Any]) -> tuple[Callable[[Any], str], int]:
    """Return how to write one number so that all that are shown line up, and how wide it is."""
    if shown.dtype.kind != "f":
        width = max((len(f"{v}") for v in shown.ravel().tolist()), default=1)
        return (lambda v: f"{v}".rjust(width)), width
    wide = shown.ravel().astype(np.float64)
    plain = wide[np.isfinite(wide) & (wide != 0)]
    scientific, whole = _notation(plain)
    if scientific:
        form = f".{options.precision}e"
    elif whole:
        form = ".0f"
    else:
        form = f".{options.precision}f"
    # Whole floats end in a point, and the column has room for it beside inf and nan.
    point = whole and not scientific

    def write(value: float) -> str:
        ending = "." if point and np.isfinite(value) else ""
        return format(value, form) + ending

    width = max((len(write(v)) for v in plain.tolist()), default=1)
    return (lambda v: write(v).rjust(width)), width


def _notation(plain: NDArray[Any]) -> tuple[bool, bool]:
    """Return whether finite numbers other than 0 need an exponent, and whether all are whole."""
    if not plain.size:
        return False, True
    size = np.abs(plain)
    low, high = float(size.min()), float(size.max())
    ranged = high / low > 1000.0 or high > 1e8 or low < 1e-4
    whole = bool((np.ceil(plain) == plain).all())
    return ranged if options.sci_mode is None else options.sci_mode, whole


# -- layout -------------------------------------------------------------------------------------
def _edges(array: NDArray[Any]) -> NDArray[Any]:
    """Return the elements a shortened tensor shows."""
    edge = options.edgeitems
    for dim, extent in enumerate(array.shape):
        if extent > 2 * edge:
            kept = [*range(edge), *range(extent - edge, extent)]
            array = np.take(array, kept, axis=dim)
    return array


def _row(
    array: NDArray[Any], indent: int, short: bool, write: Callable[[Any], str], width: int
) -> str:
    edge = options.edgeitems
    if short and not edge:
        entries = ["..."]
    elif short and array.size > 2 * edge:
        ends = [*array[:edge].tolist()], [*array[-edge:].tolist()]
        entries = [*map(write, ends[0]), " ...", *map(write, ends[1])]
    else:
        entries = [write(v) for v in array.tolist()]
    fit = max(1, (options.linewidth - indent) // (width + 2))
    lines = [", ".join(entries[i : i + fit]) for i in range(0, len(entries), fit)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(
    array: NDArray[Any], indent: int, short: bool, write: Callable[[Any], str], width: int
) -> str:
    """Return brackets within brackets; dims above the last are set off by empty lines."""
    if array.ndim == 0:
        return write(array.item())
    if array.ndim == 1:
        return _row(array, indent, short, write, width)
    edge, extent = options.edgeitems, array.shape[0]
    cut = short and extent > 2 * edge
    shown = [*range(edge), *range(extent - edge, extent)] if cut else range(extent)
    parts = [_nested(array[i], indent + 1, short, write, width) for i in shown]
    if cut:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _with_notes(body: str, notes: list[str]) -> str:
    """Return the whole text, each note on the last line where it fits, else on its own."""
    made = PREFIX + body
    used = len(made) - made.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > options.linewidth:
            made += ",\n" + " " * len(PREFIX) + note
            used = len(PREFIX) + len(note)
        else:
            made += ", " + note
            used += len(note) + 2
    return made + ")"


def _gradient_note(x: Tensor) -> str | None:
    made_by = grad_fn(x)
    if made_by is not None:
        return f"grad_fn={made_by!r}"
    return "requires_grad=True" if x.requires_grad else None


def text(x: Tensor) -> str:
    """Return the tensor as PyTorch prints it: values, then dtype and gradient where they matter."""
    gradient = _gradient_note(x)
    array = concrete(x, "print()")
    kind = x.element_type
    notes = []
    sized = array.ndim != 1 if not array.size else not options.edgeitems
    if sized:
        notes.append(f"size={tuple(array.shape)}")
    if not array.size:
        body = "[]"
        usual = kind is dt.default_float
    else:
        short = array.size > options.threshold
        write, width = _writer(_edges(array) if short else array)
        body = _nested(array, len(PREFIX), short, write, width)
        usual = kind in (dt.default_float, dt.int64, dt.bool_)
    if not usual:
        notes.append(f"dtype={kind!r}")
    if gradient is not None:
        notes.append(gradient)
    return _with_notes(body, notes)


def formatted(x: Tensor, spec: str) -> str:
    """Answer `f"{x:.2f}"`: the number of a tensor of no dims; others take no format.

    Raises:
        TypeError: a tensor with dims is given a format.
    """
    return format(item(x), spec) if not x.shape_tuple else object.__format__(x, spec)
