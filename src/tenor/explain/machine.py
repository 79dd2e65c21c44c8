"""What a kernel's text becomes on this machine: assembly, and its size."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

from tenor.runtime import cpu

__all__ = ["Code", "code_of"]


@dataclass(frozen=True)
class Code:
    """A kernel's machine code.

    Attributes:
        assembly: As the assembler writes it.
        size: Bytes of instructions.
        seconds: How long LLVM took.
    """

    assembly: str
    size: int
    seconds: float


@functools.lru_cache(maxsize=4096)
def code_of(text: str) -> Code:
    """Return the machine code of a kernel's LLVM text for this machine."""
    start = time.perf_counter()
    assembly, size = cpu.assembly_of(text, cpu.host_target())
    return Code(assembly, size, time.perf_counter() - start)
