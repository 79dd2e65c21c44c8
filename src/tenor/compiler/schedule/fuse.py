"""Which nodes share a kernel, and which are stored.

A node is either *stored* (it has a buffer) or *inlined* (each kernel that needs it computes it
again, which costs less than memory). Stored nodes with one domain join one kernel where no path
leads out of it and back; inside, values pass in registers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import NotAffine, identity, linear
from tenor.compiler.schedule.contract import TEMPLATES
from tenor.compiler.schedule.expression import Expressions
from tenor.compiler.schedule.layout import lies_across
from tenor.compiler.schedule.operand import awaited, operand_nodes, unshaped
from tenor.ir import op as ops
from tenor.ir.kernel import Affine, Kernel
from tenor.ir.node import Graph, Node, Shape, size
from tenor.ir.symbolic import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

__all__ = ["Group", "Schedule", "fuse"]

# Of a quantised value the bytes are stored: a quarter of what it is made of.
ALWAYS_STORED: Final = frozenset((ops.CONCAT, ops.SLICE_UPDATE, ops.RANDOM_BITS, ops.QUANTIZE))
IN_PIECES: Final = frozenset((ops.CONCAT, ops.SLICE_UPDATE))
"""Written by several items: no item's own index says that the value there is final."""
POSITIONS: Final = frozenset((ops.ARGMAX, ops.ARGMIN))
COSTLY: Final = frozenset(
    [
        "exp",
        "expm1",
        "log",
        "log1p",
        "sin",
        "cos",
        "tanh",
        "erf",
        "sigmoid",
        "pow",
        "div",
        "sqrt",
        "rsqrt",
        "floordiv",
        "mod",
    ]
)
RECOMPUTE: Final = 6  # inline cost up to which a value with several readers is computed again
DEEP: Final = 96  # inlined operations in a row after which one is stored
WIDE: Final = 512  # operations a kernel holds at most


@dataclass
class Item:
    """One thing a kernel stores: `source` at each index of `domain`, into `node`'s buffer.

    Of a reduction, `dims` of the domain are reduced.
    """

    node: Node
    source: Node
    domain: Shape
    affine: Affine
    dims: tuple[int, ...] = ()
    reads: dict[Node, bool] = field(default_factory=dict)


@dataclass(eq=False)
class Group:
    """A kernel in the making: items over one domain, or one template."""

    kind: str
    domain: Shape
    reduce_dims: tuple[int, ...] = ()
    items: list[Item] = field(default_factory=list)
    level: int = 0
    weight: int = 0
    order: int = 0
    reads: dict[Node, bool] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        """The nodes stored here."""
        return [item.node for item in self.items]


@dataclass
class Schedule:
    """Kernels in order, and what stands behind each of their pointers.

    Attributes:
        kernels: The kernels.
        values: For each kernel the node behind each of its buffers.
        labels: For each kernel the names of what it computes.
        graph: What is computed.
        stored: Every node that has a buffer, parameters left out.
        donated: Output number -> the leaf whose buffer it is written to.
        hosts: Node -> the concatenation it is computed into, and the element it begins at.
        kept: What the first kernels make, one each, from leaves alone: it outlives a run.
    """

    kernels: list[Kernel]
    values: list[list[Node]]
    labels: list[str]
    graph: Graph
    stored: list[Node]
    donated: dict[int, Node] = field(default_factory=dict)
    hosts: dict[Node, tuple[Node, int]] = field(default_factory=dict)
    kept: list[Node] = field(default_factory=list)

    def home(self, node: Node) -> tuple[Node, int]:
        """Return the value whose bytes a node's are a part of, and the element it begins at."""
        at = 0
        while node in self.hosts:
            node, start = self.hosts[node]
            at += start
        return node, at

    def homes(self, nodes: Iterable[Node]) -> set[Node]:
        """Return the values whose bytes these are parts of."""
        return {self.home(node)[0] for node in nodes}

    def alone(self) -> set[Node]:
        """Return what one kernel makes and one other reads, and nobody else sees."""
        outside = {*self.graph.outputs, *self.hosts}
        users = Counter(node for nodes in self.values for node in set(nodes))
        return {n for n, count in users.items() if count == 2 and n not in outside}


def fuse(graph: Graph, *, join: bool = True) -> Schedule:
    """Return the graph as kernels.

    Args:
        graph: The graph, without tape operations.
        join: Whether stored nodes may share kernels; without, each has its own.
    """
    plan = Fusion(graph, join)
    while True:
        try:
            return plan.schedule()
        except NotAffine as need:
            plan.stored.add(need.node)


