"""Flush of a trace with many gradients or a deferred step: one look-up for all of those tensors.

The first time everything is given a handle and flushed like any other trace; what is remembered is
where each value is then found. A trace that ends in the same way stores its values by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tenor.engine import flush as one
from tenor.engine.flush import counts
from tenor.engine.gradients import SMALL
from tenor.engine.liveness import IN_A_LIST, IN_A_MAP, IN_A_NAME, getrefcount
from tenor.engine.steps import settle
from tenor.engine.trace import install
from tenor.engine.walk import FREED
from tenor.runtime.executable import Executable, Interrupted

if TYPE_CHECKING:
    from tenor.engine.flush import Binding
    from tenor.engine.gradients import Gradients
    from tenor.engine.handle import Handle
    from tenor.engine.trace import Trace
    from tenor.runtime.executable import Block

__all__ = ["Together"]


@dataclass
class Together:
    """How one trace's values are stored.

    Values are numbered: first the buffers a run makes, then the leaves.

    Attributes:
        binding: The plan, and what it is for all the tensors.
        order: For each of the binding's tensors its number among the single ones, the gradients
            and the written ones, one after another.
        alone: For each single tensor the number of its value, and its number in the binding.
        gradients: For each backward pass the numbers of its values, and where those in the block
            lie.
        moved: (number of the deferred procedure, of the tensor, of its value) of each written
            tensor whose value is not written over the old one.
        kept: The same of those whose value is.
        block: Where gradients are put.
    """

    binding: Binding
    order: list[int]
    alone: list[tuple[int, int]]
    gradients: list[tuple[list[int], list[tuple[int, int]]]]
    moved: list[tuple[int, int, int]]
    kept: list[tuple[int, int, int]]
    block: Block


def flush(trace: Trace) -> None:
    """Run what a trace with gradients or deferred writes has recorded and store what is alive."""
    trace.sealed = True
    live: list[Handle] = []
    try:
        held = [g for g in trace.gradients if getrefcount(g) > IN_A_NAME + 1]  # the list's
        one.collect(trace, live)
        needing = one.needing(trace, live)
        key = _key(trace, live, held)
    except BaseException:
        one.restore(trace, live)
        raise
    known = None if needing else trace.state.plans.get(key)
    if known is None:
        one.restore(trace, live)
        _first(trace, live, held, None if needing else key)
        return
    counts["flushes"] += 1
    try:
        _execute(trace, live, held, known)
    except BaseException:
        if not trace.done:
            one.restore(trace, live)
        raise
    one.retire(trace)


def _key(trace: Trace, live: list[Handle], held: list[Gradients]) -> Any:
    return (
        "together",
        tuple([h.state for h in live]),
        tuple([g.macro for g in held]),
        tuple([writes.end for writes, _ in trace.deferred]),
        tuple(trace.donors.values()),
    )


def _first(trace: Trace, live: list[Handle], held: list[Gradients], key: Any) -> None:
    """Flush tensor by tensor, and remember where the values are."""
    end, deferred = trace.state, list(trace.deferred)
    made = settle(trace, held)
    everything, binding = one.bind(trace)
    metas = [h.meta for h in made]
    one.finish(trace, everything, binding)
    if key is None or not isinstance(binding.plan.runner, Executable):
        return
    at = {id(h): i for i, h in enumerate(everything)}
    numbers = [at[id(h)] for h in [*live, *made]]
    written = sum([len(writes.new) for writes, _ in deferred])
    lasting = zip(metas[len(made) - written :], numbers[len(numbers) - written :], strict=True)
    if len(numbers) != len(everything) or any(binding.metas[i] is not m for m, i in lasting):
        return
    end.plans[key] = _remembered(binding, numbers, len(live), held, deferred)


def _remembered(
    binding: Binding, numbers: list[int], alone: int, held: list[Gradients], deferred: list[Any]
) -> Together:
    runner = binding.plan.runner
    assert isinstance(runner, Executable)
    fresh = {at: k for k, at in enumerate(runner.fresh)}
    values = []
    for i in numbers:
        space, at = binding.places[i]
        if space == "output" and at in fresh:
            values.append(fresh[at])
        else:
            values.append(len(fresh) + (runner.given[at] if space == "output" else at))
    count = sum([len(g.states) for g in held])
    ours, others = values[alone : alone + count], values[:alone] + values[alone + count :]
    together = {runner.fresh[v] for v in {*ours} - {*others} if v < len(fresh)}
    block = runner.block(together, SMALL)
    where = list(zip(block.offsets, runner.sizes, strict=True))
    gradients, begin = [], alone
    for g in held:
        part = values[begin : begin + len(g.states)]
        gradients.append((part, [where[v] if v < len(fresh) else (0, 0) for v in part]))
        begin += len(g.states)
    moved: list[tuple[int, int, int]] = []
    kept: list[tuple[int, int, int]] = []
    for d, (writes, _) in enumerate(deferred):
        for tensor, _, _ in writes.new:
            space, at = binding.places[numbers[begin]]
            inside = space == "output" and at in runner.given
            (kept if inside else moved).append((d, tensor, values[begin]))
            begin += 1
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    singles = list(zip(values[:alone], numbers[:alone], strict=True))
    return Together(binding, order, singles, gradients, moved, kept, block)


def _execute(trace: Trace, live: list[Handle], held: list[Gradients], known: Together) -> None:
    plan, leaves = known.binding.plan, trace.leaves
    runner: Any = plan.runner
    if leaves and max(map(getrefcount, leaves)) > IN_A_MAP + 1:
        copied = False
        for i in plan.donated:
            # Anybody but the tensor and this list would see it change.
            if getrefcount(leaves[i]) > IN_A_LIST + 1:
                leaves[i] = leaves[i].snapshot()
                copied = True
    else:
        copied = False
    try:
        made, memory, code, value = runner.run_together(leaves, trace.scalars, known.block)
    except Interrupted as late:
        _interrupted(trace, live, held, known, late)
    except MemoryError as error:
        one.overflow(trace, _settled(trace, live, held), error)
    if code:
        one.abandon(trace, _settled(trace, live, held), plan, code, value)
    try:
        _store(trace, live, held, known, made, memory, copied)
    except BaseException:  # what was run must not be run again: it has written leaves
        _store(trace, live, held, known, made, memory, copied)
        one.retire(trace)
        raise


def _settled(trace: Trace, live: list[Handle], held: list[Gradients]) -> list[Handle]:
    """Return every tensor that is alive, each with a handle."""
    everything = [*live, *settle(trace, held)]
    trace.outs.clear()
    return everything


def _interrupted(
    trace: Trace, live: list[Handle], held: list[Gradients], known: Together, late: Interrupted
) -> NoReturn:
    """Store what was run, tensor by tensor, and raise the interrupt."""
    outputs, code, value = late.results
    everything = _settled(trace, live, held)
    if code:
        one.abandon(trace, everything, known.binding.plan, code, value)
    one.store(trace, [everything[i] for i in known.order], known.binding, outputs)
    one.retire(trace)
    assert late.__cause__ is not None
    raise late.__cause__


def _store(
    trace: Trace,
    live: list[Handle],
    held: list[Gradients],
    known: Together,
    made: list[Any],
    memory: Any,
    copied: bool,
) -> None:
    """Give every tensor its value."""
    values = [*made, *trace.leaves]
    metas, linked = known.binding.metas, known.binding.linked
    for handle, (at, i) in zip(live, known.alone, strict=True):
        buffer, old = values[at], handle.buffer
        if old is not None and old.shared and old.nbytes == buffer.nbytes:
            old.assign(buffer)
            buffer = old
        handle.buffer = buffer
        handle.meta = metas[i]
        handle.within = None
        if linked[i]:
            handle.segment = FREED if handle.state in trace.freed else None
            handle.origin = handle.state
    for found, (numbers, parts) in zip(held, known.gradients, strict=True):
        found.fill([values[at] for at in numbers], parts, memory)
    deferred = trace.deferred
    for d, tensor, at in (*known.moved, *known.kept) if copied else known.moved:
        deferred[d][1][tensor].buffer = values[at]
    for _, tensors in deferred:
        for handle in tensors:
            handle.version += 1
    trace.gradients = []
    trace.deferred = []


install(together=flush)
