"""Packages that exporters need and Tenor does not bring along."""

from __future__ import annotations

import importlib
from typing import Any

from tenor.errors import ExportError

__all__ = ["package"]


def package(name: str, extra: str) -> Any:
    """Return a package that comes with one of Tenor's extras.

    Raises:
        ExportError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExportError(
            f"export: the {name} package writes the file.",
            came=f"{name} is not installed",
            fix=f"pip install 'tenor[{extra}]'",
        ) from None