class Fusion:
    """The state of the search for a schedule."""

    def __init__(self, graph: Graph, join: bool) -> None:
        self.graph = graph
        self.join = join
        self.readers = _readers(graph)
        self.stored: set[Node] = set()
        self.hosts: dict[Node, tuple[Node, int]] = {}
        self._mark()
        self._settle()

    # -- what is stored -----------------------------------------------------------------------
    def _mark(self) -> None:
        """Mark what has to be stored, and what is better stored than computed twice."""
        stored = self.stored
        stored.update(o for o in self.graph.outputs if o.op is not ops.LEAF)
        for node in self.graph.nodes:
            if node.op.family in ("reduce", "contraction", "order") or node.op.name in TEMPLATES:
                stored.add(node)
            if node.op in ALWAYS_STORED:
                stored.add(node)
            stored.update(operand_nodes(node))
            if node.op is ops.BARRIER:
                stored.update(node.inputs[1:])
        stored.difference_update([n for n in stored if n.op is ops.LEAF])
        self.cost: dict[Node, int] = {}
        self.work: dict[Node, int] = {}
        self.depth: dict[Node, int] = {}
        for node in self.graph.nodes:
            self._weigh(node)

    def _weigh(self, node: Node) -> None:
        """Work out what a node costs where it is inlined; store it where that is too much."""
        if node.op is ops.UNFOLD:
            self._store_windowed(node)
        own = 0 if node.op.family == "movement" else 10 if node.op.name in COSTLY else 1
        cost = self.work[node] = own + sum(self.cost[i] for i in set(node.inputs))
        if node in self.stored or node.op.family in ("parameter", "constant"):
            self.cost[node] = self.depth[node] = 0
            return
        depth = (own > 0) + max((self.depth[i] for i in node.inputs), default=0)
        repeated = len(self.readers.get(node, ())) > 1 and node.op.family != "movement"
        spread = any(
            r.op is ops.EXPAND and size(r.shape) > 2 * size(node.shape)
            for r in self.readers.get(node, ())
        )
        dear = (repeated and cost > RECOMPUTE) or (spread and cost >= 4) or depth > DEEP
        if dear and (node.shape != () or cost > RECOMPUTE):
            self.stored.add(node)
            cost = depth = 0
        self.cost[node], self.depth[node] = cost, depth

    def _store_windowed(self, node: Node) -> None:
        """Store what overlapping windows look at, where each would compute it again."""
        source, above = node.inputs[0], [node.inputs[0]]
        while source.op.family == "movement" and source not in self.stored:
            source = source.inputs[0]
            above.append(source)
        cost = self.cost[source]
        if cost < 4 or size(node.shape) <= size(source.shape):
            return
        self.stored.add(source)
        for inlined in above:
            self.cost[inlined] -= cost
            self.depth[inlined] = 0

    def _settle(self) -> None:
        """Store what accesses need stored, from the first node to the last.

        So that `fuse` begins again seldom: each time costs as much as all of a schedule.
        """
        for node in self.graph.nodes:
            waiting = [node] if node in self.stored else []
            while waiting:
                try:
                    for item in self._items(waiting[-1]):
                        self._reads(item)
                    waiting.pop()
                except NotAffine as need:
                    self.stored.add(need.node)
                    waiting.append(need.node)

    # -- kernels ------------------------------------------------------------------------------
    def schedule(self) -> Schedule:
        """Group the stored nodes and write the kernels down."""
        self.hosts = _hosts(self.graph, self.stored) if self.join else {}
        groups = self._groups()
        ordered = _in_order(groups)
        donated = _donations(self.graph, ordered)
        inside = self._unread_outside(ordered)
        kernels, values, labels = [], [], []
        for group in ordered:
            if not any(size(n.shape) for n in group.nodes):
                continue  # nothing to compute
            kernel, nodes = self._write(group, inside)
            kernels.append(kernel)
            values.append(nodes)
            labels.append("+".join(dict.fromkeys(n.op.name for n in group.nodes)))
        stored = [n for g in ordered for n in dict.fromkeys(g.nodes) if n not in inside]
        return Schedule(kernels, values, labels, self.graph, stored, donated, self.hosts)

    def _groups(self) -> list[Group]:
        groups: list[Group] = []
        made: dict[Node, list[Group]] = {}
        by_key: dict[object, list[Group]] = {}
        for node in self.graph.nodes:
            if node not in self.stored:
                continue
            made[node] = []
            for item in self._items(node):
                self._place(item, groups, by_key, made)
            if node.op is ops.CONCAT:
                for piece in map(unshaped, node.inputs):
                    if self.hosts.get(piece, (None,))[0] is node:
                        made[node] += made[piece]
        return groups

    def _items(self, node: Node) -> Iterable[Item]:
        """Return what has to be stored for a node."""
        rank = len(node.shape)
        if node.op is ops.CONCAT:
            dim, offset = node.attrs[0], 0
            for source in node.inputs:
                coords = list(identity(source.shape))
                at = coords[dim]
                coords[dim] = Affine(at.strides, offset)
                affine = linear(coords, node.shape, rank)
                if self.hosts.get(unshaped(source)) != (node, affine.offset):
                    yield Item(node, source, source.shape, affine)
                offset += source.shape[dim]
        elif node.op is ops.SLICE_UPDATE:
            x, value = node.inputs
            yield Item(node, x, x.shape, linear(identity(x.shape), x.shape, rank))
            starts, steps = node.attrs
            coords = [
                Affine(tuple(k * s for s in c.strides), start)
                for c, start, k in zip(identity(value.shape), starts, steps, strict=True)
            ]
            yield Item(node, value, value.shape, linear(coords, node.shape, rank))
        elif node.op.family == "reduce":
            x, dims = node.inputs[0], node.attrs[0]
            kept = linear(identity(node.shape), node.shape, rank)
            if node.op in POSITIONS:
                x, more = _unmerged(x, dims)
                kept = Affine(kept.strides + (0,) * more)
                dims = tuple(range(dims, dims + more + 1))
            yield Item(node, x, x.shape, kept, dims)
        else:
            yield Item(node, node, node.shape, linear(identity(node.shape), node.shape, rank))

    def _reads(self, item: Item) -> dict[Node, bool]:
        """Return the stored nodes an item reads, and whether each only at its own index."""
        if item.node.op.name in TEMPLATES:
            return dict.fromkeys([*operand_nodes(item.node), *awaited(item.node)], False)
        probe = Expressions(self.graph, self.stored, item.domain)
        if item.source is item.node:
            probe.compute(item.node)
        else:
            read = probe.value(item.source, identity(item.domain), ())
            if item.node.op.family == "reduce" and lies_across(read, item.domain):
                raise NotAffine(item.source)  # affine, but slow: a copy comes first
        return probe.reads

    def _place(
        self,
        item: Item,
        groups: list[Group],
        by_key: dict[object, list[Group]],
        made: dict[Node, list[Group]],
    ) -> None:
        item.reads = self._reads(item)
        deps = [
            (g, same and n.op not in IN_PIECES)
            for n, same in item.reads.items()
            for g in made.get(n, ())
        ]
        if item.node.op is ops.SLICE_UPDATE:
            deps += [(g, False) for g in made[item.node]]  # the value goes over the copied base
        kind, dims = _kind(item.node), item.dims
        # The number of accumulators, so the order of a sum, depends on the width of elements.
        wide = kind == "reduce" and item.source.dtype.itemsize == 8
        keys: list[object] = [(kind, item.domain, dims, wide)]
        weight = 1 + self._size(item)
        chosen = None
        if self.join and kind not in TEMPLATES:
            for key in keys + self._epilogue_keys(item, kind):
                chosen = _choose(by_key.get(key, ()), deps, weight, item, self._may_wait)
                if chosen is not None:
                    break
        if chosen is None:
            chosen = Group(kind, item.domain, dims, order=len(groups))
            chosen.level = max((g.level + 1 for g, _ in deps), default=0)
            groups.append(chosen)
            if kind not in TEMPLATES:
                by_key.setdefault(keys[0], []).append(chosen)
                if kind == "reduce" and len(item.domain) == len(item.node.shape):
                    by_key.setdefault(("after", item.node.shape), []).append(chosen)
        chosen.items.append(item)
        chosen.weight += weight
        for n, same in item.reads.items():
            chosen.reads[n] = chosen.reads.get(n, True) and same
        made[item.node].append(chosen)

    def _may_wait(self, group: Group) -> bool:
        """Tell whether a group may be done later than it is: nothing reads what it reduces."""
        return group.kind == "reduce" and not any(self.readers.get(n) for n in group.nodes)

    def _epilogue_keys(self, item: Item, kind: str) -> list[object]:
        plain = kind == "map" and item.source is item.node
        return [("after", item.domain)] if plain else []

    def _size(self, item: Item) -> int:
        """Return how many operations an item brings: a stored node's own, or what is inlined."""
        costs = self.work if item.source is item.node else self.cost
        return costs[item.source] // 2

    def _unread_outside(self, groups: list[Group]) -> set[Node]:
        """Return the nodes whose value never leaves the kernel that computes it."""
        outputs = set(self.graph.outputs)
        home = {n: g for g in groups for n in g.nodes}
        out: set[Node] = set(self.hosts)
        for group in groups:
            for node, same in group.reads.items():
                if home.get(node) is not group or not same:
                    out.add(node)
        return {
            n
            for n, group in home.items()
            if n not in out and n not in outputs and group.kind not in TEMPLATES
            and n.op not in ALWAYS_STORED
        }  # fmt: skip

    def _write(self, group: Group, inside: set[Node]) -> tuple[Kernel, list[Node]]:
        template = TEMPLATES.get(group.kind)
        if template is not None:
            return template(group.items[0].node)
        write = Expressions(self.graph, self.stored, group.domain)
        return write.kernel(group.kind, group.reduce_dims, group.items, inside), write.values


