"""The pass that works out what a target cannot: constants made in dtypes it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenor.compiler.simplify.passes import Rewriter
from tenor.ir import op as ops
from tenor.ir.node import Graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from tenor.ir.dtype import DType
    from tenor.ir.node import Node

__all__ = ["worked_out"]


def worked_out(
    graph: Graph, carried: AbstractSet[DType], run: Callable[..., list[NDArray[Any]]]
) -> tuple[Graph, list[NDArray[Any]]]:
    """Return the graph with some constants as new leaves after all others, and their values.

    They are what is made of literals alone by way of a dtype that is not carried, e.g. the float64
    counting inside `linspace`::

        %1 = iota length=5 dtype=f64;  %2 = mul (%1, 0.25);  %3 = cast (%2) dtype=f32
        ->   %1 = leaf f32[5]

    Args:
        graph: The graph.
        carried: The dtypes the target has.
        run: Interprets a graph, given its leaves and run-time numbers.
    """
    strange = _strange(graph, carried)
    readers = {i for n in graph.nodes if n not in strange for i in n.inputs} | {*graph.outputs}
    found = [n for n in graph.nodes if n in strange and n in readers and n.dtype in carried]
    if not found:
        return graph, []
    values = run(Graph(_under(found, graph), found), [], [])
    chosen = set(found)

    def rule(rewriter: Rewriter, node: Node) -> Node | None:
        if node not in chosen:
            return None
        return rewriter.add(ops.LEAF, (), (node.shape, node.dtype))

    given = set(graph.nodes)
    made = Rewriter(graph).run(rule)
    parameters = [n for n in made.nodes if n.op.family == "parameter"]
    new = [n for n in parameters if n not in given]
    old = [n for n in parameters if n not in new]
    rest = [n for n in made.nodes if n.op.family != "parameter"]
    return Graph([*old, *new, *rest], made.outputs, made.updates, made.codes), values


def _strange(graph: Graph, carried: AbstractSet[DType]) -> set[Node]:
    """Return what is made of no parameter, and of some value that is not carried."""
    fixed: set[Node] = set()
    strange: set[Node] = set()
    for node in graph.nodes:
        if node.op.family == "parameter" or any(i not in fixed for i in node.inputs):
            continue
        fixed.add(node)
        if node.dtype not in carried or any(i in strange for i in node.inputs):
            strange.add(node)
    return strange


def _under(roots: list[Node], graph: Graph) -> list[Node]:
    """Return what roots are made of, in the graph's order."""
    wanted = set(roots)
    kept = []
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]
