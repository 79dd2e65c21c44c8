"""Values in files: `.npy`, `.npz`, `.json` and `.csv`, to a signature's inputs and back."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.errors import ArgumentError, DTypeError, FormatError, ShapeError, TenorError
from tenor.ir import dtype as dt
from tenor.ir.bfloat16 import from_bfloat16, to_bfloat16
from tenor.save import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tenor.save.manifest import Signature, TensorSpec

    Array = NDArray[Any]

__all__ = ["FORMATS", "read_values", "to_json", "write_values"]

FORMATS: Final = (".npy", ".npz", ".json", ".csv")
FAMILIES: Final = {"b": "b", "i": "biu", "u": "biu", "f": "biuf"}
"""Which kinds of numbers each kind of input takes."""


def read_values(given: str, signature: Signature) -> tuple[dict[str, Array], bool]:
    """Return a signature's inputs by name from a file, and whether one example stood there alone.

    Args:
        given: The file; "-" is JSON from standard input.
        signature: What the values are for.

    Raises:
        ArgumentError: The suffix is unknown, or inputs are missing.
        FormatError: The file is not what its suffix says.
        DTypeError, ShapeError: The values do not fit an input.
        OSError: It cannot be read.
    """
    path = Path(given)
    suffix = ".json" if given == "-" else path.suffix.lower()
    if suffix not in READERS:
        raise ArgumentError(
            "predict: the input is a .npy, .npz, .json or .csv file.",
            came=given,
            fix="save the values with numpy.save, or as JSON",
        )
    raw = sys.stdin.buffer.read() if given == "-" else path.read_bytes()
    try:
        values = READERS[suffix](raw, signature)
    except TenorError:
        raise
    except Exception as error:  # NumPy, zipfile, csv and json raise a dozen kinds for odd bytes
        raise FormatError(
            f"predict: {path.name} must be a {suffix} file of numbers.",
            came=str(error) or type(error).__name__,
            fix="write it again; object arrays are not read",
        ) from None
    wanted = {spec.name for spec in signature.inputs}
    if values.keys() != wanted:
        raise ArgumentError(
            f"predict: {signature.name} takes {_named(signature.inputs)}.",
            came=f"{', '.join(map(repr, values)) or 'nothing'}",
            fix='name every input, in a .npz file or as {"name": [...]} in JSON',
        )
    alone = all(
        np.ndim(values[s.name]) == len(s.shape) - 1 and isinstance(s.shape[0], str)
        for s in signature.inputs
        if s.shape
    ) and any(s.shape for s in signature.inputs)
    if alone:
        values = {s.name: np.asarray(values[s.name])[None] for s in signature.inputs}
    return {s.name: _fit(s, values[s.name]) for s in signature.inputs}, alone


def _named(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name}: {spec}" for spec in specs)


def _fit(spec: TensorSpec, value: Array) -> Array:
    """Return values in an input's dtype, in a shape that fits it."""
    array = np.asarray(value)
    if array.dtype.kind not in FAMILIES[_kind(spec)]:
        raise DTypeError(
            f"predict: input {spec.name!r} must be {spec}.",
            came=f"{array.dtype} {list(array.shape)}",
            fix=f"convert the values to {spec.dtype.name}",
        )
    fits = array.ndim == len(spec.shape) and all(
        isinstance(want, str) or n == want for n, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"predict: input {spec.name!r} must be {spec}.",
            came=f"shape {list(array.shape)}",
            fix="a name in the shape is any size; one example alone may leave the batch out",
        )
    if spec.dtype is dt.bfloat16:
        return np.asarray(to_bfloat16(array.astype(np.float32)))
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(array, dtype=spec.dtype.numpy)
    lost = np.isinf(made) & np.isfinite(array) if made.dtype.kind == "f" else made != array
    if lost.any():
        raise DTypeError(
            f"predict: input {spec.name!r} must be {spec}.",
            came=f"numbers from {array.min()} to {array.max()}",
            fix=f"they must lie in the range of {spec.dtype.name}",
        )
    return made


def _kind(spec: TensorSpec) -> str:
    return {"bool": "b", "int": "i", "uint": "u"}.get(spec.dtype.kind, "f")


# -- reading ----------------------------------------------------------------------------------
def _only(signature: Signature, array: Array) -> dict[str, Array]:
    if len(signature.inputs) != 1:
        raise ArgumentError(
            f"predict: {signature.name} takes {_named(signature.inputs)}.",
            came="one array without a name",
            fix='name every input, in a .npz file or as {"name": [...]} in JSON',
        )
    return {signature.inputs[0].name: array}


def _npy(raw: bytes, signature: Signature) -> dict[str, Array]:
    return _only(signature, np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False))


def _npz(raw: bytes, signature: Signature) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(raw)) as held:
        values = {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(held.read(name)), allow_pickle=False
            )
            for name in held.namelist()
        }
    if len(values) == 1 and len(signature.inputs) == 1:
        return _only(signature, next(iter(values.values())))
    return values


