"""Python's questions to a tensor: its length, its truth, its items, copies of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.engine.gradients import grad_of
from tenor.engine.handle import Handle
from tenor.errors import ArgumentError, DTypeError, FormatError, GradientError, ShapeError
from tenor.tensor import elementwise, reduction
from tenor.tensor.conversion import adopt, concrete, item, materialize
from tenor.tensor.joining import unbind
from tenor.tensor.operands import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenor.tensor.operands import Number
    from tenor.tensor.tensor import Tensor

__all__ = [
    "allclose", "equal", "is_complex", "is_floating_point", "is_nonzero", "is_same_size",
    "is_signed", "is_tensor", "numel",
]  # fmt: skip


def length(x: Tensor) -> int:
    """Return the extent of the first dim.

    Raises:
        ShapeError: there is none.
    """
    if not x.shape_tuple:
        raise ShapeError(
            "len: a tensor of no dims has no length.", came="shape ()", fix="use numel() or item()"
        )
    return x.shape_tuple[0]


def iterate(x: Tensor) -> Iterator[Tensor]:
    """Yield a view for each index of the first dim."""
    length(x)
    return iter(unbind(x))


def contains(x: Tensor, value: Tensor | Number) -> bool:
    """Return whether any element equals a value.

    Raises:
        DTypeError: the value is neither a tensor nor a number.
    """
    if not isinstance(value, (Handle, *NUMBERS)):
        raise DTypeError(
            "in: a tensor holds numbers.", came=f"{value!r}", fix="look for a number or a tensor"
        )
    return bool(reduction.any(x == value))


def truth(x: Tensor) -> bool:
    """Return whether the one element differs from 0.

    Raises:
        ArgumentError: there is not just one.
    """
    count = x.numel()
    if count != 1:
        what = "no values" if count == 0 else "more than one value"
        raise ArgumentError(
            f"bool: Boolean value of Tensor with {what} is ambiguous.",
            came=f"shape {x.shape_tuple}",
            fix="use x.any(), x.all() or x.numel()",
        )
    return bool(concrete(x, "bool()").item())


def whole(x: Tensor) -> int:
    """Return the one element as an int."""
    return int(item(x))


def real(x: Tensor) -> float:
    """Return the one element as a float."""
    return float(item(x))


def complex_number(x: Tensor) -> complex:
    """Return the one element as a complex number."""
    return complex(item(x))


def index(x: Tensor) -> int:
    """Return the one element, an integer, to index with.

    Raises:
        DTypeError: it is no integer.
        ArgumentError: there is not just one.
    """
    if x.element_type.kind == "float":
        raise DTypeError(
            "index: only an integer tensor can be used as an index.",
            came=x.element_type.name,
            fix="use .long()",
        )
    return int(item(x))


def allclose(
    x: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Return whether all elements are close (see `isclose`)."""
    return bool(reduction.all(elementwise.isclose(x, other, rtol, atol, equal_nan)))


def equal(x: Tensor, other: Tensor) -> bool:
    """Return whether shapes and all elements are equal."""
    if x.shape_tuple != other.shape_tuple:
        return False
    return bool(reduction.all(x == other))


def copy(x: Tensor) -> Tensor:
    """Return another leaf on the same memory, with the same need of a gradient."""
    return x.detach().requires_grad_(x.requires_grad)


def deepcopy(x: Tensor, memo: dict[int, Any]) -> Tensor:
    """Return a leaf of its own with the same value, gradient and need of one.

    Raises:
        GradientError: x was made by recorded operations.
    """
    found: Tensor | None = memo.get(id(x))
    if found is not None:
        return found
    if not x.is_leaf:
        raise GradientError(
            "deepcopy: only leaves can be copied with their gradients.",
            came=f"a computed tensor of shape {x.shape_tuple}",
            fix="use x.detach().clone()",
        )
    kept = materialize(x.detach().clone())
    kind = type(x)
    made: Tensor = Handle.__new__(kind)
    like = adopt(kept.buffer.snapshot(), x.shape_tuple, x.element_type, x.needs_grad)
    made.within, made.buffer, made.meta = None, like.buffer, like.meta
    made.__dict__.update({k: v for k, v in x.__dict__.items() if k in PLAIN})
    memo[id(x)] = made
    grad = grad_of(x)
    if grad is not None:
        made._grad = grad.detach().clone()
    return made


PLAIN = frozenset({"name"})
"""Attributes a user may have put on a tensor that a copy keeps."""


def reduce(x: Tensor, protocol: int) -> Any:
    """Refuse to be pickled.

    Raises:
        FormatError: always; pickles run code when they are read.
    """
    del protocol
    raise FormatError(
        "pickle: tensors are saved as data, never as pickles.",
        came=f"a tensor of shape {x.shape_tuple}",
        fix="use tn.save(x, path), or x.numpy()",
    )


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor."""
    return isinstance(value, Handle)


def numel(x: Tensor) -> int:
    """Return the number of elements."""
    return x.numel()


def is_complex(x: Tensor) -> bool:
    """Return whether the elements are complex numbers; there are no such dtypes."""
    return x.element_type.kind == "complex"


def is_floating_point(x: Tensor) -> bool:
    """Return whether the elements are floating-point numbers."""
    return x.element_type.kind == "float"


def is_nonzero(x: Tensor) -> bool:
    """Return whether the one element differs from 0.

    Raises:
        ArgumentError: there is not just one.
    """
    return truth(x)


def is_signed(x: Tensor) -> bool:
    """Return whether elements can be negative."""
    return x.element_type.is_signed


def is_same_size(x: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have one shape."""
    return x.shape_tuple == other.shape_tuple
