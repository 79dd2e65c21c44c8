"""The legality rules of a graph, as data: what each compiler stage may rely on.

A rule is a name, its meaning and a function that yields the nodes that break it. `verify` runs
the rules of one stage; the text parser runs the node rules on what it reads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.errors import CompileError
from tenor.ir.dtype import DType, bool_, int64
from tenor.ir.infer import infer
from tenor.ir.node import Node, size
from tenor.ir.op import CONV, OPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tenor.ir.node import Graph

__all__ = ["MAX_EXTENT", "STAGES", "GraphRule", "NodeRule", "node_problems", "verify"]

MAX_EXTENT: Final = 2**48
"""Extents and element counts stay below this, so that byte offsets fit 64 bits."""


class NodeRule(NamedTuple):
    """A rule about one node: `check` returns what is wrong, or None."""

    name: str
    meaning: str
    check: Callable[[Node], str | None]


class GraphRule(NamedTuple):
    """A rule about the whole: `check` yields (node number, what is wrong)."""

    name: str
    meaning: str
    check: Callable[[Graph], Iterator[tuple[int, str]]]


# -- attributes: what each may be -------------------------------------------------------------
def _integer(value: Any, low: int = 0, high: int = MAX_EXTENT) -> bool:
    return type(value) is int and low <= value < high


def _integers(value: Any, low: int = 0, high: int = MAX_EXTENT) -> bool:
    return type(value) is tuple and all(_integer(v, low, high) for v in value)


def _shape(value: Any) -> bool:
    return _integers(value) and size(value) < MAX_EXTENT


def _positives(value: Any) -> bool:
    return _integers(value, 1)


def _ascending(value: Any) -> bool:
    return _integers(value) and all(a < b for a, b in pairwise(value))


def _steps(value: Any) -> bool:
    return _integers(value, 1 - MAX_EXTENT) and 0 not in value


def _pairs(value: Any) -> bool:
    return type(value) is tuple and all(_integers(v) and len(v) == 2 for v in value)


def _number(value: Any) -> bool:
    return type(value) in (bool, float) or _integer(value, -(2**63), 2**64)


def _positive(value: Any) -> bool:
    return _integer(value, 1)


def _signed_byte(value: Any) -> bool:
    return _integer(value, -128, 128)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _dtype(value: Any) -> bool:
    return isinstance(value, DType)


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: value in names


KINDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "shape": ("extents", _shape),
    "dtype": ("a dtype", _dtype),
    "value": ("a number", _number),
    "length": ("an extent", _integer),
    "size": ("an extent", _integer),
    "what": ('"index", "place", "row" or "label"', _one_of("index", "place", "row", "label")),
    "dim": ("a dim", _integer),
    "dims": ("ascending dims", _ascending),
    "permute.dims": ("dims", _integers),
    "ties": ('"even" or "first"', _one_of("even", "first")),
    "mode": ('"set" or "add"', _one_of("set", "add")),
    "starts": ("positions", _integers),
    "sizes": ("extents", _shape),
    "steps": ("non-zero integers", _steps),
    "low": ("extents", _integers),
    "high": ("extents", _integers),
    "step": ("a positive integer", _positive),
    "dilation": ("a positive integer", _positive),
    "stride": ("positive integers", _positives),
    "conv.dilation": ("positive integers", _positives),
    "conv_input.dilation": ("positive integers", _positives),
    "conv_weight.dilation": ("positive integers", _positives),
    "padding": ("pairs of extents", _pairs),
    "groups": ("a positive integer", _positive),
    "reverse": ("a bool", _flag),
    "descending": ("a bool", _flag),
    "k": ("a positive integer", _positive),
    "index": ("an integer", _integer),
    "causal": ("a bool", _flag),
    "scale": ("a number", _number),
    "conv_int8.dilation": ("positive integers", _positives),
    "fill": ("an integer in [-128, 127]", _signed_byte),
    "zero_point": ("an integer in [-128, 127]", _signed_byte),
    "quantize.low": ("an integer in [-128, 127]", _signed_byte),
    "quantize.high": ("an integer in [-128, 127]", _signed_byte),
}
"""Attribute, or op.attribute where an op differs -> (what it must be, whether a value is that)."""

PER_DIM: Final = {
    "slice": ("starts", "sizes", "steps"), "slice_update": ("starts", "steps"),
    "pad": ("low", "high"), "conv": ("stride", "padding", "dilation"),
    "conv_int8": ("stride", "padding", "dilation"),
    "conv_input": ("stride", "padding", "dilation"),
    "conv_weight": ("stride", "padding", "dilation"),
}  # fmt: skip
"""Attributes with one entry for each dim (of a convolution: each spatial dim) of input 0."""


def _known(node: Node) -> str | None:
    return None if OPS.get(node.op.name) is node.op else f"{node.op.name} is not a primitive"


def _arity(node: Node) -> str | None:
    count, given = node.op.arity, len(node.inputs)
    if count >= 0 and given != count:
        return f"takes {count} inputs, has {given}"
    return "takes at least one input" if count < 0 and not given else None


def _attributes(node: Node) -> str | None:
    names = node.op.attrs
    if len(names) != len(node.attrs):
        return f"has attributes {names}, was given {len(node.attrs)}"
    for name, value in zip(names, node.attrs, strict=True):
        wanted, fits = KINDS.get(f"{node.op.name}.{name}") or KINDS[name]
        if not fits(value):
            return f"{name} must be {wanted}, is {value!r}"
    return None


def _per_dim(node: Node) -> str | None:
    names = PER_DIM.get(node.op.name, ())
    if not names:
        return None
    spatial = 2 if node.op.family == "contraction" else 0
    wanted = len(node.inputs[0].shape) - spatial
    for name in names:
        if len(node.attr(name)) != wanted:
            return f"{name} must have {wanted} entries, has {len(node.attr(name))}"
    return None


# -- operands: what inference takes for granted -----------------------------------------------
def _one_dtype(node: Node) -> str | None:
    dtypes = {x.dtype.name for x in node.inputs}
    return None if len(dtypes) == 1 else f"inputs must have one dtype, have {sorted(dtypes)}"


def _two_integers(node: Node) -> str | None:
    fits = all(x.shape == () and x.dtype is int64 for x in node.inputs)
    return None if fits else "seed and offset must be int64 scalars"


def _value_fits(node: Node) -> str | None:
    """Refuse an integer or bool constant that its dtype does not hold."""
    value, dtype = node.attr("value"), node.dtype
    if dtype.kind == "float":
        return None
    bits = 1 if dtype is bool_ else dtype.itemsize * 8 - (dtype.kind == "int")
    low = -(2**bits) if dtype.kind == "int" else 0
    if type(value) is float:
        return f"{dtype.name} does not hold the float {value!r}"
    return None if low <= value < 2**bits else f"{dtype.name} does not hold {value!r}"


def _windows_fit(node: Node) -> str | None:
    x, dim = node.inputs[0], node.attr("dim")
    return None if dim < len(x.shape) - 1 else f"dim {dim} of shape {x.shape} has no windows"


def _adjoint(node: Node) -> str | None:
    """Check that a convolution of the shapes written would give the cotangent's shape."""
    first, second = node.inputs
    stand_in = Node(CONV, (), (), node.attr("shape"), first.dtype)
    operands = (stand_in, second) if node.op.name == "conv_input" else (first, stand_in)
    cotangent = first if node.op.name == "conv_input" else second
    shape, _ = infer(CONV, operands, node.attrs[1:])
    if second.dtype is not first.dtype:
        return _one_dtype(node)
    return None if shape == cotangent.shape else f"g must have shape {shape}, has {cotangent.shape}"


