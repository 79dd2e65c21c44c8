"""Kernels that go over the same rows one after the other become one that does all of them to a row.

A softmax needs the largest element of a row before it can begin, so it is several kernels; but
nothing of one row depends on another. Where each kernel reads only what others have made of its
own rows, a few rows go through all of them while they are in the cache, and what no other kernel
reads never reaches memory. Every row is computed as before: no bit changes.

Reductions that keep the last dim, a variance after its mean, go over the same columns likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tenor.compiler.schedule.access import identity, linear, strides_of
from tenor.ir.kernel import Affine, Buffer, Kernel, Part
from tenor.ir.node import size
from tenor.ir.symbolic import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenor.compiler.schedule.fuse import Schedule
    from tenor.ir.node import Node

__all__ = ["join_rows"]

MOST: Final = 12
"""Kernels that are joined at the most."""
FAR: Final = 8
"""Kernels a run waits for, or one is done ahead of, at the most: what is read is kept meanwhile."""


@dataclass
class Run:
    """Kernels to be joined.

    Attributes:
        members: Their numbers, ascending.
        at: The number they are done at.
        made, seen: What they write, and all they touch.
        tail: How many last dims their reductions reduce; 0: there is none yet.
        span: Elements of the domain they do at a time.
        over: The dims they reduce, where those are not the last ones.
    """

    members: list[int]
    at: int
    made: set[Node]
    seen: set[Node]
    tail: int
    span: int
    over: tuple[int, ...] = ()


def join_rows(schedule: Schedule, span_of: Callable[[Kernel], int]) -> Schedule:
    """Return the schedule with kernels over the same rows joined.

    Args:
        schedule: Kernels in order.
        span_of: How many elements of the domain, in row-major order, one tile of a kernel covers;
            0 where that is no run.
    """
    runs = _Search(schedule, span_of).runs()
    last = {run.at: run for run in runs}
    inner = {m for run in runs for m in run.members}
    kernels: list[Kernel] = []
    values: list[list[Node]] = []
    labels: list[str] = []
    gone: set[Node] = set()
    for i, kernel in enumerate(schedule.kernels):
        if i in last:
            joined, nodes, private = _joined(schedule, last[i])
            gone |= private
            kernels.append(joined)
            values.append(nodes)
            names = [n for m in last[i].members for n in schedule.labels[m].split("+")]
            labels.append("+".join(dict.fromkeys(names)))
        elif i not in inner:
            kernels.append(kernel)
            values.append(schedule.values[i])
            labels.append(schedule.labels[i])
    stored = [n for n in schedule.stored if n not in gone]
    return replace(schedule, kernels=kernels, values=values, labels=labels, stored=stored)


class _Search:
    """The search for runs."""

    def __init__(self, schedule: Schedule, span_of: Callable[[Kernel], int]) -> None:
        self.schedule, self.span_of, self.homes = schedule, span_of, schedule.homes
        self.donated = {schedule.graph.outputs[at]: leaf for at, leaf in schedule.donated.items()}
        self.found: list[Run] = []

    def runs(self) -> list[Run]:
        """Return the runs of at least two kernels."""
        for number, kernel in enumerate(self.schedule.kernels):
            if kernel.kind not in ("map", "reduce") or len(kernel.domain) < 2:
                continue
            if self._writes_over(number):
                continue
            if not any(self._take(run, number) for run in reversed(self.found)):
                self._begin(number)
        return [run for run in self.found if len(run.members) > 1]

    def _writes_over(self, number: int) -> set[Node]:
        """Return the leaves a kernel writes its results over."""
        return {self.donated[n] for n in self.schedule.values[number] if n in self.donated}

    def _begin(self, number: int) -> None:
        kernel, nodes = self.schedule.kernels[number], self.schedule.values[number]
        tail = _tail(kernel)
        over = kernel.reduce_dims if tail is None else ()
        if not self._aligned(number, _written(kernel), tail or 0, over):
            return
        made = {nodes[b] for b in _written(kernel)}
        self.found.append(Run([number], number, made, set(nodes), tail or 0, 0, over))

    def _take(self, run: Run, number: int) -> bool:
        """Add a kernel to a run if it reads what the run makes, each row from the same row."""
        kernels, nodes = self.schedule.kernels, self.schedule.values[number]
        kernel = kernels[number]
        tail = _tail(kernel)
        inside = [b for b, node in enumerate(nodes) if node in run.made]
        over = kernel.reduce_dims if tail is None else ()
        if not inside or over != run.over or len(run.members) == MOST:
            return False
        if self.homes(n for n in nodes if n not in run.made) & self.homes(run.made):
            return False  # it reads a row of several, where a run has made one of them
        domain = kernels[run.members[0]].domain
        if not alike(kernel.domain, domain) or (tail and run.tail not in (0, tail)):
            return False
        tail = tail or run.tail
        if not (tail or over):
            return False
        if not self._aligned(number, [*inside, *_written(kernel)], tail, over):
            return False
        span = self._span(run, number)
        if not span:
            return False
        if self._may_wait(run, number):
            run.at = number
        elif not self._may_hurry(run, number):
            return False
        run.members.append(number)
        run.made |= {nodes[b] for b in _written(kernel)}
        run.seen |= set(nodes)
        run.tail, run.span = tail, span
        return True

    def _span(self, run: Run, number: int) -> int:
        """Return what all do at a time, with one more kernel; 0 where no number of tiles is."""
        every = [self.span_of(self.schedule.kernels[m]) for m in (*run.members, number)]
        whole = max(every)
        fits = all(span and whole % span == 0 for span in every)
        return whole if fits and whole > 1 else 0

    def _may_wait(self, run: Run, number: int) -> bool:
        """Tell whether the run may be done as late as another kernel."""
        if number - run.at > FAR + 1:
            return False
        made = self.homes(run.made)
        for i in self._between(run, number):
            if made & self.homes(self.schedule.values[i]) or run.seen & self._writes_over(i):
                return False
        return True

    def _may_hurry(self, run: Run, number: int) -> bool:
        """Tell whether a kernel may be done as early as the run: it reads nothing made since."""
        read = self.homes(self.schedule.values[number])
        since = self._between(run, number)
        return len(since) <= FAR and not any(
            read
            & self.homes(self.schedule.values[i][b] for b in _written(self.schedule.kernels[i]))
            for i in since
        )

    def _between(self, run: Run, number: int) -> list[int]:
        """Return the kernels after the run and before another that are not the run's."""
        return [i for i in range(run.at + 1, number) if i not in run.members]

    def _aligned(
        self, number: int, buffers: Iterable[int], tail: int, over: tuple[int, ...]
    ) -> bool:
        """Tell whether a kernel touches these buffers at its own index or row, and nowhere else."""
        kernel, wanted = self.schedule.kernels[number], set(buffers)
        rank = len(kernel.domain)
        reduced = over or range(rank - tail, rank)
        outer = tuple(1 if d in reduced else n for d, n in enumerate(kernel.domain))
        rows = tuple(s * (n > 1) for s, n in zip(strides_of(outer), outer, strict=True))
        # What is as large as the domain is touched at the index, what has an element a row there.
        good = {
            size(outer): Affine(rows),
            size(kernel.domain): linear(identity(kernel.domain), kernel.domain, rank),
        }

        def fits(buffer: int, affine: Affine) -> bool:
            behind = kernel.buffers[buffer]
            return not behind.start and good.get(behind.size) == affine

        loads = [e.attrs for e in kernel.expressions() if e.op == "load" and e.attrs[0] in wanted]
        if any(guards or far or not fits(buffer, at) for buffer, at, guards, far in loads):
            return False
        return all(fits(s.buffer, s.affine) for s in kernel.stores if s.buffer in wanted)


