"""einsum: sums of products written with an index letter for each dim."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenor.engine.handle import Handle
from tenor.engine.trace import record
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import op as ops
from tenor.ir.node import size
from tenor.tensor import diagonals, reduction
from tenor.tensor.linear import one_dtype
from tenor.tensor.operands import lowered
from tenor.tensor.reduction import reshaped

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tenor.tensor.tensor import Tensor

__all__ = ["einsum"]

Labels = tuple[str, ...]
LETTERS = string.ascii_uppercase + string.ascii_lowercase


@dataclass
class Term:
    """A tensor and the label of each of its dims; no label occurs twice."""

    x: Tensor
    labels: Labels

    def extent(self, label: str) -> int:
        """Return the extent of a label's dim."""
        return self.x.shape_tuple[self.labels.index(label)]

    def ordered(self, labels: Sequence[str]) -> Tensor:
        """Return the tensor with its dims in the order of the labels."""
        return self.x.permute(*[self.labels.index(label) for label in labels])

    def without(self, labels: Collection[str]) -> Term:
        """Return the term with dims added up and gone."""
        dims = [d for d, label in enumerate(self.labels) if label in labels]
        if not dims:
            return self
        rest = tuple(label for label in self.labels if label not in labels)
        return Term(reduction.sum(self.x, dims, dtype=self.x.element_type), rest)


# -- the equation -------------------------------------------------------------------------------
def _bad(equation: str, what: str) -> ArgumentError:
    return ArgumentError(
        "einsum: the equation must be letters for dims, one group for each operand.",
        came=[repr(equation), what],
        fix="write it like 'ij,jk->ik' or '...ij,...jk->...ik'",
    )


def _group(text: str, equation: str) -> list[str]:
    """Return the labels of one operand, an ellipsis as '...'."""
    head, dots, tail = text.partition("...")
    labels = [*head, *(["..."] if dots else []), *tail]
    wrong = [c for c in labels if c != "..." and c not in LETTERS]
    if wrong:
        raise _bad(equation, f"{wrong[0]!r} is not a letter")
    return labels


def _spelled(labels: list[str], ndim: int, equation: str, operand: int) -> Labels:
    """Return a label for each dim: those of an ellipsis are numbers, counted from the last."""
    named = sum(label != "..." for label in labels)
    hidden = ndim - named
    if hidden < 0 or (hidden > 0 and "..." not in labels):
        raise ShapeError(
            f"einsum: operand {operand} must have a dim for each letter.",
            came=[repr(equation), f"{named} letters for {ndim} dims"],
            fix="add letters, or '...' for the dims left out",
        )
    found: list[str] = []
    for label in labels:
        found += [str(hidden - i) for i in range(hidden)] if label == "..." else [label]
    return tuple(found)


def _result(right: str | None, terms: Sequence[Labels], equation: str) -> Labels:
    """Return the labels of the result; without an arrow, those that occur once, in order."""
    every = [label for labels in terms for label in labels]
    hidden = sorted({label for label in every if label.isdigit()}, key=int, reverse=True)
    if right is None:
        once = sorted(label for label in set(every) if every.count(label) == 1)
        return (*hidden, *[label for label in once if not label.isdigit()])
    found: list[str] = []
    for label in _group(right, equation):
        found += hidden if label == "..." else [label]
    for label in found:
        if label not in every:
            raise _bad(equation, f"{label!r} of the result occurs in no operand")
        if found.count(label) > 1:
            raise _bad(equation, f"{label!r} occurs twice in the result")
    return tuple(found)


def _parsed(equation: str, operands: Sequence[Tensor]) -> tuple[list[Term], Labels]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    groups = left.split(",")
    if len(groups) != len(operands):
        raise _bad(equation, f"{len(groups)} groups for {len(operands)} operands")
    spelled = [
        _spelled(_group(group, equation), len(x.shape_tuple), equation, i)
        for i, (group, x) in enumerate(zip(groups, operands, strict=True))
    ]
    result = _result(right if arrow else None, spelled, equation)
    return [_unrepeated(x, s) for x, s in zip(operands, spelled, strict=True)], result


def _unrepeated(x: Tensor, labels: Labels) -> Term:
    """Return a term in which each repeated label has become the diagonal of its dims."""
    kept = list(labels)
    for label in dict.fromkeys(labels):
        while kept.count(label) > 1:
            first = kept.index(label)
            second = kept.index(label, first + 1)
            if x.shape_tuple[first] != x.shape_tuple[second]:
                raise ShapeError(
                    f"einsum: dims with one letter must have one extent ({label!r}).",
                    came=f"shape {x.shape_tuple}",
                    fix="use different letters",
                    operands=(x,),
                )
            x = diagonals.diagonal(x, 0, first, second)
            kept = [c for d, c in enumerate(kept) if d not in (first, second)] + [label]
    return Term(x, tuple(kept))


def _check_extents(terms: Sequence[Term], equation: str) -> None:
    """Refuse a letter with two extents, neither of them 1."""
    known: dict[str, int] = {}
    for term in terms:
        for label, extent in zip(term.labels, term.x.shape_tuple, strict=True):
            if known.setdefault(label, extent) != extent and extent != 1:
                if known[label] != 1:
                    raise ShapeError(
                        f"einsum: a letter stands for one extent ({label!r}).",
                        came=[repr(equation), *[f"shape {t.x.shape_tuple}" for t in terms]],
                        fix="transpose an operand, or correct the letters",
                        operands=tuple(t.x for t in terms),
                    )
                known[label] = extent


