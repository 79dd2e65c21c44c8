"""A model for a page's WebGPU: the program as JSON, and its weights as one file.

`webgpu.js`, which lies beside this file, runs the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.schedule.memory import room_of
from tenor.compiler.shaders import shaders
from tenor.runtime.webgpu import narrowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tenor.export.source import Source
    from tenor.ir.shader import Slot

    Array = NDArray[Any]

__all__ = ["RUNTIME", "PagePart", "part_of"]

RUNTIME: Final = "webgpu.js"
"""The module that runs a part."""
ELSEWHERE: Final = ("i64", "f16", "bf16")
"""Dtypes that JavaScript has no plain arrays of: held as on the device."""


@dataclass(frozen=True)
class PagePart:
    """What a page needs besides the runtime.

    Attributes:
        program: The program, as what JSON can hold.
        weights: The weights, one after another; a weight of bytes takes a byte an element.
            Where the page has some of them anyway, the others alone.
        begins: The byte that these begin at, behind those that the page has.
    """

    program: dict[str, Any]
    weights: bytes
    begins: int = 0

    @staticmethod
    def runtime() -> str:
        """Return the text of the module that runs a part."""
        return (resources.files(__package__) / RUNTIME).read_text("utf-8")


def part_of(source: Source, laid: Mapping[str, int] | None = None) -> PagePart:
    """Return a model's WebGPU program and weights.

    Args:
        source: The model; best one that is folded.
        laid: The first byte of each weight that the page has anyway, by name.

    Raises:
        DTypeError: A value has a dtype that shaders cannot hold, or is an integer of more than 32
            bits.
        ArgumentError: An operation that no shader computes, or a value too large for a device.
    """
    program = shaders(source.graph, len(source.weights), source.where)
    program.inputs = _named(program.inputs, list(source.inputs))
    program.outputs = _named(program.outputs, list(source.outputs))
    constants = {f"constant.{n}": value for n, value in enumerate(program.values)}
    values, laid = {**source.weights, **constants}, laid or {}
    begins = max((room_of(at + values[name].nbytes) for name, at in laid.items()), default=0)
    slots, weights = _laid_out([*program.weights, *program.constants], values, laid, begins)
    program.weights, program.constants = slots, []
    return PagePart(program.data(), weights, begins)


def _named(slots: Sequence[Slot], names: Sequence[str]) -> list[Slot]:
    return [replace(slot, name=name) for slot, name in zip(slots, names, strict=True)]


def _laid_out(
    slots: Sequence[Slot], weights: dict[str, Array], laid: Mapping[str, int], at: int
) -> tuple[list[Slot], bytes]:
    """Return where each weight is, and those that do not lie anywhere as a file."""
    parts, placed = [], []
    for slot, (name, array) in zip(slots, weights.items(), strict=True):
        other = slot.dtype in ELSEWHERE
        if name in laid and not other:
            placed.append(replace(slot, name=name, at=laid[name], held=slot.dtype))
            continue
        held = narrowed(array, slot) if other else np.ascontiguousarray(array)
        text = slot.cell if other else slot.dtype
        placed.append(replace(slot, name=name, at=at, held=text))
        room = room_of(held.nbytes)
        parts.append(held.tobytes().ljust(room, b"\0"))
        at += room
    return placed, b"".join(parts)