OPERANDS: Final[dict[str, Callable[[Node], str | None]]] = {
    "random_bits": _two_integers, "const": _value_fits, "pad": _value_fits, "fold": _windows_fit,
    "concat": _one_dtype, "slice_update": _one_dtype,
    "conv_input": _adjoint, "conv_weight": _adjoint,
}  # fmt: skip


def _operands(node: Node) -> str | None:
    check = OPERANDS.get(node.op.name)
    try:
        return check(node) if check else None
    except (ValueError, TypeError, IndexError) as error:
        return str(error).partition("\n")[0]


def _inferred(node: Node) -> str | None:
    try:
        shape, dtype = infer(node.op, node.inputs, node.attrs)
    except (ValueError, TypeError, IndexError) as error:  # Tenor's refusals are these as well
        return str(error).partition("\n")[0]
    if (shape, dtype) != (node.shape, node.dtype):
        return f"inference gives {dtype.text}{list(shape)}, the node says {node!r}"
    return None if _shape(shape) else f"{list(shape)} holds too many elements"


NODE_RULES: Final = (
    NodeRule("known", "the op is a row of OPS", _known),
    NodeRule("arity", "as many inputs as the op takes", _arity),
    NodeRule("attributes", "each attribute is of its kind", _attributes),
    NodeRule("per-dim", "per-dim attributes have an entry for each dim", _per_dim),
    NodeRule("operands", "inputs and attributes agree", _operands),
    NodeRule("inferred", "shape and dtype are what inference gives", _inferred),
)


