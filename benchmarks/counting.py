"""What a step costs in numbers that do not vary: launches, kernels, nodes, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["listen", "of_a_step"]

sizes: dict[int, int] = {}
"""Nodes of the graph of each program compiled since `listen`, by the program's id."""


def listen() -> None:
    """Note the size of every graph that is compiled from now on."""
    from tenor.engine import backend

    if _note not in backend.observers:
        backend.observers.append(_note)


def _note(graph: Any, program: Any) -> None:
    sizes[id(program)] = len(graph.nodes)


def of_a_step(step: Callable[[], Any]) -> dict[str, int]:
    """Do a step with Tenor and count what its programs did.

    Returns:
        programs: Native calls. nodes: Of their graphs, where `listen` heard of them. launches:
        Kernels run. kernels: Distinct ones. arena: Bytes for values in between, the largest
        program's. plans: Programs compiled; none in a warm step.
    """
    from tenor.engine.flush import counts
    from tenor.engine.recorder import in_python
    from tenor.runtime.executable import Executable

    ran: list[Any] = []
    original = Executable._run

    def watched(self: Any, *args: Any) -> Any:
        ran.append(self.program)
        return original(self, *args)

    before = counts["plans"]
    Executable._run = watched  # type: ignore[method-assign]
    try:
        with in_python():  # the builtins run programs without it
            step()
    finally:
        Executable._run = original  # type: ignore[method-assign]
    return {
        "programs": len(ran),
        "nodes": sum(sizes.get(id(p), 0) for p in ran),
        "launches": sum(len(p.launches) for p in ran),
        "kernels": len({s for p in ran for s in p.symbols}),
        "arena": max((p.arena for p in ran), default=0),
        "plans": counts["plans"] - before,
    }
