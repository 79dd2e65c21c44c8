"""weights.bin: a model's weights, as they are or in fewer bits.

A length (uint32, little-endian) and so many bytes of JSON, a row a weight; behind them, from the
next multiple of 8 on, the bytes that the rows speak of. Numbers are little-endian. A row is

    ["raw", from, to, bytes]                                     bytes as they are
    ["f16", from, to, count]                                     halves, made float32
    ["i8", from, to, count, channels, inner, scales]             byte * its channel's scale

`from` and `scales` count from where the bytes begin, `to` from where the weights go. An element's
channel is its number divided by `inner`, modulo `channels`.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError
from tenor.export.quantize.record import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["FORMS", "decoded", "packed"]

ALIGN: Final = 8
SMALL: Final = 256
"""Weights of fewer elements, and vectors, stay float32 where others get eight bits."""
SHARE: Final = 32
"""Elements that share a scale, at the least: it takes four bytes."""
HALF_MOST: Final = 65504.0


class _Writer:
    """Bytes being laid out behind each other."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.at = 0

    def put(self, array: Array) -> int:
        """Append an array at a multiple of 8; return where it begins."""
        raw = np.ascontiguousarray(array).tobytes()
        raw += bytes(-len(raw) % ALIGN)
        self.parts.append(raw)
        self.at += len(raw)
        return self.at - len(raw)


def _raw(write: _Writer, _name: str, array: Array, to: int) -> list[Any]:
    return ["raw", write.put(array), to, array.nbytes]


def _f16(write: _Writer, name: str, array: Array, to: int) -> list[Any]:
    if array.dtype != np.float32:
        return _raw(write, name, array, to)
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= HALF_MOST:
        raise ArgumentError(
            'export_web: weights="f16" holds numbers up to 65504.',
            came=f"weight {name!r} goes up to {largest:g}",
            fix='weights="f32"',
        )
    return ["f16", write.put(array.astype("<f2")), to, array.size]


def _i8(write: _Writer, _name: str, array: Array, to: int) -> list[Any]:
    scheme = _scheme(array)
    if scheme is None:
        return _raw(write, _name, array, to)
    assert scheme.axis is not None
    inner = int(np.prod(array.shape[scheme.axis + 1 :], dtype=np.int64))
    start = write.put(scheme.stored(array))
    scales = write.put(scheme.scale)
    return ["i8", start, to, array.size, array.shape[scheme.axis], inner, scales]


def _scheme(array: Array) -> Scheme | None:
    """Return a weight's scale for each index of the dim that it loses least by; None: not one."""
    if array.dtype != np.float32 or array.ndim < 2 or array.size < SMALL:
        return None
    found = [(_loss(array, s), i, s) for i, s in enumerate(_candidates(array))]
    return min(found)[2] if found else None


def _candidates(array: Array) -> Iterable[Scheme]:
    """Return a scheme for each dim that does not leave a scale to a few elements."""
    for axis in range(array.ndim):
        count = array.shape[axis]
        if SHARE * count <= array.size:
            others = tuple(d for d in range(array.ndim) if d != axis)
            scale = (np.abs(array).max(axis=others) / 127).astype(np.float32)
            scale[scale == 0] = 1
            yield Scheme(scale, np.zeros(count, np.int32), axis)


def _loss(array: Array, scheme: Scheme) -> float:
    return float(np.square(scheme.real(scheme.stored(array)) - array).sum(dtype=np.float64))


FORMS: Final[dict[str, Callable[[_Writer, str, Array, int], list[Any]]]] = {
    "f32": _raw, "f16": _f16, "int8": _i8,
}  # fmt: skip
"""How weights are held, by what `export_web` calls it."""


def packed(weights: Iterable[tuple[str, Array, int]], form: str) -> bytes:
    """Return weights.bin.

    Args:
        weights: The name of each weight, its numbers, and where they go.
        form: A key of FORMS.

    Raises:
        ArgumentError: A number that a half cannot hold.
    """
    write = _Writer()
    rows = [FORMS[form](write, name, array, to) for name, array, to in weights]
    head = json.dumps(rows, separators=(",", ":")).encode()
    head += b" " * (-(4 + len(head)) % ALIGN)
    return struct.pack("<I", len(head)) + head + b"".join(write.parts)


def decoded(data: bytes, nbytes: int) -> NDArray[np.uint8]:
    """Return the bytes that model.js makes of weights.bin, so many from where weights go."""
    made = np.zeros(nbytes, np.uint8)
    length = struct.unpack_from("<I", data)[0]
    body = memoryview(data)[4 + length :]
    for kind, start, to, count, *rest in json.loads(data[4 : 4 + length]):
        if kind == "raw":
            made[to : to + count] = np.frombuffer(body, np.uint8, count, start)
            continue
        if kind == "f16":
            real = np.frombuffer(body, "<f2", count, start).astype(np.float32)
        else:
            channels, inner, scales = rest
            scale = np.frombuffer(body, "<f4", channels, scales)
            stored = np.frombuffer(body, np.int8, count, start)
            real = stored * scale[np.arange(count) // inner % channels]
        made[to : to + 4 * count] = real.astype("<f4").view(np.uint8)
    return made
