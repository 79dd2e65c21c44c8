"""The safetensors format: named arrays and a little text in one file that is data only.

::

    u64 n, little-endian | n bytes of JSON | the arrays' bytes, one after another

The JSON object maps each name to {"dtype", "shape", "data_offsets": [begin, end)}, the offsets
counted from the end of the JSON; "__metadata__" maps strings to strings.

Source:
    https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from tenor.errors import ArgumentError, FormatError
from tenor.ir import dtype as dt
from tenor.save import strict_json
from tenor.save.atomic import replace_file
from tenor.save.mapping import mapped

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.ir.dtype import DType

    Array = NDArray[np.generic]

__all__ = ["Contents", "Entry", "Typed", "layout", "load_file", "open_file", "read", "save_file"]

METADATA: Final = "__metadata__"
MAX_HEADER: Final = 100_000_000
MAX_RANK: Final = 32
MAX_BYTES: Final = 1 << 62
MAX_NAME: Final = 4096
ALIGN: Final = 64
"""Where the first array begins; the widest load of any machine we compile for."""

CODES: Final[dict[str, DType]] = {
    "F64": dt.float64, "F32": dt.float32, "F16": dt.float16, "BF16": dt.bfloat16,
    "I64": dt.int64, "I32": dt.int32, "I16": dt.int16, "I8": dt.int8,
    "U64": dt.uint64, "U32": dt.uint32, "U16": dt.uint16, "U8": dt.uint8, "BOOL": dt.bool_,
}  # fmt: skip
CODE_OF: Final = {dtype: code for code, dtype in CODES.items()}


@dataclass(frozen=True)
class Typed:
    """An array together with its Tenor dtype, which tells bfloat16 bits from uint16 numbers."""

    array: Array
    dtype: DType


@dataclass(frozen=True, slots=True)
class Entry:
    """One array of a file: what it is, and which bytes of the data are its own."""

    dtype: DType
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Contents:
    """A file's arrays by name, and its metadata.

    Attributes:
        entries: What each array is.
        arrays: Read-only arrays that stand in the file itself: no memory is taken before one is
            looked at. bfloat16 comes as uint16 bits; `entries` tells.
        metadata: The text beside them.
    """

    entries: dict[str, Entry]
    arrays: dict[str, Array]
    metadata: dict[str, str] = field(default_factory=dict)

    def typed(self) -> dict[str, Typed]:
        """Return the arrays with their dtypes, as `save_file` takes them."""
        return {name: Typed(a, self.entries[name].dtype) for name, a in self.arrays.items()}


# -- writing ----------------------------------------------------------------------------------
def save_file(
    arrays: Mapping[str, Array | Typed],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays to a file; whatever stood there is replaced whole or not at all.

    The same arrays make the same bytes, in whatever order they come.

    Args:
        arrays: NumPy arrays of any dtype Tenor has; `Typed(bits, bfloat16)` for bfloat16.
        path: The file.
        metadata: Text to keep beside them.

    Raises:
        ArgumentError: A name or metadata entry that the format cannot hold.
        DTypeError: An array of a dtype Tenor does not have.
        SaveError: The file could not be written; the old one stands.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "w.safetensors"
        >>> save_file({"w": np.arange(3)}, path, {"made": "by hand"})
        >>> load_file(path)["w"].tolist()
        [0, 1, 2]
    """
    replace_file(path, layout(arrays, metadata))


