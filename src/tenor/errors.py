"""Every exception Tenor raises, as one drawn tree.

In:     what was wanted, what came, what to do; the user's own line is found here.
Out:    TenorError, a RuntimeError as most of PyTorch's are, and its leaves, each also the builtin
        a Python programmer would catch.
Never:  decides what is wrong; that is known where the error is raised.

::

    TenorError             (RuntimeError)
    ├── ShapeError         (ValueError)    shapes that do not fit an operation
    ├── DTypeError         (TypeError)     dtypes an operation is not defined for
    ├── AxisError          (IndexError)    a dim outside [-ndim, ndim)
    ├── IndexRangeError    (IndexError)    an index outside the dimension it indexes
    ├── LabelError         (ValueError,    a class label outside [0, classes)
    │                       IndexError)
    ├── ArgumentError      (ValueError)    any other argument out of its domain
    ├── GradientError                      backward that cannot be done as asked
    ├── ObservationError                   a value read where values do not exist yet
    ├── OutOfMemoryError   (MemoryError)   values that do not fit in memory
    ├── FormatError        (ValueError)    a file that is not what it says it is
    ├── ExportError        (ValueError)    a model that another format cannot hold
    ├── SaveError          (OSError)       a file that could not be written; the old one stands
    ├── RequestError       (ValueError)    a malformed request to a served model
    └── CompileError                       our own mistake, with the graph that shows it
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

__all__ = [
    "ArgumentError",
    "AxisError",
    "CompileError",
    "DTypeError",
    "ExportError",
    "FormatError",
    "GradientError",
    "IndexRangeError",
    "LabelError",
    "ObservationError",
    "OutOfMemoryError",
    "RequestError",
    "SaveError",
    "ShapeError",
    "TenorError",
    "user_line",
]

PACKAGE = str(Path(__file__).parent)
OWN = (PACKAGE, "<tenor")
"""How the names of Tenor's own files begin."""
LIBRARY = str(Path(contextlib.__file__).parent)
"""Python's own: `with` and the like stand between our frames and the user's."""


def user_line() -> tuple[str, int] | None:
    """Return the innermost (file, line) on the stack that is neither Tenor's nor Python's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        users = _USERS.get(file)
        if users is None:
            pythons = file.startswith(LIBRARY) and "site-packages" not in file
            users = _USERS[file] = not (pythons or file.startswith(OWN))
        if users:
            return file, frame.f_lineno
        frame = frame.f_back
    return None


_USERS: dict[str, bool] = {}
"""Whether a file is the user's: asked at every index that is checked."""


def source_text(where: tuple[str, int] | None) -> str | None:
    """Return `file:line  source` for a user line, or None where there is none."""
    if where is None:
        return None
    file, line = where
    text = traceback.linecache.getline(file, line).strip()  # type: ignore[attr-defined]
    return f"{file}:{line}  {text}".rstrip()


class TenorError(RuntimeError):
    """An error in four parts: what was wanted, what came, the user's line, what to do.

    Args:
        wanted: One sentence that states the rule, beginning with the operation's name.
        came: What was given instead, one entry a line.
        fix: What to change.
        where: (file, line) of the user's code; found on the stack when left out.
        operands: The values involved, so that a module can name its own parameters.
    """

    def __init__(
        self,
        wanted: str,
        came: str | Iterable[str] = (),
        fix: str = "",
        where: tuple[str, int] | None = None,
        operands: tuple[Any, ...] = (),
    ) -> None:
        self.wanted = wanted
        self.came = [came] if isinstance(came, str) else list(came)
        self.fix = fix
        self.where = where if where is not None else user_line()
        self.operands = operands
        self.modules: list[Any] = []
        self.module_path = ""
        super().__init__(wanted)

    def __str__(self) -> str:
        lines = [self.wanted]
        if self.module_path:
            lines.append(f"  in module: {self.module_path}")
        lines += [
            f"  got: {entry}" if i == 0 else f"       {entry}" for i, entry in enumerate(self.came)
        ]
        source = source_text(self.where)
        if source:
            lines.append(f"  at: {source}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class ShapeError(TenorError, ValueError):
    """Shapes that do not fit an operation."""


class DTypeError(TenorError, TypeError):
    """A dtype that an operation is not defined for."""


class AxisError(TenorError, IndexError):
    """A dim outside [-ndim, ndim)."""


class IndexRangeError(TenorError, IndexError):
    """An index outside the dimension it indexes."""


class LabelError(TenorError, ValueError, IndexError):
    """A class label outside [0, classes)."""


class ArgumentError(TenorError, ValueError):
    """An argument outside its domain."""


class GradientError(TenorError):
    """A backward pass that cannot be done as asked."""


class ObservationError(TenorError):
    """A value read where values do not exist yet, inside a compiled function."""


class OutOfMemoryError(TenorError, MemoryError):
    """Values that do not fit in memory."""


class FormatError(TenorError, ValueError):
    """A file that is not what it says it is."""


class ExportError(TenorError, ValueError):
    """A model that a format or target cannot hold; nothing was written."""


class SaveError(TenorError, OSError):
    """A file that could not be written; what stood there before still stands."""


class RequestError(TenorError, ValueError):
    """A malformed request to a served model."""


class CompileError(TenorError):
    """A mistake of Tenor's own, with what is needed to report it."""
