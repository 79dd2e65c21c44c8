"""JSON values to arrays and back, bit for bit; every refusal says where and why."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from tenor.errors import RequestError
from tenor.ir.dtype import bfloat16
from tenor.serve.servable import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tenor.ir.dtype import DType
    from tenor.serve.servable import Array, TensorSpec

__all__ = ["Place", "from_flat", "from_nested", "read", "readable", "write"]

ACCEPTED: Final[dict[str, set[type]]] = {
    "float": {int, float},
    "int": {int},  # 3.0 is refused, as TensorFlow Serving does: it is the sign of a wrong input
    "uint": {int},
    "bool": {bool},
}

WANTED: Final = {
    "float": "numbers",
    "int": "whole numbers, written without a fraction",
    "uint": "whole numbers, written without a fraction",
    "bool": "true or false",
}

OBJECT: Final = msgspec.json.Decoder(dict[str, Any])

EMPTY_DIM_LIMIT: Final = 65_536
"""The largest free dim of a tensor without elements, whose dims cost the sender nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the request a tensor stands: `before[i]after[j][k]` is its element (i, j, k)."""

    before: str
    after: str = ""

    def at(self, index: Sequence[int]) -> str:
        """Return an element's path for an error message."""
        steps = [f"[{i}]" for i in index]
        return "".join([self.before, *steps[:1], self.after, *steps[1:]])


def read(body: bytes) -> dict[str, Any]:
    """Return a request body's JSON object; NaN, Infinity and overlong numbers are not JSON.

    Raises:
        RequestError: It is not JSON, or not an object.
    """
    try:
        return OBJECT.decode(body)
    except msgspec.ValidationError as error:
        wanted = "the request body must be a JSON object."
        if "out of range" in str(error):
            wanted = "the request body's numbers must be finite, and whole ones of usable size."
        raise RequestError(wanted, came=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            "the request body must be JSON.",
            came=str(error) if body else "an empty body",
            fix="numbers are finite (no NaN, no Infinity), text is UTF-8, no comments",
        ) from None
    except RecursionError:
        raise RequestError(
            "the request body must be JSON nested no deeper than a tensor's dims.",
            came="lists or objects nested hundreds deep",
        ) from None


def write(document: object, arrays: Iterable[Array]) -> bytes:
    """Return a document as JSON; floats are the shortest text that parses to the same double.

    Non-finite floats become the bare tokens NaN, Infinity and -Infinity, as TensorFlow Serving
    writes them: Python's json and JavaScript-like parsers read them, strict ones refuse.

    Args:
        document: What to write; the numbers of `arrays` are in it.
        arrays: Looked at only to learn whether all numbers are finite.
    """
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return msgspec.json.encode(document)
    return json.dumps(document, separators=(",", ":")).encode()


def readable(array: Array, dtype: DType) -> Array:
    """Return an array whose elements are numbers: bfloat16 bits become float32, exactly."""
    if dtype is not bfloat16:
        return array
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_nested(value: Any, spec: TensorSpec, place: Place) -> Array:
    """Return nested lists as the array an input wants.

    Raises:
        RequestError: Ragged, nested too little or too deep, a wrong size at a fixed dim, or an
            element that the dtype does not hold.
    """
    return nested(value, spec.shape, spec, place)


def from_flat(data: Any, shape: Sequence[int], spec: TensorSpec, place: Place) -> Array:
    """Return elements in row-major order, or nested as `shape` says, as an input's array.

    Nothing is allocated before the shape is known to match the number of elements.

    Raises:
        RequestError: The shape is not one the input takes, the elements are too few or too
            many, or one of them is not held by the dtype.
    """
    check_shape(shape, spec)
    if type(data) is not list or (data and type(data[0]) is list):
        return nested(data, tuple(shape), spec, place)
    if len(data) != math.prod(shape):
        raise refusal(
            spec,
            f"{len(data)} elements of data for shape {list(shape)}",
            f"send the product of shape, {count(math.prod(shape))}, in row-major order",
        )
    return convert(data, spec, lambda i: place.at((i,))).reshape(shape)


def check_shape(shape: Sequence[int], spec: TensorSpec) -> None:
    """Refuse a stated shape that the input does not take."""
    if len(shape) != len(spec.shape):
        raise refusal(spec, f"shape of {len(shape)} dims", f"send {len(spec.shape)} dims")
    for axis, (size, wanted) in enumerate(zip(shape, spec.shape, strict=True)):
        if size < 0 or (isinstance(wanted, int) and size != wanted):
            limit = wanted if isinstance(wanted, int) else "0 or more"
            raise refusal(spec, f"{count(size)} at dim {axis}", f"dim {axis} must be {limit}")
        if 0 in shape and not isinstance(wanted, int) and size > EMPTY_DIM_LIMIT:
            raise refusal(
                spec,
                f"{count(size)} at dim {axis} of a tensor without elements",
                f"there a free dim is at most {EMPTY_DIM_LIMIT}",
            )


