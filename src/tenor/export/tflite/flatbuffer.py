"""Tables to bytes: what the schema's field numbers say, by the flatbuffers runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ExportError
from tenor.export.package import package
from tenor.export.tflite.schema import FILE_ID, OPTIONS, TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["encoded", "flatbuffers"]

SCALARS: Final = {
    "i8": "Int8", "u8": "Uint8", "i32": "Int32", "u32": "Uint32", "f32": "Float32", "bool": "Bool",
}  # fmt: skip
VECTORS: Final = {"[i32]": "<i4", "[i64]": "<i8", "[f32]": "<f4"}
ALIGNED: Final = 16
"""What the data of constants is aligned to in the file, which is mapped into memory as it is."""
LARGEST: Final = 2_000_000_000
"""Bytes of a flatbuffer, whose offsets have 31 bits."""


def flatbuffers() -> Any:
    """Return the flatbuffers module.

    Raises:
        ExportError: It is not installed.
    """
    return package("flatbuffers", "tflite")


def encoded(table: str, values: dict[str, Any]) -> bytes:
    """Return a whole file whose root is a table.

    Raises:
        ExportError: The file would be larger than the format can be.
    """
    builder = flatbuffers().Builder(1 << 16)
    size = sum(b["data"].nbytes for b in values["buffers"] if "data" in b)
    if size > LARGEST:
        raise ExportError(
            "export: a .tflite file holds less than 2 GB.",
            came=f"{size / 1e9:.1f} GB of weights",
            fix="quantise the weights to int8, or export to another format",
        )
    builder.Finish(_table(builder, table, values), FILE_ID)
    return bytes(builder.Output())


def _table(builder: Any, name: str, values: dict[str, Any]) -> int:
    """Write a table after everything it points to; return its place."""
    fields = TABLES[name]
    if "options" in values:
        values = {**values, "options_type": OPTIONS[values["options"][0]]}
    places = {
        key: value if fields[key][1] in SCALARS else _written(builder, fields[key][1], value)
        for key, value in values.items()
    }
    builder.StartObject(max((number for number, _ in fields.values()), default=-1) + 1)
    for key, place in places.items():
        number, kind = fields[key]
        if kind in SCALARS:
            # None is no default, so that every number is written as it is.
            getattr(builder, f"Prepend{SCALARS[kind]}Slot")(number, place, None)
        else:
            builder.PrependUOffsetTRelativeSlot(number, place, 0)
    return int(builder.EndObject())


def _written(builder: Any, kind: str, value: Any) -> int:
    if kind == "string":
        return int(builder.CreateString(value))
    if kind == "bytes":
        return _aligned(builder, value)
    if kind == "union":
        return _table(builder, *value)
    if kind in VECTORS:
        return int(builder.CreateNumpyVector(np.asarray(value, VECTORS[kind])))
    if kind.startswith("["):
        return _vector(builder, [_table(builder, kind[1:-1], v) for v in value])
    return _table(builder, kind, value)


def _vector(builder: Any, places: Sequence[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _aligned(builder: Any, data: np.ndarray[Any, Any]) -> int:
    """Write bytes that begin at a multiple of ALIGNED."""
    builder.StartVector(1, data.nbytes, ALIGNED)
    builder.head -= data.nbytes
    builder.Bytes[builder.head : builder.head + data.nbytes] = data.tobytes()
    return int(builder.EndVector())