def layout(
    arrays: Mapping[str, Array | Typed], metadata: Mapping[str, str] | None = None
) -> list[bytes | memoryview]:
    """Return the file's bytes in pieces; the arrays' own memory is not copied.

    Raises:
        ArgumentError: A name or metadata entry that the format cannot hold.
        DTypeError: An array of a dtype Tenor does not have.
    """
    held = {name: _typed(value) for name, value in arrays.items()}
    header: dict[str, Any] = {}
    for name in held:
        _writable_text(name, "a name", MAX_NAME)
        if name == METADATA:
            _refuse_argument(f"the name {METADATA!r}", "that name is the format's own")
    if metadata:
        for key, text in metadata.items():
            _writable_text(key, "a metadata key", MAX_HEADER)
            _writable_text(text, "a metadata value", MAX_HEADER)
        header[METADATA] = dict(sorted(metadata.items()))
    # Widest first, so that every array is aligned to its own itemsize.
    order = sorted(held, key=lambda name: (*_rank(held[name].dtype), name))
    at = 0
    for name in order:
        value = held[name]
        end = at + value.array.nbytes
        header[name] = {
            "dtype": CODE_OF[value.dtype], "shape": list(value.array.shape),
            "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-(8 + len(head)) % ALIGN)
    if len(head) > MAX_HEADER:
        _refuse_argument(f"names of {len(head)} bytes", f"the header has at most {MAX_HEADER}")
    data = (held[name].array for name in order)
    return [struct.pack("<Q", len(head)) + head, *(_bytes(a) for a in data if a.nbytes)]


def _typed(value: Array | Typed) -> Typed:
    if isinstance(value, Typed):
        array, dtype = np.asarray(value.array), value.dtype
        if array.dtype.newbyteorder("=") != dtype.numpy:
            _refuse_argument(f"{array.dtype} for {dtype.name}", f"give {dtype.numpy} elements")
    else:
        array = np.asarray(value)
        dtype = dt.from_numpy(array.dtype)
    wanted = np.dtype(dtype.numpy).newbyteorder("<")
    return Typed(np.asarray(array, dtype=wanted, order="C"), dtype)


def _rank(dtype: DType) -> tuple[int, str]:
    return -dtype.itemsize, CODE_OF[dtype]


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _writable_text(text: object, what: str, limit: int) -> None:
    if not isinstance(text, str):
        _refuse_argument(f"{what} of type {type(text).__name__}", f"{what} is a string")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        _refuse_argument(f"{what} {text[:80]!r}", "it has no UTF-8 encoding")
    if size > limit:
        _refuse_argument(f"{what} of {size} bytes", f"{what} has at most {limit} bytes")


def _refuse_argument(came: str, fix: str) -> NoReturn:
    raise ArgumentError("save_file: names, text and arrays the format can hold.", came, fix)


# -- reading ----------------------------------------------------------------------------------
def load_file(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Return the arrays of a file by name; see `open_file`.

    Raises:
        FormatError: The file is not a safetensors file; says why.
        OSError: It cannot be opened.
    """
    return open_file(path).arrays


def open_file(path: str | os.PathLike[str]) -> Contents:
    """Return what is in a file.

    The file is mapped, not read: an array costs nothing before it is used (bools are looked at,
    as a byte that is neither 0 nor 1 is no bool). The file may come from anywhere: nothing in it
    is believed before it is checked, and no memory is taken on its word.

    Raises:
        FormatError: The file is not a safetensors file; says why.
        OSError: It cannot be opened.
    """
    return read(mapped(path))


def read(view: memoryview) -> Contents:
    """Return what is in a file whose bytes are given; the arrays share them.

    Raises:
        FormatError: They are not a safetensors file; says why.
    """
    header, data = _header(view)
    text = header.pop(METADATA, {})
    if type(text) is not dict or not all(type(value) is str for value in text.values()):
        _refuse(f"{METADATA} of another form", "it maps strings to strings")
    entries = {name: _entry(name, value) for name, value in header.items()}
    _check_places(entries, len(data))
    arrays = {name: _array(data, entry) for name, entry in entries.items()}
    return Contents(entries, arrays, text)


def _header(view: memoryview) -> tuple[dict[str, Any], memoryview]:
    if len(view) < 8:
        _refuse(f"{len(view)} bytes", "a file begins with 8 bytes that give the header's length")
    (length,) = struct.unpack_from("<Q", view)
    if length > MAX_HEADER:
        _refuse(f"a header of {length} bytes", f"a header has at most {MAX_HEADER} bytes")
    if 8 + length > len(view):
        _refuse(f"a header of {length} bytes in a file of {len(view)}", "the file was cut short")
    raw = bytes(view[8 : 8 + length])
    if not raw.startswith(b"{"):
        _refuse(repr(raw[:16]), "a header begins with '{'")
    header = strict_json.parse(raw, "safetensors: the header", max_depth=4)
    return header, view[8 + length :]


def _entry(name: str, value: Any) -> Entry:
    def refuse(came: str, wanted: str) -> NoReturn:
        _refuse(f"{name[:80]!r}: {came}", wanted)

    if len(name) > MAX_NAME:
        refuse(f"a name of {len(name)} characters", f"a name has at most {MAX_NAME}")
    if type(value) is not dict or value.keys() != {"dtype", "shape", "data_offsets"}:
        refuse("an entry of another form", "an entry has exactly dtype, shape and data_offsets")
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    dtype = CODES.get(code) if type(code) is str else None
    if dtype is None:
        refuse(f"dtype {str(code)[:40]!r}", f"known are {', '.join(CODES)}")
    if type(shape) is not list or len(shape) > MAX_RANK or not all(map(_natural, shape)):
        refuse(f"shape {str(shape)[:80]}", f"a shape is a list of at most {MAX_RANK} sizes")
    if type(offsets) is not list or len(offsets) != 2 or not all(map(_natural, offsets)):
        refuse(f"data_offsets {str(offsets)[:80]}", "offsets are [begin, end]")
    begin, end = offsets
    size = dtype.itemsize
    for extent in shape:
        size *= max(extent, 1)  # NumPy counts an empty array's other sizes as well
        if size > MAX_BYTES:
            refuse(f"shape {str(shape)[:80]}", f"an array has at most {MAX_BYTES} bytes")
    size = 0 if 0 in shape else size
    if end - begin != size:
        refuse(f"data_offsets {offsets} for {code} {shape}", f"the array takes {size} bytes")
    return Entry(dtype, tuple(shape), begin, end)


def _natural(value: object) -> bool:
    return type(value) is int and value >= 0


def _check_places(entries: dict[str, Entry], size: int) -> None:
    """Refuse holes, overlaps, and data that belongs to nobody."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            wanted = f"each array begins where the one before ends, at {at}"
            _refuse(f"{name[:80]!r}: data_offsets [{entry.begin}, {entry.end}]", wanted)
        at = entry.end
    if at != size:
        came = f"arrays of {at} bytes and data of {size}"
        _refuse(came, "the file was cut short" if size < at else "something follows the arrays")


def _array(data: memoryview, entry: Entry) -> Array:
    little = entry.dtype.numpy.newbyteorder("<")
    flat = np.frombuffer(data[entry.begin : entry.end], little) if entry.end > entry.begin else None
    array = np.empty(0, little) if flat is None else flat
    if entry.dtype is dt.bool_ and array.size and array.view(np.uint8).max() > 1:
        _refuse("a BOOL that is neither 0 nor 1", "a BOOL is one byte, 0 or 1")
    array = array.astype(entry.dtype.numpy, copy=False).reshape(entry.shape)
    array.flags.writeable = False
    return array


def _refuse(came: str, wanted: str) -> NoReturn:
    raise FormatError("safetensors: a whole file of this format.", came=came, fix=wanted)
