"""An ONNX graph as bytes: one file, or a file and its weights beside it where they are large."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.onnx.elements import CODES
from tenor.export.onnx.sizes import Rows
from tenor.export.package import package
from tenor.save.manifest import producer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tenor.export.onnx.model import Written
    from tenor.export.onnx.sizes import Dim
    from tenor.ir.node import Node

__all__ = ["LARGEST", "Packed", "packed"]

LARGEST: Final = 2_000_000_000
"""Bytes of weights up to which they are in the file itself; protobuf ends at 2 GiB."""
ALIGNED: Final = 4096
"""Weights in a file of their own begin at multiples of this, so that they can be mapped."""
INLINE: Final = 1024
"""Bytes up to which a constant stays in the model's file, where checkers and people look."""


@dataclass(frozen=True)
class Packed:
    """An ONNX model, ready to be written.

    Attributes:
        proto: The onnx.ModelProto.
        beside: The name of the file of weights; "" where there is none.
        weights: What that file holds, one after another, and the offset of each.
    """

    proto: Any
    beside: str
    weights: list[tuple[int, NDArray[Any]]]

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes of the file of weights."""
        at = 0
        for offset, value in self.weights:
            yield memoryview(bytes(offset - at))
            yield _bytes(value)
            at = offset + value.nbytes


def _bytes(value: NDArray[Any]) -> memoryview:
    """Return an array's bytes, in order."""
    return memoryview(np.ascontiguousarray(value).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def library() -> Any:
    """Return the onnx package.

    Raises:
        ExportError: It is not installed.
    """
    return package("onnx", "onnx")


def packed(written: Written, name: str, *, largest: int = LARGEST) -> Packed:
    """Return a graph as an ONNX model.

    Args:
        written: The graph.
        name: The name of the file it goes to, after which weights beside it are named.
        largest: Bytes of weights above which they go beside it.
    """
    onnx = library()
    w, helper = written.writer, onnx.helper
    renamed = {value: name for name, value in written.outputs.items()}
    nodes = [_node(helper, row, renamed) for row in w.nodes]
    used = {x for node in nodes for x in node.input}
    constants = {n: v for n, v in w.constants.items() if n in used}
    beside = _beside(constants, name, largest)
    held: list[tuple[int, NDArray[Any]]] = []
    tensors = [_tensor(onnx, n, v, CODES[w.types[n]], beside, held) for n, v in constants.items()]
    source = written.source
    graph = helper.make_graph(
        nodes, source.name,
        [_info(written, leaf, n) for n, leaf in source.inputs.items()],
        [_info(written, node, n) for n, node in source.outputs.items()],
        initializer=tensors,
        value_info=_between(written, renamed),
    )  # fmt: skip
    opset = helper.make_opsetid("", w.opset)
    proto = helper.make_model(
        graph, producer_name="tenor", producer_version=producer().partition(" ")[2],
        opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]),
    )  # fmt: skip
    return Packed(proto, beside, held)


def _node(helper: Any, row: tuple[str, list[str], list[str], dict[str, Any]], names: Any) -> Any:
    kind, inputs, outputs, attrs = row
    outputs = [names.get(n, n) for n in outputs]
    label = next(n for n in outputs if n)
    return helper.make_node(kind, [names.get(n, n) for n in inputs], outputs, name=label, **attrs)


def _info(written: Written, node: Node, name: str) -> Any:
    helper = library().helper
    shape = [_dim(d, written.writer.sizes.symbol) for d in written.writer.dims(node)]
    return helper.make_tensor_value_info(name, CODES[node.dtype], shape)


def _dim(dim: Dim, symbol: str) -> int | str | None:
    if not isinstance(dim, Rows):
        return dim
    return symbol if dim == Rows(1, 0) else None


def _between(written: Written, renamed: dict[str, str]) -> list[Any]:
    """Return the shapes of the values in between, which viewers show on the lines."""
    w = written.writer
    given = {*w.constants, *written.source.inputs, *renamed}
    every = {value: node for node, value in w.names.items() if value not in given}
    return [_info(written, node, value) for value, node in every.items()]


def _beside(constants: dict[str, NDArray[Any]], name: str, largest: int) -> str:
    """Return the name of a file of weights, made of what is in it: an old one stays whole."""
    if sum(v.nbytes for v in constants.values()) <= largest:
        return ""
    digest = hashlib.blake2b(digest_size=4)
    for value in constants.values():
        digest.update(_bytes(value))
    return f"{name}.{digest.hexdigest()}.data"


def _tensor(
    onnx: Any, name: str, value: NDArray[Any], code: int, beside: str,
    held: list[tuple[int, NDArray[Any]]],
) -> Any:  # fmt: skip
    tensor = onnx.TensorProto(name=name, data_type=code, dims=value.shape)
    if not beside or value.nbytes <= INLINE:
        tensor.raw_data = np.ascontiguousarray(value).tobytes()
        return tensor
    last = held[-1][0] + held[-1][1].nbytes if held else 0
    offset = -(-last // ALIGNED) * ALIGNED
    held.append((offset, value))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, entry in (("location", beside), ("offset", offset), ("length", value.nbytes)):
        tensor.external_data.add(key=key, value=str(entry))
    return tensor
