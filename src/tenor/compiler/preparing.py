"""What prepares weights, as one function for a machine that does it for itself.

`whole` leaves these launches to whoever exports. Where weights come in a form of their own, halved
or in eight bits, they are decoded and prepared where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenor.compiler.schedule.memory import bytes_of, room_of
from tenor.compiler.whole import STATUS
from tenor.ir import op as ops
from tenor.ir.loops import Function

if TYPE_CHECKING:
    from tenor.compiler.whole import Whole
    from tenor.ir.node import Graph

__all__ = ["Preparing", "preparing"]

PARAMS = (("weights", "ptr"), ("workspace", "ptr"))


@dataclass(frozen=True)
class Preparing:
    """`prepare(weights, workspace)`: packs weights into the place where `run` reads them.

    Attributes:
        function: It.
        places: Where each leaf lies that is read: those of the whole, and others behind them.
        nbytes: Bytes of all these.
        workspace: Bytes that it works in, at a multiple of 64.
    """

    function: Function
    places: dict[int, int]
    nbytes: int
    workspace: int


def preparing(made: Whole, graph: Graph) -> Preparing | None:
    """Return what prepares a whole's weights; None where none are.

    Args:
        made: The whole.
        graph: What it was made of.
    """
    program, count = made.program, made.program.preparations
    if not count:
        return None
    places, end = _places(made, graph)
    launches = program.launches[:count]
    width = made.target.pointer_bytes
    table_bytes = width * max(len(launch.pointers) for launch in launches)
    behind = room_of(STATUS + table_bytes)
    function = Function("prepare", PARAMS, exported=True)
    function.calls_kernels = True
    weights, workspace = function.params
    table = function.gep(workspace, STATUS, "i8")
    scratch = function.gep(workspace, behind, "i8")
    for i, launch in enumerate(launches):
        for k, p in enumerate(launch.pointers):
            at = made.kept + p.at if p.space == "kept" else places[p.at]
            function.store(function.gep(weights, at + p.offset, "i8"), table, k)
        tiles = function.const(program.shapes[launch.kernel][0], "i64")
        args = (table, function.const(0, "i64"), tiles, scratch, workspace)
        function.call(made.kernels[i], args, f"k{i}")
    most = max(program.shapes[launch.kernel][1] for launch in launches)
    return Preparing(function, places, end, behind + most)


def _places(made: Whole, graph: Graph) -> tuple[dict[int, int], int]:
    """Place what is only read here behind the weights; return all places and where they end."""
    leaves = [node for node in graph.nodes if node.op is ops.LEAF]
    places, at = dict(made.places), made.nbytes
    for launch in made.program.launches[: made.program.preparations]:
        for p in launch.pointers:
            if p.space == "input" and p.at not in places:
                places[p.at] = at
                node = leaves[p.at]
                at += room_of(bytes_of(node))
    return places, at
