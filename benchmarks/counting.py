"""What a step costs in numbers that do not vary: launches, kernels, nodes, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["of_a_step"]


def of_a_step(step: Callable[[], Any]) -> dict[str, int]:
    """Do a step with Tenor and count what its programs did.

    Returns:
        programs: Native calls. launches: Kernels run. kernels: Distinct ones. arena: Bytes for
        values in between, the largest program's. plans: Programs compiled; none in a warm step.
    """
    from tenor.engine.flush import counts
    from tenor.runtime.executable import Executable

    ran: list[Any] = []
    original = Executable.run

    def watched(self: Any, *args: Any) -> Any:
        ran.append(self.program)
        return original(self, *args)

    before = counts["plans"]
    Executable.run = watched  # type: ignore[method-assign]
    try:
        step()
    finally:
        Executable.run = original  # type: ignore[method-assign]
    return {
        "programs": len(ran),
        "launches": sum(len(p.launches) for p in ran),
        "kernels": len({s for p in ran for s in p.symbols}),
        "arena": max((p.arena for p in ran), default=0),
        "plans": counts["plans"] - before,
    }
