"""Run a user's script and listen to what the engine compiles for it."""

from __future__ import annotations

import contextlib
import linecache
import runpy
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenor.config import config
from tenor.engine import backend
from tenor.engine.flush import flush
from tenor.engine.trace import reset_trie
from tenor.errors import OWN, ArgumentError, TenorError
from tenor.explain.record import Report, record_of
from tenor.runtime import cpu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tenor.ir.node import Graph

__all__ = ["explain_script", "listening"]


@contextlib.contextmanager
def listening() -> Iterator[list[Graph]]:
    """Return a list that grows by each graph the engine compiles inside the `with` block.

    Example:
        >>> with listening() as graphs:
        ...     pass
        >>> graphs
        []
    """
    graphs: list[Graph] = []

    def observe(graph: Graph, _program: Any) -> None:
        graphs.append(graph)

    backend.observers.append(observe)
    try:
        yield graphs
    finally:
        backend.observers.remove(observe)


def explain_script(
    path: str | Path, arguments: Sequence[str] = (), *, measure: bool = True
) -> Report:
    """Run a script as `python path arguments` would, and report every program it ran.

    A script that fails or is interrupted is reported up to there.

    What the script left unobserved when it ended is run then, and marked so.

    Args:
        path: The script.
        arguments: Its command-line arguments.
        measure: Whether to run every kernel once more for its time.

    Raises:
        ArgumentError: There is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise ArgumentError(
            "explain: the script must be a Python file.",
            came=f"{file} {'is a directory' if file.is_dir() else 'does not exist'}",
            fix="give the path of a script, as you would to python",
        )
    reset_trie()
    report = Report(str(file), target=_target(), skipped=tuple(sorted(config.skip_passes)))
    with listening() as graphs:
        start = time.perf_counter()
        # The names the script left must live on until what they hold has been computed.
        names = _run(file, arguments, report)
        report.seconds = time.perf_counter() - start
        observed = len(graphs)
        with contextlib.suppress(Exception):
            flush()
        del names
    for at, graph in enumerate(graphs):
        number, late = len(report.programs) + 1, at >= observed
        made = record_of(number, graph, measure=measure, unobserved=late)
        if made.kernels or not late:  # what is left over at the end may be nothing at all
            report.programs.append(made)
    return report


def _target() -> str:
    target = cpu.host_target()
    return f"{target.triple} {target.cpu}, {target.vector_bits}-bit vectors"


def _run(file: Path, arguments: Sequence[str], report: Report) -> dict[str, Any]:
    """Run the file as `__main__`; an exception becomes the report's failure."""
    before, path = sys.argv, list(sys.path)
    sys.argv = [str(file), *arguments]
    sys.path.insert(0, str(file.resolve().parent))
    linecache.getlines(str(file))  # read now: the script may change the directory
    try:
        return runpy.run_path(str(file), run_name="__main__")
    except SystemExit as stop:
        report.status = _status(stop.code)
        if report.status:
            said = f"exit status {stop.code}" if stop.code == report.status else str(stop.code)
            report.failure = f"the script left with {said}"
    except KeyboardInterrupt:  # of a script that runs long; what it ran is worth seeing
        report.status = 130
        report.failure = "the script was interrupted"
    except Exception as error:
        report.status = 1
        report.failure = _own(error, file)
    finally:
        sys.argv = before
        sys.path[:] = path
    return {}


def _status(code: object) -> int:
    if code is None:
        return 0
    return code if isinstance(code, int) else 1


def _own(error: Exception, file: Path) -> str:
    """Return the traceback from the script's first frame on.

    An error of Tenor's says itself which line of the user's it is about: the frames of Tenor's
    own that follow say nothing more.
    """
    frames = error.__traceback__
    while frames is not None and Path(frames.tb_frame.f_code.co_filename) != file:
        frames = frames.tb_next
    told = traceback.TracebackException(type(error), error, frames)
    if isinstance(error, TenorError):
        ours = [frame.filename.startswith(OWN) for frame in told.stack]
        del told.stack[ours.index(True) if any(ours) else len(ours) :]
    return "".join(told.format()).rstrip()
