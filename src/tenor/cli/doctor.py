"""`tenor doctor`: what this installation runs on, and whether it computes what it should."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.table import Table
from rich.text import Text

from tenor.cli.console import EXTRAS, missing, out
from tenor.compiler import compile as compile_graph
from tenor.compiler.emit import reference
from tenor.config import config
from tenor.explain.units import bytes_text
from tenor.ir import dtype as dt
from tenor.ir.build import GraphBuilder
from tenor.runtime import allocator, cpu, executable
from tenor.runtime.pool import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.ir.node import Graph

__all__ = ["CHECKS", "Check", "doctor", "self_test"]

INTERESTING: Final = (
    "avx512f",
    "avx512bf16",
    "avx512vnni",
    "avx2",
    "avx",
    "fma",
    "f16c",
    "neon",
    "sve",
)
TOLERANCE: Final = 2e-6
Check = tuple[bool, str]


def _python() -> Check:
    text = f"{platform.python_implementation()} {platform.python_version()}, {sys.platform}"
    return sys.version_info >= (3, 11), text


def _package(name: str) -> Callable[[], Check]:
    def check() -> Check:
        try:
            return True, version(name)
        except PackageNotFoundError:
            found = importlib.util.find_spec(name) is not None
            return found, "from a source tree" if found else "not installed"

    return check


def _llvm() -> Check:
    return True, ".".join(map(str, cpu.llvm().llvm_version_info))


def _cpu() -> Check:
    target = cpu.host_target()
    has = set(target.features.split(","))
    features = [name for name in INTERESTING if f"+{name}" in has]
    return True, (
        f"{target.cpu}, {target.triple}, {target.vector_bits}-bit vectors"
        f"{': ' + ' '.join(features) if features else ''}"
    )


def _threads() -> Check:
    count = get_num_threads()
    return count >= 1, f"{count} (TENOR_THREADS)"


def _backend() -> Check:
    skipped = f", without {' '.join(sorted(config.skip_passes))}" if config.skip_passes else ""
    return True, f"{config.backend}{skipped}"


def _cache() -> Check:
    if not config.cache:
        return True, "off (TENOR_CACHE=0)"
    path = config.cache_dir
    files = [f for f in path.rglob("*.o") if f.is_file()] if path.is_dir() else []
    size = sum(f.stat().st_size for f in files)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return True, f"{path} cannot be written ({error.strerror}); everything is compiled anew"
    return True, f"{path}, {len(files)} kernels, {bytes_text(size)}"


def _extra(name: str) -> Callable[[], Check]:
    def check() -> Check:
        if missing([name]):
            return True, f'not installed: pip install "tenor[{name}]"'
        return True, ", ".join(f"{m} {version(m)}" for m in EXTRAS[name])

    return check


# -- the self-test ----------------------------------------------------------------------------
def _graph() -> Graph:
    """Return softmax(relu(x @ w)) over the last dim."""
    g = GraphBuilder()
    x, w = g.leaf((33, 65), dt.float32), g.leaf((65, 17), dt.float32)
    y = g.matmul(x, w)
    y = g.where(g.lt(y, g.zeros(y.shape, dt.float32)), g.zeros(y.shape, dt.float32), y)
    e = g.exp(g.sub(y, g.expand(g.max(y, (1,)), y.shape)))
    return g.graph(g.div(e, g.expand(g.sum(e, (1,)), y.shape)))


def _compiled(graph: Graph, arrays: list[Any]) -> Any:
    """Return what the compiled graph gives."""
    runner = executable.load(compile_graph(graph, cpu.host_target(), skip=config.skip_passes))
    outputs, _, _ = runner.run([allocator.copy_of(a) for a in arrays], [])
    return outputs[0].array(np.dtype(np.float32), graph.outputs[0].shape).copy()


def self_test() -> Check:
    """Compile and run a small graph, and compare it with the interpreter and itself."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((33, 65), (65, 17))]
    graph = _graph()
    wanted = reference.run(graph, arrays, [])[0]
    threads = get_num_threads()
    try:
        set_num_threads(1)
        one = _compiled(graph, arrays)
        set_num_threads(2)
        two = _compiled(graph, arrays)
    finally:
        set_num_threads(threads)
    error = float(np.abs(one - wanted).max())
    if not error <= TOLERANCE:
        return False, f"compiled code differs from the interpreter by {error:.3g}"
    if one.tobytes() != two.tobytes():
        return False, "two threads give other bits than one"
    return True, f"within {error:.1e} of the interpreter; 1 and 2 threads give the same bits"


CHECKS: Final[dict[str, Callable[[], Check]]] = {
    "tenor": _package("tenor"),
    "python": _python,
    "numpy": _package("numpy"),
    "llvmlite": _package("llvmlite"),
    "llvm": _llvm,
    "cpu": _cpu,
    "threads": _threads,
    "backend": _backend,
    "cache": _cache,
    "extra serve": _extra("serve"),
    "extra tensorboard": _extra("tensorboard"),
    "self-test": self_test,
}
"""What is looked at, in order: each says whether it is well, and what was found."""


def doctor() -> int:
    """Show every check; 1 where one failed."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    failed = []
    for name, check in CHECKS.items():
        well, text = run(check)
        if not well:
            failed.append(name)
        table.add_row("[green]ok[/]" if well else "[red]failed[/]", name, Text(text))
    out.print(table)
    if failed:
        out.print(Text(f"failed: {', '.join(failed)}", style="red"))
    return 1 if failed else 0


def run(check: Callable[[], Check]) -> Check:
    """Return what a check found; one that raises has failed."""
    try:
        return check()
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
