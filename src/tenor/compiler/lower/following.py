"""The map that follows a product whose batch is images and groups of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenor.compiler.lower.epilogue import epilogue_of
from tenor.compiler.lower.window import unflat

if TYPE_CHECKING:
    from tenor.compiler.lower.after import After
    from tenor.compiler.lower.epilogue import Epilogue
    from tenor.ir.kernel import Kernel
    from tenor.ir.loops import Function, Value
    from tenor.ir.target import Target

__all__ = ["Following"]


@dataclass(frozen=True)
class Following:
    """What is done to the results of a product: rows are channels, columns are places.

    Attributes:
        kernel: The convolution the product computes.
        target: The target.
        channels: Channels of a group.
        after: The map, done to pieces that were written.
    """

    kernel: Kernel
    target: Target
    channels: int
    after: After

    def epilogue(self, rows: int) -> Epilogue | None:
        """Return the map done to sums in registers, of tiles of so many rows; None: it cannot."""
        return epilogue_of(self.kernel, self.target, rows)

    def where(
        self, f: Function, which: Value, row: Value, rows: Value
    ) -> tuple[Value, Value, Value]:
        """Return the image, the first channel and the channels of rows of product `which`."""
        p = self.kernel.params
        image, group = unflat(f, which, (p["n"], p["groups"]))
        return image, f.add(f.mul(group, self.channels), row), rows
