"""Where the command line writes, and how an error looks there."""

from __future__ import annotations

import functools
import importlib.util
import shlex
import sys
from typing import TYPE_CHECKING, Final, ParamSpec

import click
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tenor.errors import TenorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "EXTRAS", "complain", "err", "guarded", "missing", "not_installed", "out", "settings", "spelt",
]  # fmt: skip

P = ParamSpec("P")

out: Final = Console(soft_wrap=False, highlight=False)
err: Final = Console(stderr=True, highlight=False)

EXTRAS: Final = {
    "serve": ("uvicorn", "starlette", "msgspec"),
    "tensorboard": ("tensorboard",),
    "onnx": ("onnx",),
    "tflite": ("flatbuffers",),
    "webgpu": ("wgpu",),
}
"""Each extra, and the modules that come with it."""


class Settings:
    """What the options before the command said."""

    traceback: bool = False


settings: Final = Settings()


def spelt(text: str) -> str:
    r"""Return text from a file as a terminal may be given it: what would steer it is spelt out.

    Example:
        >>> print(spelt(chr(27) + "[31m"))  # which would make what follows red
        \x1b[31m
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def complain(wanted: str, came: Iterable[str] = (), fix: str = "", kind: str = "Error") -> None:
    """Write an error as a panel of four parts: what was wanted, what came, the command, the fix."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for at, entry in enumerate(came):
        table.add_row("" if at else "got", Text(spelt(entry)))
    table.add_row("in", Text(spelt(_command())))
    if fix:
        table.add_row("fix", Text(spelt(fix)))
    body = Group(Text(spelt(wanted), style="bold"), table)
    err.print(Panel(body, title=kind, title_align="left", border_style="red", expand=False))


def _command() -> str:
    return shlex.join(["tenor", *sys.argv[1:]])


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Make a command end with an exit status, and its failures with a reason, not a traceback.

    The command returns its status; None is 0.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        raise click.exceptions.Exit(_status(command, *args, **kwargs))

    return run


def _status(command: Callable[P, int | None], *args: P.args, **kwargs: P.kwargs) -> int:
    try:
        return command(*args, **kwargs) or 0
    except KeyboardInterrupt:
        err.print("interrupted")
        return 130
    except (TenorError, OSError, ModuleNotFoundError) as error:
        if settings.traceback:
            raise
        if isinstance(error, BrokenPipeError):
            return _closed()
        _explain(error)
        return 1


def _explain(error: TenorError | OSError | ModuleNotFoundError) -> None:
    if isinstance(error, TenorError):
        complain(error.wanted, error.came, error.fix, type(error).__name__)
    elif isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        if module not in _extras():
            raise error
        not_installed([module])
    else:
        name = f": {error.filename}" if error.filename else ""
        complain(
            "a file that can be read or written.",
            [f"{error.strerror or error}{name}"],
            "check the path and its permissions",
            type(error).__name__,
        )


def _extras() -> dict[str, str]:
    """Return the extra that brings each module."""
    return {module: extra for extra, modules in EXTRAS.items() for module in modules}


def missing(extras: Iterable[str]) -> list[str]:
    """Return the modules of extras that are not installed."""
    wanted = [module for extra in extras for module in EXTRAS[extra]]
    return [module for module in wanted if importlib.util.find_spec(module) is None]


def not_installed(modules: Sequence[str]) -> None:
    """Write which extras bring modules that are missing."""
    brought = _extras()
    extras = ",".join(sorted({brought[module] for module in modules}))
    complain(
        f"this command needs tenor[{extras}].",
        [f"no module named {module!r}" for module in modules],
        f'pip install "tenor[{extras}]"',
        "Not installed",
    )


def _closed() -> int:
    """Whoever read our output has gone, as `| head` does; say no more."""
    sys.stdout = None
    return 1
