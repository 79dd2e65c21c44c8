"""Machine code for machines we are not on: LLVM text to an object file."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tenor.runtime import cpu

if TYPE_CHECKING:
    from tenor.ir.target import Target

__all__ = ["object_file"]


@functools.cache
def _all_targets() -> Any:
    binding = cpu.llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


def _machine(target: Target, reloc: str, level: int) -> Any:
    binding = _all_targets()
    return binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=level, reloc=reloc, codemodel="default"
    )


def object_file(text: str, target: Target, *, reloc: str = "static", level: int = 2) -> bytes:
    """Return an LLVM module as an object file: ELF, Mach-O, COFF or WebAssembly by the triple.

    Loops are neither vectorised nor turned into calls of a C library: the text says what is done.

    Args:
        text: The module.
        target: The machine.
        reloc: "static", or "pic" for what goes into a shared library.
        level: LLVM's level of optimisation.
    """
    with cpu.lock:
        binding = _all_targets()
        machine = _machine(target, reloc, level)
        parsed = binding.parse_assembly(text)
        parsed.triple = target.triple
        parsed.data_layout = str(machine.target_data)
        options = binding.create_pipeline_tuning_options(level)
        options.loop_vectorization = options.slp_vectorization = False
        options.loop_unrolling = False
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(parsed, builder)
        made = bytes(machine.emit_object(parsed))
        parsed.close()
    return made
