"""Families: graphs that differ in their sizes alone, and the programs they share.

The first graph of a family is compiled for its own sizes. When another one comes, what differs
between them become symbols, and one program is made that serves every further size; which program
a graph is given depends on what was recorded before, never on time, and no bit depends on it.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from itertools import combinations_with_replacement
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from tenor.ir import op as ops
from tenor.ir.infer import infer
from tenor.ir.node import Graph, Node
from tenor.ir.symbolic import Sizes, Sym, symbol, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tenor.compiler.generic import Generic
    from tenor.ir.program import Program
    from tenor.ir.target import Target

__all__ = ["counts", "family_of", "forget"]

KEPT: Final = 512
"""Families remembered; the one that was not met for longest goes first."""
MOST: Final = 24
"""Programs a family has at most; sizes that fit none of them are compiled for themselves."""
PLACES: Final = ("dim", "dims")
"""Attributes that say which dims are meant."""
SAMPLES: Final = 4
"""Graphs whose numbers are compared to find out what varies with what."""
counts: Final = {"families": 0, "generic": 0, "filled": 0, "own": 0}
"""Families met, programs made for many sizes, how often one was filled in, and how often a size
was worth one of its own after all; tests gate on it."""

_families: Final[OrderedDict[Any, Family]] = OrderedDict()


class Hole:
    """Stands for a number in what graphs of a family have in common."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


INTEGER, NEGATIVE, FLOAT = Hole("int"), Hole("-int"), Hole("float")


def family_of(graph: Graph, *more: Any) -> tuple[Family, tuple[int, ...]]:
    """Return the family of a graph, and the numbers it has where others may have other ones.

    Args:
        graph: The graph.
        more: What else must be equal.
    """
    numbers: list[int] = []
    key = (_common(graph, numbers), more)
    found = _families.get(key)
    with contextlib.suppress(KeyError):  # another thread may let it go meanwhile
        if found is not None:
            _families.move_to_end(key)
        elif len(_families) >= KEPT:
            _families.popitem(last=False)
    if found is None:
        counts["families"] += 1
        found = _families.setdefault(key, Family())
    return found, tuple(numbers)


def forget() -> None:
    """Forget every family."""
    _families.clear()


def _common(graph: Graph, numbers: list[int]) -> Any:
    """Return a graph with holes for its numbers, which are appended to a list."""
    places = {node: i for i, node in enumerate(graph.nodes)}
    at = places.__getitem__
    nodes = [
        (n.op, n.dtype, tuple(map(at, n.inputs)), _pattern(n, numbers) if n.attrs else ())
        if not _is_parameter(n)
        else (n.op, *n.attrs)
        for n in graph.nodes
    ]
    updates = tuple((at(leaf), number) for leaf, number in graph.updates)
    return tuple(nodes), tuple(map(at, graph.outputs)), updates


def _is_parameter(node: Node) -> bool:
    """Tell whether a node is a leaf that is trained: a model's widths are part of what it is."""
    return node.op is ops.LEAF and getattr(node, "requires_grad", False)


def _pattern(node: Node, numbers: list[int]) -> tuple[Any, ...]:
    """Return a node's attributes with holes for its sizes; which dim is meant is no size."""
    return tuple(
        [
            value if name in PLACES else _holes(value, numbers)
            for name, value in zip(node.op.attrs, node.attrs, strict=True)
        ]
    )


def _with(node: Node, numbers: Iterator[Any]) -> tuple[Any, ...]:
    """Return a node's attributes with the next numbers in place of its sizes."""
    return tuple(
        [
            value if name in PLACES else _filled(value, numbers)
            for name, value in zip(node.op.attrs, node.attrs, strict=True)
        ]
    )


def _holes(value: Any, numbers: list[int]) -> Any:
    """Return a nest with holes for its numbers; 0, 1 and -1 do different things and stay."""
    kind = type(value)
    if kind is tuple:
        return tuple([_holes(v, numbers) for v in value])
    if kind is int:
        if -2 < value < 2:
            return value
        numbers.append(abs(value))
        return INTEGER if value > 0 else NEGATIVE
    if kind is float:
        if value > 1 and value < 2**53 and value.is_integer():
            numbers.append(int(value))
            return FLOAT
        return repr(value)
    return value if kind is not bool else (kind, value)


def _filled(value: Any, numbers: Iterator[Any]) -> Any:
    """Return a nest with the next numbers in place of its own."""
    kind = type(value)
    if kind is tuple:
        return tuple([_filled(v, numbers) for v in value])
    if kind is int and not -2 < value < 2:
        return next(numbers) * (1 if value > 0 else -1)
    if kind is float and value > 1 and value < 2**53 and value.is_integer():
        number = next(numbers)
        return number if isinstance(number, Sym) else value
    return value