def node_problems(node: Node) -> Iterator[tuple[str, str]]:
    """Yield (rule, what is wrong) for a node; later rules rely on earlier ones, so one at most."""
    for rule in NODE_RULES:
        problem = rule.check(node)
        if problem:
            yield rule.name, problem
            return


# -- the whole graph --------------------------------------------------------------------------
def _order(graph: Graph) -> Iterator[tuple[int, str]]:
    seen: set[Node] = set()
    for i, node in enumerate(graph.nodes):
        if node in seen:
            yield i, "stands twice"
        for k, x in enumerate(node.inputs):
            if x not in seen:
                yield i, f"input {k}, {x!r}, does not stand before it"
        seen.add(node)


def _nodes(graph: Graph) -> Iterator[tuple[int, str]]:
    for i, node in enumerate(graph.nodes):
        for name, problem in node_problems(node):
            yield i, f"[{name}] {problem}"


def _outputs(graph: Graph) -> Iterator[tuple[int, str]]:
    known = set(graph.nodes)
    for k, node in enumerate(graph.outputs):
        if node not in known:
            yield -1, f"output {k}, {node!r}, is not in the graph"


def _updates(graph: Graph) -> Iterator[tuple[int, str]]:
    numbers = {node: i for i, node in enumerate(graph.nodes)}
    taken: set[object] = set()
    for leaf, k in graph.updates:
        at = numbers.get(leaf, -1)
        if at < 0 or leaf.op.name != "leaf":
            yield at, f"{leaf!r} is updated but is no leaf of the graph"
        elif not 0 <= k < len(graph.outputs):
            yield at, f"updated from output {k} of {len(graph.outputs)}"
        elif (leaf.shape, leaf.dtype) != (graph.outputs[k].shape, graph.outputs[k].dtype):
            yield at, f"updated from output {k}, {graph.outputs[k]!r}, which does not fit"
        elif leaf in taken or k in taken:
            yield at, f"the leaf or output {k} is in two updates"
        taken |= {leaf, k}


def _reachable(graph: Graph) -> Iterator[tuple[int, str]]:
    live = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node in live:
            live.update(node.inputs)
    for i, node in enumerate(graph.nodes):
        if node not in live and node.op.family != "parameter":
            yield i, "no output needs it"


GRAPH: Final = (
    GraphRule("order", "each node stands once, after its inputs", _order),
    GraphRule("nodes", "every node obeys the node rules", _nodes),
    GraphRule("outputs", "outputs are nodes of the graph", _outputs),
    GraphRule("updates", "an update writes a fitting output over a leaf", _updates),
)
STAGES: Final[dict[str, tuple[GraphRule, ...]]] = {
    "read": GRAPH[2:],
    "graph": GRAPH,
    "pruned": (*GRAPH, GraphRule("reachable", "no dead nodes but parameters", _reachable)),
}
"""Stage -> what a graph of that stage obeys.

"graph" is what is recorded and what rewrites keep; "pruned" is what scheduling is given; "read"
is what remains to be said of a graph whose nodes the parser has held to the node rules.
"""


def verify(graph: Graph, stage: str = "graph") -> Graph:
    """Return the graph unchanged if it obeys the stage's rules.

    Raises:
        CompileError: a rule is broken; names the rule and the nodes.
    """
    for rule in STAGES[stage]:
        problems = list(_described(graph, rule.check(graph)))
        if problems:
            raise CompileError(
                f"verify: stage {stage!r}, rule {rule.name!r}: {rule.meaning}.",
                came=problems[:8],
                fix="this is a mistake of the pass that made the graph; please report it",
            )
    return graph


def _described(graph: Graph, problems: Iterable[tuple[int, str]]) -> Iterator[str]:
    for i, problem in problems:
        yield f"%{i} = {graph.nodes[i]!r}: {problem}" if i >= 0 else problem