def _json(raw: bytes, signature: Signature) -> dict[str, Array]:
    """Read `[...]`, `{"name": [...]}`, or the body of a request: `instances`, `inputs`."""
    document = json.loads(raw)
    if isinstance(document, dict):
        known = {spec.name for spec in signature.inputs}
        if document.keys() == {"instances"} and "instances" not in known:
            return _instances(document["instances"], signature)
        if document.keys() == {"inputs"} and "inputs" not in known:
            document = document["inputs"]
    if isinstance(document, dict):
        return {str(name): np.array(value) for name, value in document.items()}
    return _only(signature, np.array(document))


def _instances(rows: Any, signature: Signature) -> dict[str, Array]:
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return _only(signature, np.array(rows))


def _csv(raw: bytes, signature: Signature) -> dict[str, Array]:
    """Read rows of numbers: all columns are the one input, or the header names the inputs."""
    rows = [row for row in csv.reader(io.StringIO(raw.decode("utf-8-sig"))) if row]
    header = None
    if rows and not all(map(_numeric, rows[0])):
        header, *rows = rows
    if not rows:
        came = f"a header alone: {','.join(header)[:80]}" if header else "none"
        raise FormatError("predict: rows of numbers in the .csv file.", came=came)
    widths = {len(row) for row in rows} | ({len(header)} if header else set())
    if len(widths) != 1:
        raise FormatError(
            "predict: every row of a .csv file has as many columns.",
            came=f"rows of {', '.join(map(str, sorted(widths)))} columns",
        )
    if len(signature.inputs) > 1:
        if header is None:
            raise FormatError(
                "predict: the header of a .csv file names the inputs.",
                came="no header",
                fix=f"begin it with a row of {', '.join(s.name for s in signature.inputs)}",
            )
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        return {
            s.name: _numbers(list(columns[s.name]), s).reshape(-1, *[1] * (len(s.shape) - 1))
            for s in signature.inputs
            if s.name in columns
        }
    spec = signature.inputs[0]
    wanted = [n for n in spec.shape[1:] if isinstance(n, int)]
    table = np.stack([_numbers(row, spec) for row in rows])
    if len(wanted) == len(spec.shape) - 1:
        if table.shape[1] != math.prod(wanted):
            raise ShapeError(
                f"predict: input {spec.name!r} must be {spec}, {math.prod(wanted)} columns a row.",
                came=f"{table.shape[1]} columns",
            )
        table = table.reshape(-1, *wanted)
    return {spec.name: table}


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in BOOLS
    return True


BOOLS: Final = {"true": 1, "false": 0}


def _numbers(cells: Sequence[str], spec: TensorSpec) -> Array:
    convert: Callable[[str], Any] = float if _kind(spec) == "f" else int
    held = [BOOLS.get(cell.strip().lower(), cell) for cell in cells]
    made = np.array([convert(cell) if isinstance(cell, str) else cell for cell in held])
    return made.astype(bool) if _kind(spec) == "b" else made


READERS: Final[dict[str, Callable[[bytes, Signature], dict[str, Array]]]] = {
    ".npy": _npy, ".npz": _npz, ".json": _json, ".csv": _csv,
}  # fmt: skip


# -- writing ----------------------------------------------------------------------------------
def to_json(outputs: Mapping[str, Array]) -> str:
    """Return arrays by name as JSON; each number is the shortest that reads back to the same bits.

    Example:
        >>> to_json({"y": np.array([0.1, 2.0], np.float32)})
        '{"y": [0.1, 2.0]}'
    """
    return json.dumps({name: _shortest(array) for name, array in outputs.items()})


def _shortest(array: Array) -> Any:
    if array.dtype.kind != "f" or array.dtype == np.float64:
        return array.tolist()
    texts = np.array([float(str(x)) for x in array.reshape(-1)], np.float64)
    return texts.reshape(array.shape).tolist()


def write_values(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays by name to a file, as its suffix says.

    Raises:
        ArgumentError: The suffix is unknown, or holds one array only and there are several.
        SaveError: The file could not be written.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ArgumentError("predict: --out is a .npy, .npz, .json or .csv file.", came=str(path))
    if suffix in (".npy", ".csv") and len(outputs) > 1:
        raise ArgumentError(
            f"predict: a {suffix} file holds one output.",
            came=", ".join(outputs),
            fix="write a .npz or .json file",
        )
    held = io.BytesIO()
    if suffix == ".npz":
        np.savez(held, **dict(outputs))  # type: ignore[arg-type]
    elif suffix == ".npy":
        np.save(held, next(iter(outputs.values())), allow_pickle=False)
    elif suffix == ".json":
        held.write(to_json(outputs).encode() + b"\n")
    else:
        held.write(_table(next(iter(outputs.values()))))
    replace_file(path, [held.getvalue()])


def _table(array: Array) -> bytes:
    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[str(x) for x in row] for row in rows])
    return text.getvalue().encode()


def plain(spec: TensorSpec, array: Array) -> Array:
    """Return an output as numbers: bfloat16 comes as bits."""
    return np.asarray(from_bfloat16(array)) if spec.dtype is dt.bfloat16 else array
