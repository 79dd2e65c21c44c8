"""One row for each kind of kernel, and one for each primitive that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tenor.compiler.emit.wgsl import contraction
from tenor.compiler.emit.wgsl.body import Body
from tenor.compiler.emit.wgsl.map import write_map
from tenor.compiler.emit.wgsl.order import write_cumsum, write_sort
from tenor.compiler.emit.wgsl.reduce import write_reduce
from tenor.compiler.emit.wgsl.scatter import write_fold, write_put, write_put_along

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tenor.ir.kernel import Kernel
    from tenor.ir.shader import Shader, Wire

__all__ = ["KINDS", "MISSING", "PRODUCTS", "write"]

Groups = tuple[int, int, int]

PRODUCTS: Final = frozenset(contraction.PRODUCTS)
"""Kernels whose elements a map may take as they are finished: it is their one part."""
KINDS: Final[dict[str, Callable[[Body], tuple[int, Groups]]]] = {
    "map": write_map,
    "reduce": write_reduce,
    **dict.fromkeys(PRODUCTS, contraction.write_product),
    "fold": write_fold,
    "put": write_put,
    "put_along": write_put_along,
    "cumsum": write_cumsum,
    "argsort": write_sort,
    "topk": write_sort,
}

MISSING: Final[dict[str, tuple[str, str]]] = {
    "scalar": (
        "a run-time number has 64 bits, and a device has none of those",
        "make the number a tensor input of the model",
    ),
    "random_bits": (
        "it counts with 64 bits, and a saved model draws no random numbers",
        "save the model in eval() mode, or make the random numbers an input",
    ),
    "attention_gradient": (
        "models are run on a device, not trained",
        "use a signature that predicts; train on the CPU",
    ),
}
"""Primitives that no shader computes: why, and what to use instead."""


def write(
    kernel: Kernel, wires: Sequence[Wire], access: Sequence[str],
    status: tuple[int, dict[int, int]] | None = None,
) -> tuple[Shader, Groups]:  # fmt: skip
    """Return a kernel as a shader, and how many workgroups it takes.

    Args:
        kernel: The kernel.
        wires: Where each of its buffers is.
        access: For each binding "read" or "write".
        status: The binding that notes indices out of range, and each check's number by its code.
    """
    body = Body(kernel, wires, access, status)
    threads, groups = KINDS[kernel.kind](body)
    return body.shader(threads), groups
