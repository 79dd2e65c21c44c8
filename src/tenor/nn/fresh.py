"""Initial values are computed before the first step, so that no step's plan holds them.

Making a model records the drawing of every parameter. Were it left pending, the first training
step would be recorded together with it, compiled, and compiled once more without it.
"""

from __future__ import annotations

import threading
from typing import Final

from tenor.engine.trace import local

__all__ = ["fresh"]


class Fresh(threading.local):
    """Whether initial values of this thread are still to be computed.

    Attributes:
        pending: Parameters were made or drawn since the last time.
        depth: How many constructors of modules are running.
    """

    pending = False
    depth = 0

    def settle(self) -> None:
        """Compute what is pending, unless a constructor is still adding to it."""
        if self.pending and not self.depth and local.pinning is None:
            self.pending = False
            local.flush()


fresh: Final = Fresh()
