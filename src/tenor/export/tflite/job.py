"""One layer on its way to operators: which form it is worked out in, and its operands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tenor.export.tflite.writer import Value, Writer, moved, refused, to_last
from tenor.ir import dtype as dt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.export.patterns import Layer
    from tenor.export.quantize.record import Scheme
    from tenor.ir.dtype import DType
    from tenor.ir.node import Node

__all__ = ["FLOAT", "MANY", "NUMBERS", "Job", "Row", "done"]

FLOAT = (dt.float32,)
NUMBERS = (dt.float32, dt.int32, dt.int64)
MANY = (*NUMBERS, dt.bool_, dt.int8, dt.uint8, dt.int16, dt.uint32)


class Row(NamedTuple):
    """How a kind of layer is written.

    Attributes:
        write: From a job to the layer's value, in the job's form.
        dtypes: What the operand `data` may be.
        layout: "plain"; "last"; or "follow", in whichever the operands are there.
        eight: How it is done in eight bits. "": not; "own": any scheme in and out; "weights": so,
            where the second operand is known; "same": the result has the operand's scheme;
            "joint": the operands are brought to the result's; "table": a known operand is held by
            the result's scheme; a Scheme: the result has that one.
        data: Which operand is looked at.
    """

    write: Callable[[Job], Value]
    dtypes: tuple[DType, ...] = FLOAT
    layout: str = "plain"
    eight: str | Scheme | Callable[[Layer], str] = ""
    data: int = 0


class Job:
    """A layer being written.

    Attributes:
        writer: What it is written to.
        layer: The layer.
        last: Whether it is worked out channels last.
        eight: Whether it is worked out in eight bits.
        scheme: The result's scheme, if so.
    """

    def __init__(self, writer: Writer, layer: Layer, row: Row) -> None:
        self.writer, self.layer, self.row = writer, layer, row
        self.node = layer.output
        self.rank = len(self.node.shape)
        self.last = row.layout == "last" or (row.layout == "follow" and self._follows())
        self.scheme = self._scheme()
        self.eight = self.scheme is not None

    def _follows(self) -> bool:
        sized = [x for x in self.layer.inputs if len(x.shape) == self.rank]
        return self.rank > 2 and any(self.writer.only_last(x) for x in sized)

    def _scheme(self) -> Scheme | None:
        """Return the scheme of a result in eight bits; None where it is to be real."""
        writer, row, inputs = self.writer, self.row, self.layer.inputs
        rule = row.eight(self.layer) if callable(row.eight) else row.eight
        real = [x for x in inputs if x.dtype is dt.float32 and writer.known(x) is None]
        if rule == "table" and writer.known(inputs[0]) is not None:
            return writer.schemes.get(self.node)
        if not writer.schemes or not rule or not real or self._endless():
            return None
        if rule in ("same", "table"):
            return writer.in_eight(real[0])
        if rule == "weights" and (writer.known(inputs[1]) is None or self.rank > 4):
            return None
        if not all(x in writer.schemes or writer.in_eight(x) for x in real):
            return None
        asked = writer.schemes.get(self.node)
        if isinstance(rule, str) or asked is None:
            return asked
        return rule if lowest(rule) <= lowest(asked) + float(asked.scale.max()) else None

    def _endless(self) -> bool:
        """Tell whether a known operand is infinite somewhere, as masks are."""
        known = [self.writer.known(x) for x in self.layer.inputs]
        return any(a is not None and not np.all(np.isfinite(a)) for a in known)

    # -- operands ---------------------------------------------------------------------------
    def x(self, at: int = 0) -> Value:
        """Return an operand of the result's rank in the job's form."""
        return self.writer.get(self.layer.inputs[at], last=self.last, eight=self.eight)

    def operand(self, at: int) -> Value:
        """Return an operand of an elementwise operation, lined up with the result's dims."""
        node, writer = self.layer.inputs[at], self.writer
        eight = self.eight and node.dtype is dt.float32
        ahead = self.rank - len(node.shape)
        if not self.last or ahead == 0 or int(np.prod(node.shape)) == 1:
            return writer.get(node, last=self.last, eight=eight)
        shape = (*(1,) * ahead, *node.shape)
        array = writer.known(node)
        if array is not None:
            turned = array.reshape(shape).transpose(to_last(self.rank))
            return writer.number(turned, node.dtype, eight=eight)
        return writer.transpose(writer.reshape(writer.get(node, eight=eight), shape),
                                to_last(self.rank))  # fmt: skip

    def operands(self) -> list[Value]:
        """Return every operand of an elementwise operation."""
        return [self.operand(i) for i in range(len(self.layer.inputs))]

    # -- the form ---------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape in the job's layout."""
        return moved(self.node.shape, last=self.last)

    def dim(self, d: int, rank: int | None = None) -> int:
        """Return where a dim stands in the job's layout."""
        rank = rank or self.rank
        return to_last(rank).index(d) if self.last else d

    def along(self, items: Sequence[Any]) -> tuple[Any, ...]:
        """Return one item a dim in the order of the job's layout."""
        return moved(items, last=self.last)

    def attr(self, name: str) -> Any:
        """Return an attribute of the layer."""
        return self.layer.attrs[name]

    @property
    def activation(self) -> str:
        """What is done to the result."""
        return str(self.layer.attrs.get("activation", ""))

    def out(self, name: str, inputs: Sequence[Value], **options: Any) -> Value:
        """Add the operator that gives the layer's value."""
        dtype = dt.int8 if self.eight else self.node.dtype
        return self.writer.op(name, inputs, self.shape, dtype, self.scheme, **options)

    def part(
        self, name: str, inputs: Sequence[Value], shape: Sequence[int], **options: Any
    ) -> Value:
        """Add an operator on the way: its result has the first operand's dtype and scheme."""
        return self.writer.op(name, inputs, shape, scheme=inputs[0].scheme, **options)

    def refuse(self, why: str, instead: str) -> Exception:
        """Return the error for a layer that cannot be written."""
        return refused(self.writer.source, self.node, why, instead)


def lowest(scheme: Scheme) -> float:
    """Return the lowest number a scheme can hold."""
    return float((-128 - scheme.zero_point.min()) * scheme.scale.max())


def done(writer: Writer, layer: Layer, row: Row) -> None:
    """Write a layer.

    Raises:
        ExportError: Its dtype, or something particular about it, cannot be written.
    """
    looked: Node = layer.inputs[row.data] if layer.inputs else layer.output
    if looked.dtype not in row.dtypes:
        known = ", ".join(d.name for d in row.dtypes)
        raise refused(writer.source, looked, f"a .tflite file has {layer.kind} for {known}.",
                      f"convert with .to() before; this one is {looked.dtype.name}")  # fmt: skip
    job = Job(writer, layer, row)
    value = row.write(job)
    writer.bind(layer.output, value, last=job.last)
