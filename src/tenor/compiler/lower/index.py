"""Simpler domains: dims that do nothing are dropped, dims that are one run are merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tenor.ir.kernel import Affine, Expr, Guard, Kernel, Store, ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Merge", "mapped", "simplify"]


@dataclass(frozen=True)
class Merge:
    """How old dims become new ones: each new dim is a run of old dims; the rest have extent 1."""

    runs: tuple[tuple[int, ...], ...]

    def affine(self, affine: Affine) -> Affine:
        """Return the affine over the new dims; a run's stride is its last dim's."""
        return Affine(tuple(affine.strides[run[-1]] for run in self.runs), affine.offset)


def simplify(kernel: Kernel) -> Kernel:
    """Return an equal kernel over as few dims as possible.

    Two neighbouring dims that are kept are merged where every affine steps through them as
    through one. Reduced dims are not: the order of a sum would depend on the layout.
    """
    affines = list(dict.fromkeys(_affines(kernel)))
    reduced = set(kernel.reduce_dims)
    dims = [d for d, n in enumerate(kernel.domain) if n != 1]
    runs: list[list[int]] = []
    for d in dims:
        if runs:
            last = runs[-1][-1]
            kept = d not in reduced and last not in reduced
            n = kernel.domain[d]
            if kept and all(a.strides[last] == n * a.strides[d] for a in affines):
                runs[-1].append(d)
                continue
        runs.append([d])
    merge = Merge(tuple(map(tuple, runs)))
    extents = []
    for run in runs:
        total = 1
        for d in run:
            total *= kernel.domain[d]
        extents.append(total)
    memo: dict[Expr, Expr] = {}
    stores = [
        Store(s.buffer, merge.affine(s.affine), mapped(s.expr, merge.affine, memo))
        for s in kernel.stores
    ]
    reductions = [(op, mapped(e, merge.affine, memo)) for op, e in kernel.reductions]
    dims_left = tuple(i for i, run in enumerate(runs) if run[0] in reduced)
    return replace(
        kernel, domain=tuple(extents), stores=stores, reductions=reductions, reduce_dims=dims_left
    )


def _affines(kernel: Kernel) -> Iterable[Affine]:
    yield from (store.affine for store in kernel.stores)
    for expr in ordered([*(s.expr for s in kernel.stores), *(e for _, e in kernel.reductions)]):
        for attr in expr.attrs:
            if isinstance(attr, Affine):
                yield attr
            elif isinstance(attr, tuple):
                yield from (item.affine for item in attr if isinstance(item, Guard))


def mapped(root: Expr, change: Callable[[Affine], Affine], memo: dict[Expr, Expr]) -> Expr:
    """Return an expression with every affine changed; `memo` holds those that were."""
    for expr in ordered([root], memo):
        args = tuple(memo[a] for a in expr.args)
        attrs = tuple(_changed(a, change) for a in expr.attrs)
        memo[expr] = Expr(expr.op, args, attrs, expr.dtype)
    return memo[root]


def _changed(attr: object, change: Callable[[Affine], Affine]) -> object:
    if isinstance(attr, Affine):
        return change(attr)
    if isinstance(attr, tuple) and attr and isinstance(attr[0], Guard):
        return tuple(Guard(change(g.affine), g.low, g.high) for g in attr)
    return attr
