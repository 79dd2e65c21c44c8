"""A folder that is put in place whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tenor.errors import ArgumentError, SaveError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_folder", "put_in_place"]

MARK: Final = "model.js"
"""A folder with this file is an earlier export, which may be replaced."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier export.

    Raises:
        ArgumentError: It does, or it is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file()):
        raise ArgumentError(
            "export_web: a new folder, an empty one, or one of an earlier export.",
            came=f"{str(folder)!r} holds other files" if folder.is_dir() else f"{folder} is a file",
            fix="give another folder",
        )


def put_in_place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder beside `folder`, which then takes its place.

    Raises:
        SaveError: The system could not write; what stood there before still stands.
    """
    target = Path(os.path.realpath(folder))
    token = secrets.token_hex(4)
    new, old = (target.parent / f".{target.name}.{token}.{end}" for end in ("part", "old"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        _swap(target, new, old)
    except OSError as problem:
        raise SaveError(
            "export_web: files written into a folder.",
            came=str(problem),
            fix=f"see {str(target)!r}",
        ) from problem
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _swap(target: Path, new: Path, old: Path) -> None:
    """Put the new folder where the old one is, or leave the old one there."""
    existed = target.exists()
    if existed:
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if existed:
            old.rename(target)
        raise