# -- contraction --------------------------------------------------------------------------------
def _narrowed(a: Term, b: Term) -> Term:
    """Return a without dims of extent 1 that b has at full length: they are only broadcast."""
    thick = [
        label for label in a.labels
        if not (label in b.labels and a.extent(label) == 1 and b.extent(label) != 1)
    ]  # fmt: skip
    return Term(reshaped(a.x, tuple(a.extent(c) for c in thick)), tuple(thick))


def _pair(a: Term, b: Term, kept: Collection[str]) -> Term:
    """Return the product of two terms, added up over labels that are needed no more."""
    a, b = _narrowed(a, b), _narrowed(b, a)
    a = a.without({c for c in a.labels if c not in kept and c not in b.labels})
    b = b.without({c for c in b.labels if c not in kept and c not in a.labels})
    shared = [c for c in a.labels if c in b.labels]
    batch, summed = [c for c in shared if c in kept], [c for c in shared if c not in kept]
    rows = [c for c in a.labels if c not in shared]
    columns = [c for c in b.labels if c not in shared]
    labels = (*batch, *rows, *columns)
    shape = tuple(b.extent(c) if c in b.labels else a.extent(c) for c in labels)
    if not summed:
        left = a.ordered([*batch, *rows])
        right = b.ordered([*batch, *columns])
        left = reshaped(left, (*left.shape_tuple, *[1] * len(columns)))
        lead = right.shape_tuple
        right = reshaped(right, (*lead[: len(batch)], *[1] * len(rows), *lead[len(batch) :]))
        return Term(left * right, labels)
    groups, depth = tuple(a.extent(c) for c in batch), size(a.extent(c) for c in summed)
    left = reshaped(
        a.ordered([*batch, *rows, *summed]), (*groups, size(a.extent(c) for c in rows), depth)
    )
    right = reshaped(
        b.ordered([*batch, *summed, *columns]), (*groups, depth, size(b.extent(c) for c in columns))
    )
    return Term(reshaped(record(ops.MATMUL, (left, right)), shape), labels)


def _cost(a: Term, b: Term, kept: Collection[str]) -> tuple[int, int]:
    """Return how many products a pair takes, and how large its result is."""
    extents = dict(zip(a.labels, a.x.shape_tuple, strict=True))
    for label, extent in zip(b.labels, b.x.shape_tuple, strict=True):
        extents[label] = max(extent, extents.get(label, 1))
    return size(n for c, n in extents.items() if c in kept), size(extents.values())


def _contracted(terms: list[Term], result: Labels) -> Term:
    """Multiply two terms at a time, those first whose product is smallest."""
    while len(terms) > 1:
        best = None
        for i in range(len(terms)):
            for j in range(i + 1, len(terms)):
                rest = [t for k, t in enumerate(terms) if k not in (i, j)]
                kept = {*result, *(c for t in rest for c in t.labels)}
                found = (_cost(terms[i], terms[j], kept), i, j, kept, rest)
                best = found if best is None or found[:3] < best[:3] else best
        assert best is not None
        _, i, j, kept, rest = best
        terms = [*rest, _pair(terms[i], terms[j], kept)]
    only = terms[0]
    return only.without({c for c in only.labels if c not in result})


def _from_lists(args: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the equation that alternating operands and lists of numbers stand for."""
    lists = list(args[1::2])
    operands = list(args[::2])
    right = operands.pop() if len(args) % 2 else None

    def spell(numbers: Sequence[Any]) -> str:
        return "".join("..." if n is Ellipsis else LETTERS[n] for n in numbers)

    equation = ",".join(spell(numbers) for numbers in lists)
    return (equation if right is None else f"{equation}->{spell(right)}"), operands


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Return a sum of products, written with a letter for each dim.

    Dims of one letter run together; letters that are not in the result are summed over; a letter
    twice in one operand takes a diagonal; '...' stands for dims that broadcast. Without '->' the
    result has the letters that occur once, in alphabetical order.

    Args:
        equation: Such as "ij,jk->ik"; or operands and lists of numbers in turn, then the
            result's list.
        operands: One tensor for each group of letters, or one sequence of them.

    Raises:
        ArgumentError: the equation cannot be read.
        ShapeError: an operand does not fit its letters.
        DTypeError: the dtypes differ.

    Example:
        >>> import tenor as tn
        >>> tn.einsum("ij,j->i", tn.ones(2, 3), tn.tensor([1.0, 2.0, 3.0]))
        tensor([6., 6.])
    """
    given: list[Any] = list(operands)
    if isinstance(equation, Handle):
        equation, given = _from_lists([equation, *operands])
    elif len(given) == 1 and not isinstance(given[0], Handle):
        given = list(given[0])
    if not given:
        raise _bad(equation, "no operands")
    if len(given) > 1:
        given = list(lowered(*given))
        one_dtype("einsum", *given)
    terms, result = _parsed(equation, given)
    _check_extents(terms, equation)
    made = _contracted(terms, result)
    fresh = all(made.x is not x for x in given)
    return made.x if fresh and made.labels == result else made.ordered(result)