def nested(value: Any, dims: Sequence[int | str], spec: TensorSpec, place: Place) -> Array:
    """Peel one dim after the other; each pass over a level is a handful of C loops."""
    shape: list[int] = []
    level: list[Any] = [value]
    for axis, wanted in enumerate(dims):
        if set(map(type, level)) != {list}:
            raise too_shallow(level, shape, spec, place)
        size = len(level[0])
        if set(map(len, level)) != {size}:
            raise ragged(level, shape, spec, place)
        if isinstance(wanted, int) and size != wanted:
            came = f"{size} at dim {axis}, in {place.at([0] * axis)}"
            raise refusal(spec, came, f"dim {axis} must be {wanted}")
        shape.append(size)
        level = list(chain.from_iterable(level))
        if not level:  # the lists end here, so the dims inside can only be the wanted ones
            shape += [dim if isinstance(dim, int) else 0 for dim in dims[axis + 1 :]]
            break
    return convert(level, spec, lambda i: place.at(unravel(i, shape))).reshape(shape)


def convert(flat: list[Any], spec: TensorSpec, where: Callable[[int], str]) -> Array:
    """Return JSON scalars as a 1-D array; `where` gives an element's path, for errors."""
    kind = spec.dtype.kind
    accepted = ACCEPTED[kind]
    if not accepted.issuperset(map(type, flat)):
        i = next(i for i, element in enumerate(flat) if type(element) not in accepted)
        fix = f"its elements are {WANTED[kind]}"
        if type(flat[i]) is list:
            fix = f"nest lists {len(spec.shape)} deep"
        raise refusal(spec, f"{word(flat[i])} at {where(i)}", fix)
    return from_numbers(flat, spec, where) if kind == "float" else from_ints(flat, spec, where)


def from_ints(flat: list[int], spec: TensorSpec, where: Callable[[int], str]) -> Array:
    """Return whole numbers or truth values, each within the dtype's range."""
    if spec.dtype.kind != "bool" and flat:
        limits = np.iinfo(spec.dtype.numpy)
        low, high = int(limits.min), int(limits.max)
        if min(flat) < low or max(flat) > high:
            i = next(i for i, element in enumerate(flat) if not low <= element <= high)
            raise refusal(spec, f"{word(flat[i])} at {where(i)}", f"send {low} to {high}")
    return np.array(flat, spec.dtype.numpy)


def from_numbers(flat: list[float], spec: TensorSpec, where: Callable[[int], str]) -> Array:
    """Return numbers rounded to the dtype; one that would round to infinity is refused."""
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:  # a whole number beyond float64
        wide = np.array([float(v) if abs(v) < 2**1023 else math.inf for v in flat])
    array = narrow(wide, spec.dtype)
    finite = np.isfinite(readable(array, spec.dtype))
    if not finite.all():
        i = int(np.argmin(finite))
        fix = f"send numbers within the range of {spec.dtype.name}"
        raise refusal(spec, f"{word(flat[i])} at {where(i)}", fix)
    return array


def narrow(wide: Array, dtype: DType) -> Array:
    """Round float64 to a dtype, ties to even; bfloat16 through float32, as PyTorch does."""
    with np.errstate(over="ignore", under="ignore"):
        if dtype is not bfloat16:
            return wide.astype(dtype.numpy)
        bits = wide.astype(np.float32).view(np.uint32)
    to_even = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + to_even) >> np.uint32(16)).astype(np.uint16)


def too_shallow(level: list[Any], shape: list[int], spec: TensorSpec, place: Place) -> RequestError:
    i = next(i for i, element in enumerate(level) if type(element) is not list)
    where = place.at(unravel(i, shape))
    fix = f"nest lists {len(spec.shape)} deep; one example alone is a batch of one: [example]"
    return refusal(spec, f"{word(level[i])} at {where}", fix)


def ragged(level: list[Any], shape: list[int], spec: TensorSpec, place: Place) -> RequestError:
    size = len(level[0])
    i = next(i for i, element in enumerate(level) if len(element) != size)
    first, other = place.at([0] * len(shape)), place.at(unravel(i, shape))
    came = f"ragged lists: {size} in {first}, {len(level[i])} in {other}"
    return refusal(spec, came, "lists side by side must be of one length; pad the short ones")


def refusal(spec: TensorSpec, came: str, fix: str) -> RequestError:
    """Return the error for one input, which says what the input wants."""
    return RequestError(f"input {spec.name!r} must be {describe(spec)}.", came=came, fix=fix)


def unravel(i: int, shape: Sequence[int]) -> list[int]:
    """Return the index of the i-th element in row-major order."""
    index = []
    for size in reversed(shape):
        i, rest = divmod(i, size)
        index.append(rest)
    return index[::-1]


def count(number: int) -> str:
    """Return a whole number for a message; one of hundreds of digits is only measured."""
    return str(number) if number.bit_length() <= 128 else f"of {number.bit_length()} bits"


def word(value: Any) -> str:
    """Return what a JSON value is, in few words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"the number {count(value) if isinstance(value, int) else value}"
