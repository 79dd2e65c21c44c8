"""A program of shaders: text, how many workgroups of each, and which bytes each is given.

It names no API and holds no address: a runtime in Python and one in JavaScript read the same JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.ir.dtype import DType

__all__ = ["BINDINGS", "Check", "Dispatch", "Range", "Shader", "ShaderProgram", "Slot", "Wire",
           "cell"]  # fmt: skip

BINDINGS: Final = 8
"""Storage buffers a stage may have on every device."""


def cell(dtype: DType) -> str:
    """Return what one element is on the device, always four bytes: "f32", "i32" or "u32"."""
    return {"float": "f32", "int": "i32", "uint": "u32", "bool": "u32"}[dtype.kind]


@dataclass(frozen=True, slots=True)
class Wire:
    """Where a kernel's argument is in its shader.

    Attributes:
        binding: The binding's number.
        cell: What the binding is an array of.
        base: The element of it the argument begins at.
    """

    binding: int
    cell: str
    base: int = 0


@dataclass(frozen=True, slots=True)
class Shader:
    """A compute shader, whose entry is `main`.

    Attributes:
        text: The text.
        access: For each binding of group 0 "read" or "write"; a writer may read as well.
    """

    text: str
    access: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a buffer: what a binding is given."""

    buffer: str
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One launch: the shader's number, how many workgroups, and a range for each binding."""

    shader: int
    groups: tuple[int, int, int]
    ranges: tuple[Range, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor on the device, each element in four bytes.

    Attributes:
        name: Its name; "" where nobody asks.
        dtype: The dtype outside, e.g. "i64", which is carried as i32.
        cell: What an element is on the device.
        shape: The shape.
        buffer, offset: Where it lies, in bytes.
        at: Of a weight in a file: its first byte there.
        held: The dtype it has in that file.
    """

    name: str
    dtype: str
    cell: str
    shape: tuple[int, ...]
    buffer: str
    offset: int
    at: int = 0
    held: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """An index that is checked while the program runs.

    The k-th check has the words 2k and 2k + 1 of the buffer "status": 1 after an index out of
    range, and one of those indices.

    Attributes:
        code: The status code, as the graph numbers it.
        what: What kind of index: see `wrap_index`.
        size: The extent it has to lie in.
    """

    code: int
    what: str
    size: int


@dataclass
class ShaderProgram:
    """Everything needed to run a graph on a device.

    Attributes:
        shaders: Distinct shaders.
        prepared: Launches that are good until a weight changes; first of all.
        dispatches: The launches of a run, in order; a launch may rely on all earlier ones.
        buffers: Bytes of each buffer, by name: "input0", "weights0", "output0" and on, "arena",
            "kept" (what is prepared), "status".
        inputs, weights, constants, outputs: Where each tensor lies.
        values: The constants themselves.
        checks: The indices that are checked.
    """

    shaders: list[Shader] = field(default_factory=list)
    prepared: list[Dispatch] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    inputs: list[Slot] = field(default_factory=list)
    weights: list[Slot] = field(default_factory=list)
    constants: list[Slot] = field(default_factory=list)
    outputs: list[Slot] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    values: list[NDArray[Any]] = field(default_factory=list, compare=False, repr=False)

    @property
    def largest(self) -> int:
        """The bytes of the largest range a shader is given."""
        every = [*self.prepared, *self.dispatches]
        return max((r.bytes for d in every for r in d.ranges), default=0)

    def data(self) -> dict[str, Any]:
        """Return the program as what JSON can hold; constants become weights, after all others."""
        made = asdict(replace(self, values=[]))
        del made["values"]
        made["weights"] += made.pop("constants")
        return {"version": 1, "largest": self.largest, **made}
