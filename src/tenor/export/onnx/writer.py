"""The graph being written: ONNX nodes and constants, by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.export.onnx.elements import CODES, carrier, recast
from tenor.export.onnx.sizes import Rows, Sizes
from tenor.ir import dtype as dt
from tenor.ir import op as ops

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tenor.export.onnx.sizes import Dim
    from tenor.export.quantize.record import Scheme
    from tenor.ir.dtype import DType
    from tenor.ir.node import Node

__all__ = ["Refused", "Writer", "broadcast"]

SHARED: Final = 1 << 10
"""Bytes up to which equal constants are one."""


class Refused(Exception):  # noqa: N818 (becomes an ExportError that says where)
    """A use of an operation that cannot be written: why, and what to do instead."""

    def __init__(self, why: str, instead: str) -> None:
        super().__init__(why)
        self.why, self.instead = why, instead


def broadcast(shapes: Iterable[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """Return the shape that shapes broadcast to; they are known to fit."""
    result: list[Dim] = []
    for shape in shapes:
        result = [*(1,) * (len(shape) - len(result)), *result]
        head = len(result) - len(shape)
        result = result[:head] + [
            b if a == 1 else a for a, b in zip(result[head:], shape, strict=True)
        ]
    return tuple(result)


class Writer:
    """Appends ONNX nodes; every value is known by its name.

    Attributes:
        opset: The version of ONNX' operations that is written.
        nodes: (operation, inputs, outputs, attributes), in order.
        constants: The value of every initializer, by name.
        types: The dtype of every value, by name.
        names: The name of every node's value that was written.
        flat: Biases that were written as vectors, in another form than their node's.
        rounding: How the value being written is held in eight bits; None: it is not.
    """

    def __init__(self, opset: int, sizes: Sizes, taken: Iterable[str] = ()) -> None:
        self.opset = opset
        self.sizes = sizes
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.types: dict[str, DType] = {}
        self.names: dict[Node, str] = {}
        self.flat: dict[Node, str] = {}
        self.rounding: Scheme | None = None
        self._narrow: dict[Node, tuple[str, tuple[Dim, ...]]] = {}
        self._taken = set(taken)
        self._counts: dict[str, int] = {}
        self._made: dict[tuple[Any, ...], str] = {}

    # -- names and sizes ----------------------------------------------------------------------
    def fresh(self, stem: str) -> str:
        """Return a name nobody has."""
        name = stem
        while name in self._taken:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}_{self._counts[stem]}"
        self._taken.add(name)
        return name

    def dims(self, node: Node) -> tuple[Dim, ...]:
        """Return a node's shape, the batch left open."""
        return self.sizes.dims.get(node, node.shape)

    def attrs(self, node: Node) -> tuple[Any, ...]:
        """Return a node's attributes, the batch left open."""
        return self.sizes.attrs.get(node, node.attrs)

    # -- values -------------------------------------------------------------------------------
    def value(self, node: Node) -> str:
        """Return the name of a node's value, in the node's own shape."""
        if node not in self.names:
            source, _ = self._narrow[node]
            self.names[node] = self.spread(source, self.dims(node))
        return self.names[node]

    def spread(self, name: str, dims: tuple[Dim, ...]) -> str:
        """Append an expansion; nothing at all is a constant, which runtimes get right."""
        if 0 in dims and not any(isinstance(d, Rows) for d in dims):
            dtype = self.types[name]
            return self.constant(np.zeros(dims, dtype.numpy), dtype)  # type: ignore[arg-type]
        return self.op("Expand", [name], [self.shape(dims)])

    def narrow(self, node: Node, source: str, dims: tuple[Dim, ...]) -> None:
        """Say that a node is a value expanded: it is written when somebody needs it so."""
        self._narrow[node] = (source, dims)

    def loose(self, operands: Sequence[Node], dims: tuple[Dim, ...]) -> list[str]:
        """Return operands of an elementwise operation, which broadcasts by itself to `dims`."""
        found = [self._as_narrow(x) for x in operands]
        for i, x in enumerate(operands):
            if broadcast(shape for _, shape in found) == dims:
                break
            found[i] = (self.value(x), self.dims(x))
        return [name for name, _ in found]

    def _as_narrow(self, node: Node) -> tuple[str, tuple[Dim, ...]]:
        if node in self._narrow:
            return self._narrow[node]
        return self.value(node), self.dims(node)

    def known(self, node: Node) -> NDArray[Any] | None:
        """Return a node's value where it is a constant, as it is held."""
        while node.op is ops.EXPAND:
            node = node.inputs[0]
        if node.op is ops.CONST:
            return self.constants[self.value(node)]
        return self.constants.get(self.names.get(node, ""))

    # -- constants ----------------------------------------------------------------------------
    def constant(self, value: NDArray[Any], dtype: DType, stem: str = "constant") -> str:
        """Return a constant's name; small equal ones are one."""
        key = (value.tobytes(), value.shape, dtype) if value.nbytes <= SHARED else None
        if key is not None and key in self._made:
            return self._made[key]
        name = self.fresh(stem)
        self.constants[name], self.types[name] = value, dtype
        if key is not None:
            self._made[key] = name
        return name

    def number(self, value: float, dtype: DType) -> str:
        """Return a constant of shape ()."""
        plain = np.array(value, np.float64 if dtype.kind == "float" else dtype.numpy)
        return self.constant(recast(plain, dt.float64, dtype), dtype)

    def ints(self, values: Sequence[int], stem: str = "numbers") -> str:
        """Return a constant int64 vector."""
        return self.constant(np.array(values, np.int64).reshape(len(values)), dt.int64, stem)

    # -- sizes at run time --------------------------------------------------------------------
    def size(self, dim: Dim) -> str:
        """Return a size as an int64 vector of one element."""
        if not isinstance(dim, Rows):
            return self.ints([dim])
        name = self._batch()
        if dim.times != 1:
            name = self._once("Mul", name, self.ints([dim.times]))
        return self._once("Add", name, self.ints([dim.plus])) if dim.plus else name

    def shape(self, dims: Sequence[Dim]) -> str:
        """Return sizes as an int64 vector."""
        if not any(isinstance(dim, Rows) for dim in dims):
            return self.ints([d for d in dims if isinstance(d, int)], "shape")
        parts: list[str] = []
        plain: list[int] = []
        for dim in (*dims, None):
            if isinstance(dim, int):
                plain.append(dim)
                continue
            parts += [self.ints(plain)] if plain else []
            plain = []
            parts += [] if dim is None else [self.size(dim)]
        return parts[0] if len(parts) == 1 else self._once("Concat", *parts, axis=0)

    def _batch(self) -> str:
        assert self.sizes.source is not None
        leaf, dim = self.sizes.source
        return self._once("Shape", self.names[leaf], start=dim, end=dim + 1)

    def _once(self, kind: str, *inputs: str, **attrs: Any) -> str:
        key = (kind, inputs, *attrs.items())
        if key not in self._made:
            self._made[key] = self.write(kind, inputs, dt.int64, **attrs)
        return self._made[key]

    # -- eight bits ---------------------------------------------------------------------------
    def rounded(self, name: str) -> str:
        """Append the pair that rounds the value being written to eight bits, if it is held so."""
        if self.rounding is None:
            return name
        scale, zero = self.parameters(self.rounding)
        stored = self.write("QuantizeLinear", [name, scale, zero], dt.int8)
        return self.write("DequantizeLinear", [stored, scale, zero], dt.float32)

    def parameters(self, scheme: Scheme) -> tuple[str, str]:
        """Return a scheme's scale and zero point."""
        shape = () if scheme.axis is None else (-1,)
        scale = np.asarray(scheme.scale, np.float32).reshape(shape)
        zero = np.asarray(scheme.zero_point).astype(np.int8).reshape(shape)
        return self.constant(scale, dt.float32, "scale"), self.constant(zero, dt.int8, "zero_point")

    # -- operations ---------------------------------------------------------------------------
    def write(self, kind: str, inputs: Sequence[str], dtype: DType, **attrs: Any) -> str:
        """Append an ONNX node as it is; return its result."""
        return self.several(kind, inputs, (dtype,), **attrs)[0]

    def several(
        self, kind: str, inputs: Sequence[str], dtypes: Sequence[DType], **attrs: Any
    ) -> list[str]:
        """Append an ONNX node with several results."""
        stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        made = [self.fresh(stem) for _ in dtypes]
        self.types.update(zip(made, dtypes, strict=True))
        self.nodes.append((kind, list(inputs), made, attrs))
        return made

    def op(
        self, kind: str, data: Sequence[str], more: Sequence[str] = (), *,
        before: Sequence[str] = (), out: DType | None = None, **attrs: Any,
    ) -> str:  # fmt: skip
        """Append an operation on values of one dtype, by way of a carrier where it needs one.

        Args:
            kind: The ONNX operation.
            data: Operands of one dtype.
            more: Operands after them, of other dtypes.
            before: Operands before them.
            out: The result's dtype, where it is not the operands'.
            attrs: Its attributes.

        Raises:
            Refused: ONNX Runtime has no kernel for the dtype, and nothing may stand in.
        """
        dtype = self.types[data[0]]
        held = self.carried(kind, dtype)
        inputs = [*before, *(self.cast(x, held) for x in data), *more]
        made = self.write(kind, inputs, out or held, **attrs)
        return made if out else self.cast(made, dtype)

    def carried(self, kind: str, dtype: DType) -> DType:
        """Return the dtype an operation is run in.

        Raises:
            Refused: There is none.
        """
        held = carrier(kind, dtype)
        if held is None:
            raise Refused(
                f"ONNX Runtime has no {kind} of {dtype.name}", "convert the model with .float()"
            )
        return held

    def cast(self, name: str, dtype: DType) -> str:
        """Return a value in another dtype."""
        come = self.types[name]
        if come is dtype:
            return name
        key = ("Cast", name, dtype)
        if key not in self._made:
            if name in self.constants:
                value = recast(self.constants[name], come, dtype)
                self._made[key] = self.constant(value, dtype, f"{name}_{dtype.text}")
            else:
                self._made[key] = self.write("Cast", [name], dtype, to=CODES[dtype])
        return self._made[key]