def _hosts(graph: Graph, stored: AbstractSet[Node]) -> dict[Node, tuple[Node, int]]:
    """Return which nodes are computed right where a concatenation has them, and where that is.

    Such a piece is one run of the whole's memory, and nothing else asks for a buffer of its own.
    """
    hosts: dict[Node, tuple[Node, int]] = {}
    outputs = set(graph.outputs)
    for node in graph.nodes:
        if node.op is not ops.CONCAT or size(node.shape[: node.attrs[0]]) != 1:
            continue
        start = 0
        for source in node.inputs:
            piece = unshaped(source)
            free = piece in stored and piece not in outputs and piece not in hosts
            if free and size(piece.shape):
                hosts[piece] = (node, start)
            start += size(source.shape)
    return hosts


def _kind(node: Node) -> str:
    if node.op.name in TEMPLATES:
        return node.op.name
    return "reduce" if node.op.family == "reduce" else "map"


def _unmerged(x: Node, dim: int) -> tuple[Node, int]:
    """Return what a reshape only merged the last dims of, and how many more it has.

    A position among them counts the same, and what the reshape reads need not be stored.
    """
    if x.op is ops.RESHAPE and dim == len(x.shape) - 1:
        source = x.inputs[0]
        more = len(source.shape) - len(x.shape)
        if more > 0 and source.shape[:dim] == x.shape[:dim]:
            return source, more
    return x, 0