class Family:
    """What graphs of one structure share: their numbers so far, and programs for many sizes.

    The program of the first graph is kept until there is one for many sizes: the same graph comes
    again when the recorder has begun anew, or by another way of recording it.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[int, ...]] = []
        self.first: tuple[tuple[int, ...], Program] | None = None
        self.shared: list[Shared] = []

    def program(
        self, graph: Graph, numbers: tuple[int, ...], target: Target, skip: frozenset[str]
    ) -> Program | None:
        """Return the program of a graph with these numbers; None: it is to be compiled alone."""
        for shared in self.shared:
            found = shared.program(numbers)
            if found is not None:
                counts["filled"] += 1
                return found
        if numbers not in self.samples:
            self.samples = [*self.samples[: SAMPLES - 1], numbers]
        if len(self.samples) < 2:
            return None
        self.first = None
        if len(self.shared) >= MOST:
            return None
        counts["generic"] += 1
        made = Shared.of(graph, self.samples, target, skip)
        self.shared.append(made)
        return made.program(numbers)

    def alone(self, numbers: tuple[int, ...], make: Callable[[], Program]) -> Program:
        """Return the program of these numbers alone, made now where it is not kept."""
        first = self.first
        if first is not None and first[0] == numbers:
            return first[1]
        made = make()
        if self.samples == [numbers]:
            self.first = numbers, made
        return made


@dataclass(frozen=True)
class Shared:
    """A program for many sizes, and how its sizes are found in a graph's numbers.

    Attributes:
        generic: The program.
        sizes: The places of the sizes.
        fixed: Gives the numbers that must be as they were, which are `same`.
        derived: Gives the numbers that must follow from the sizes as `follows` says.
    """

    generic: Generic
    sizes: tuple[int, ...]
    fixed: Callable[[Sequence[int]], Any]
    same: Any
    derived: Callable[[Sequence[int]], Any]
    follows: Callable[[Sequence[int]], Any]

    @classmethod
    def of(
        cls, graph: Graph, samples: list[tuple[int, ...]], target: Target, skip: frozenset[str]
    ) -> Shared:
        """Return the program for graphs that vary as the samples do; the last is this graph's."""
        from tenor.compiler.generic import Generic  # noqa: PLC0415 - with the compiler, when used

        places = _leaf_numbers(graph)
        bases, exprs = _relations(samples, places)
        numbers = samples[-1]
        sizes = Sizes([numbers[b] for b in bases])
        with sizes:
            symbolic = _symbolic(graph, exprs)
        generic = Generic(symbolic, target, skip, sizes)
        fixed = [p for p, e in enumerate(exprs) if not isinstance(e, Sym)]
        derived = [p for p, e in enumerate(exprs) if isinstance(e, Sym) and p not in bases]
        same = tuple(numbers[p] for p in fixed)
        return cls(
            generic, tuple(bases), _getter(fixed), same, _getter(derived),
            values_of([exprs[p] for p in derived]),
        )  # fmt: skip

    def program(self, numbers: tuple[int, ...]) -> Program | None:
        """Return the program for a graph's numbers; None where it is not for them."""
        sizes = tuple([numbers[b] for b in self.sizes])
        fits = (
            self.fixed(numbers) == self.same
            and self.derived(numbers) == self.follows(sizes)
            and self.generic.fits(sizes)
        )
        return self.generic.program(sizes) if fits else None


def _getter(places: list[int]) -> Callable[[Sequence[int]], Any]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda numbers: tuple([numbers[p] for p in places])


def _leaf_numbers(graph: Graph) -> set[int]:
    """Return which of a graph's numbers are extents of leaves."""
    numbers: list[int] = []
    found: set[int] = set()
    for node in graph.nodes:
        before = len(numbers)
        if not _is_parameter(node):
            _pattern(node, numbers)
        if node.op is ops.LEAF:
            found.update(range(before, len(numbers)))
    return found


def _relations(samples: list[tuple[int, ...]], leaf: set[int]) -> tuple[list[int], list[Any]]:
    """Return the places of the numbers that vary by themselves, and every number in terms of them.

    Extents of leaves are sizes of their own unless they are equal; other numbers may be multiples,
    products and sums of sizes.
    """
    bases: list[int] = []
    exprs: list[Any] = [None] * len(samples[0])
    columns = list(zip(*samples, strict=True))
    known: dict[tuple[int, ...], Any] = {}
    order = sorted(range(len(columns)), key=lambda p: p not in leaf)
    for place in order:
        column = columns[place]
        if len(set(column)) == 1:
            exprs[place] = column[0]
            continue
        found = known.get(column)
        if found is None and place not in leaf:
            found = _formula(column, [columns[b] for b in bases])
        if found is None:
            found = symbol(len(bases))
            bases.append(place)
        exprs[place] = known[column] = found
    return bases, exprs


def _formula(column: tuple[int, ...], bases: list[tuple[int, ...]]) -> Any:
    """Return a column of numbers in terms of others; None where no simple formula gives it."""
    for count in (1, 2, 3)[: 3 if len(bases) <= 6 else 2 if len(bases) <= 24 else 1]:
        for chosen in combinations_with_replacement(range(len(bases)), count):
            product = [1] * len(column)
            for b in chosen:
                product = [p * x for p, x in zip(product, bases[b], strict=True)]
            factors = {divmod(x, p) for x, p in zip(column, product, strict=True)}
            if len(factors) == 1 and next(iter(factors))[1] == 0 and column[0] >= product[0]:
                formula: Any = next(iter(factors))[0]
                for b in chosen:
                    formula = formula * symbol(b)
                return formula
    for b, base in enumerate(bases):
        slope, rest = divmod(column[-1] - column[0], (base[-1] - base[0]) or 1)
        offset = column[0] - slope * base[0]
        if not rest and slope and all(
            x == slope * y + offset for x, y in zip(column, base, strict=True)
        ):  # fmt: skip
            return symbol(b) * slope + offset
    return None


def _symbolic(graph: Graph, exprs: list[Any]) -> Graph:
    """Return a graph with these numbers in place of its own, and shapes that follow from them."""
    numbers = iter(exprs)
    made: dict[Node, Node] = {}
    for node in graph.nodes:
        attrs = node.attrs if _is_parameter(node) else _with(node, numbers)
        inputs = tuple(made[i] for i in node.inputs)
        shape, dtype = infer(node.op, inputs, attrs)
        made[node] = copy = Node(node.op, inputs, attrs, shape, dtype)
        copy.site = node.site
    updates = [(made[leaf], at) for leaf, at in graph.updates]
    codes = {made[node]: code for node, code in graph.codes.items()}
    return Graph(list(made.values()), [made[o] for o in graph.outputs], updates, codes)