def _tail(kernel: Kernel) -> int | None:
    """Return how many dims are reduced, if they are the last ones; 0 for a map."""
    count = len(kernel.reduce_dims)
    rank = len(kernel.domain)
    return count if kernel.reduce_dims == tuple(range(rank - count, rank)) else None


def _written(kernel: Kernel) -> list[int]:
    return [i for i, buffer in enumerate(kernel.buffers) if buffer.written]


Key = tuple["Node", int]
"""A value, and the element of it that a pointer points to."""


def _joined(schedule: Schedule, run: Run) -> tuple[Kernel, list[Node], set[Node]]:
    """Return a run as one kernel, the nodes behind its pointers, and those it keeps to itself."""
    outside = {*schedule.graph.outputs, *schedule.hosts}
    for i, nodes in enumerate(schedule.values):
        if i not in run.members:
            outside.update(nodes)
    private = [n for m in run.members for n in schedule.values[m] if n in run.made - outside]
    private = [] if run.over else list(dict.fromkeys(private))
    shared: dict[Key, Buffer] = {}
    kept: dict[Key, Buffer] = {}
    parts: list[tuple[Kernel, list[Key]]] = []
    for m in run.members:
        kernel = schedule.kernels[m]
        keys = [(n, b.start) for n, b in zip(schedule.values[m], kernel.buffers, strict=True)]
        parts.append((kernel, keys))
        for key, buffer in zip(keys, kernel.buffers, strict=True):
            where = kept if key[0] in private else shared
            if key not in where or buffer.written:
                where[key] = buffer
    numbers = {n: i for i, n in enumerate(shared)} | {n: ~i for i, n in enumerate(kept)}
    made = tuple(Part(k, tuple(numbers[key] for key in keys)) for k, keys in parts)
    domain = schedule.kernels[run.members[0]].domain
    params = {"span": run.span, "private": tuple(kept.values()), "columns": bool(run.over)}
    joined = Kernel("rows", domain, list(shared.values()), params=params, parts=made)
    return joined, [node for node, _ in shared], set(private)