def _choose(
    groups: Iterable[Group], deps: list[tuple[Group, bool]], weight: int, item: Item,
    may_wait: Callable[[Group], bool],
) -> Group | None:  # fmt: skip
    """Return the first group the item may join: what it reads is computed earlier, or there.

    Reductions that nobody reads, such as the gradients of weights, wait for one that comes later
    and reads what they read; anything else would have to be kept meanwhile.
    """
    newest = max((dep.level for dep, _ in deps), default=-1)
    own = [dep for dep, _ in deps if dep.level == newest]
    # A reduction cannot read in its loop what the loop's end gives.
    inside = item.node.op.family != "reduce"
    for group in groups:
        waits = not inside and group.reads.keys() <= item.reads.keys() and may_wait(group)
        if group.level <= newest and group not in own and not waits:
            continue
        if group.weight + weight > WIDE:
            continue
        reads_after = group.kind == "reduce" and item.node.op.family != "reduce"
        if reads_after and alike(group.domain, item.domain):
            continue
        if all(dep.level < group.level or (dep is group and same and inside) for dep, same in deps):
            return group
        if waits and all(dep is not group for dep, _ in deps):
            group.level = 1 + max(dep.level for dep, _ in deps)
            return group
    return None


def _readers(graph: Graph) -> dict[Node, list[Node]]:
    readers: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        for source in dict.fromkeys(node.inputs):
            readers.setdefault(source, []).append(node)
    return readers


def _in_order(groups: list[Group]) -> list[Group]:
    """Return the groups so that each follows what it reads; earliest-recorded first."""
    return sorted(groups, key=lambda g: (g.level, g.order))


def _donations(graph: Graph, groups: list[Group]) -> dict[int, Node]:
    """Return which outputs may be written over the leaf they replace.

    Safe where every other reader of the leaf runs earlier, and the writer reads it only at the
    index it writes, and not after it has written there.
    """
    donated: dict[int, Node] = {}
    for leaf, at in graph.updates:
        output = graph.outputs[at]
        writers = [i for i, g in enumerate(groups) if output in g.nodes]
        readers = [i for i, g in enumerate(groups) if leaf in g.reads]
        if len(writers) != 1 or leaf in graph.outputs or graph.outputs.count(output) > 1:
            continue
        group = groups[writers[0]]
        plain = group.kind == "map" and group.domain == leaf.shape == output.shape
        behind = group.items[group.nodes.index(output) + 1 :]
        if (
            plain
            and not any(leaf in item.reads for item in behind)
            and output.op not in ALWAYS_STORED
            and all(i < writers[0] or (i == writers[0] and group.reads[leaf]) for i in readers)
        ):
            donated[at] = leaf
    return donated
