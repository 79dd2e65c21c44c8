"""Examples: inputs, and the outputs they gave when the model was saved, as exact bytes in JSON."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from tenor.errors import FormatError
from tenor.save import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tenor.save.manifest import Signature, TensorSpec

    Array = NDArray[np.generic]

__all__ = ["MAX_BYTES", "Example", "parse", "to_json"]

MAX_BYTES: Final = 32 << 20
"""Bytes of arrays that examples are kept to; base64 makes a third more of them."""


@dataclass(frozen=True)
class Example:
    """One call of a signature and its answer; bfloat16 as uint16 bits."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(a.nbytes for a in (*self.inputs.values(), *self.outputs.values()))


def to_json(examples: Mapping[str, Example]) -> bytes:
    """Return examples by signature as JSON."""

    def written(arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {name: _written(array) for name, array in arrays.items()}

    document = {
        name: {"inputs": written(example.inputs), "outputs": written(example.outputs)}
        for name, example in sorted(examples.items())
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _written(array: Array) -> dict[str, Any]:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    data = base64.b64encode(little.tobytes()).decode("ascii")
    return {"shape": list(array.shape), "base64": data}


def parse(data: bytes, signatures: Mapping[str, Signature]) -> dict[str, Example]:
    """Read examples that fit the signatures.

    Raises:
        FormatError: They do not; says where.
    """
    document = strict_json.parse(data, "examples.json", max_depth=8)
    if type(document) is not dict or not document.keys() <= signatures.keys():
        _refuse("other names", "examples are of the bundle's signatures")
    found = {}
    for name, entry in document.items():
        if type(entry) is not dict or entry.keys() != {"inputs", "outputs"}:
            _refuse(f"{name}: another form", "an example has inputs and outputs")
        signature = signatures[name]
        sizes: dict[str, int] = {}
        found[name] = Example(
            _arrays(f"{name}.inputs", entry["inputs"], signature.inputs, sizes),
            _arrays(f"{name}.outputs", entry["outputs"], signature.outputs, sizes),
        )
    return found


def _arrays(
    where: str, value: Any, specs: tuple[TensorSpec, ...], sizes: dict[str, int]
) -> dict[str, Array]:
    if type(value) is not dict or value.keys() != {spec.name for spec in specs}:
        _refuse(f"{where}: other names", f"{', '.join(spec.name for spec in specs)}")
    return {
        spec.name: _array(f"{where}.{spec.name}", value[spec.name], spec, sizes) for spec in specs
    }


def _array(where: str, value: Any, spec: TensorSpec, sizes: dict[str, int]) -> Array:
    if type(value) is not dict or value.keys() != {"shape", "base64"}:
        _refuse(f"{where}: another form", "an array has shape and base64")
    shape, text = value["shape"], value["base64"]
    if type(shape) is not list or len(shape) != len(spec.shape) or type(text) is not str:
        _refuse(f"{where}: another form", f"it is {spec}")
    for size, wanted in zip(shape, spec.shape, strict=True):
        if type(size) is not int or not 0 <= size < 1 << 48:
            _refuse(f"{where}: {str(size)[:40]} in its shape", "sizes")
        if size != (sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted):
            _refuse(f"{where}: shape {shape}", f"it is {spec}")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        _refuse(f"{where}: {error}", "base64 text")
    dtype = spec.dtype.numpy
    if len(raw) != math.prod(shape) * dtype.itemsize:
        _refuse(f"{where}: {len(raw)} bytes for shape {shape}", f"it is {spec}")
    array = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False)
    if spec.dtype.kind == "bool" and array.size and array.view(np.uint8).max() > 1:
        _refuse(f"{where}: a bool that is neither 0 nor 1", "bools are 0 or 1")
    return array.reshape(shape)


def _refuse(came: str, wanted: str) -> NoReturn:
    raise FormatError("bundle: examples that fit the signatures.", came=came, fix=wanted)
