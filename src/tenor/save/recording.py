"""What a function computes, as a graph over named inputs and weights."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.engine.flush import graph_of
from tenor.engine.handle import Handle
from tenor.engine.trace import local, refuse_observation, state_of
from tenor.errors import ArgumentError, ObservationError
from tenor.ir import dtype as dt
from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node
from tenor.tensor.modes import no_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tenor.engine.trace import Trace
    from tenor.tensor import Tensor

__all__ = ["Recording", "named", "record"]

TAPE: Final = (ops.DETACH, ops.VARIABLE, ops.FUNCTION)
NARROW: Final = (dt.float16, dt.bfloat16)


@dataclass
class Recording:
    """A function as a graph.

    Attributes:
        graph: Its leaves are the inputs, then `state`; it has no run-time numbers.
        outputs: The names of its outputs.
        state: The tensors it reads beside its inputs, by name.
    """

    graph: Graph
    outputs: list[str]
    state: dict[str, Handle]


def record(
    function: Callable[..., Any], inputs: Sequence[Tensor], names: Mapping[int, str], what: str
) -> Recording:
    """Record a call; its outputs are not computed.

    Args:
        function: Takes the inputs; returns a tensor, or a nest of them.
        inputs: Concrete tensors.
        names: The names of known weights, by id; others are called `_constant.0` and so on.
        what: The name of the function in errors.

    Raises:
        ArgumentError: It draws random numbers, writes weights, or returns something else.
        ObservationError: It reads a value.
    """
    refuse_observation("save()")
    local.flush()
    _forget(local.trace)  # tensors may have been entered and nothing done with them
    trace = local.trace
    try:
        with no_grad(), _unobserved(what):
            outputs = named(function(*inputs), what)
            ends = [state_of(handle) for handle in outputs.values()]
        _check(trace, inputs, what)
        made = _recording(trace, inputs, names, list(outputs), ends)
    except BaseException:
        _forget(trace)
        raise
    del outputs, ends
    local.flush()  # computes only what the model itself has kept hold of
    return made


def named(result: Any, what: str) -> dict[str, Tensor]:
    """Return the tensors of a nest by name: `output`, `output_0`, or a dict's keys.

    Raises:
        ArgumentError: There is something else in it, or nothing, or two are named alike.
    """
    pairs = list(_flattened(result, what, "output"))
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ArgumentError(
            f"save: the outputs of {what} have different names.",
            came=", ".join(name for name, _ in pairs),
            fix="return a dict with a key of its own for each",
        )
    return found


def _flattened(result: Any, what: str, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(result, Handle):
        yield name, result  # type: ignore[misc]
    elif isinstance(result, dict) and result:
        prefix = "" if name == "output" else f"{name}."
        for key, value in result.items():
            yield from _flattened(value, what, f"{prefix}{key}")
    elif isinstance(result, (tuple, list)) and result:
        for i, value in enumerate(result):
            if value is not None:
                yield from _flattened(value, what, f"{name}_{i}")
    else:
        raise ArgumentError(
            f"save: {what} must return a tensor, or a tuple, list or dict of them.",
            came=f"{type(result).__name__}" if result or result == 0 else "nothing",
            fix="return tensors only",
        )


@contextlib.contextmanager
def _unobserved(what: str) -> Iterator[None]:
    local.guards, before = [], local.pinning
    local.pinning = what
    try:
        yield
    except ObservationError as error:
        raise ObservationError(
            f"save: {what} must not read values: what it does is to depend on shapes alone.",
            came=error.came,
            fix="use tn.where for choices that depend on values, and keep print() outside",
            where=error.where,
        ) from None
    finally:
        local.pinning = before


def _check(trace: Trace, inputs: Sequence[Handle], what: str) -> None:
    given = {id(handle) for handle in inputs}
    if any(id(h) in trace.rebound and id(h) not in given for h in trace.owners):
        raise ArgumentError(
            f"save: {what} must leave the model as it is.",
            came="a parameter or buffer is written",
            fix="write it in training mode only; save() records in evaluation mode",
        )


def _forget(trace: Trace) -> None:
    """Leave the trace without running it; tensors it entered are what they were before."""
    trace.rebound.clear()
    trace.outs.clear()
    trace.done = True
    local.trace = type(trace)(trace.grad)


def _recording(
    trace: Trace,
    inputs: Sequence[Handle],
    names: Mapping[int, str],
    outputs: list[str],
    ends: list[Any],
) -> Recording:
    graph = graph_of(trace.state, ends)
    entered = dict(zip((n for n in graph.nodes if n.op is ops.LEAF), trace.owners, strict=True))
    scalars = iter(trace.scalars)
    given = {id(handle): handle for handle in inputs}
    leaves = {key: _leaf(handle) for key, handle in given.items()}
    state: dict[str, Handle] = {}
    new: dict[Node, Node] = {}
    nodes: list[Node] = []
    wanted = _needed(graph)
    for node in graph.nodes:
        if node.op is ops.LEAF:
            handle = entered[node]
            if id(handle) not in given and node in wanted:
                state[names.get(id(handle), f"_constant.{len(state)}")] = handle
                leaves[id(handle)] = Node(ops.LEAF, (), node.attrs, node.shape, node.dtype)
            new[node] = leaves.get(id(handle), node)
        elif node.op is ops.SCALAR:
            made = _number(next(scalars), node)
            nodes += made if node in wanted else []
            new[node] = made[-1]
        elif node.op in TAPE:
            new[node] = new[node.inputs[0]]
        else:
            if node.op is ops.RANDOM_BITS:
                raise ArgumentError(
                    "save: the same inputs must give the same outputs.",
                    came="the model draws random numbers in evaluation mode",
                    fix="draw them outside and pass them as an input",
                )
            inner = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, inner, node.attrs, node.shape, node.dtype)
            nodes.append(new[node])
    made_graph = Graph([*leaves.values(), *nodes], [new[end] for end in ends])
    return Recording(made_graph, outputs, state)


def _needed(graph: Graph) -> set[Node]:
    wanted = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.inputs)
    return wanted


def _leaf(handle: Handle) -> Node:
    meta = handle.meta
    assert meta is not None
    return Node(ops.LEAF, (), (meta.shape, meta.dtype), meta.shape, meta.dtype)


def _number(value: Any, node: Node) -> list[Node]:
    """Return constants that are exactly what a kernel makes of a run-time number."""
    dtype = node.dtype
    if dtype in NARROW:
        wide = Node(ops.CONST, (), (float(value), dt.float64), (), dt.float64)
        return [wide, Node(ops.CAST, (wide,), (dtype,), *infer(ops.CAST, (wide,), (dtype,)))]
    if dtype is dt.float32:
        with np.errstate(over="ignore"):
            value = np.float32(value)
    kind = {"float": float, "bool": bool}.get(dtype.kind, int)
    return [Node(ops.CONST, (), (kind(value), dtype), (), dtype)]
