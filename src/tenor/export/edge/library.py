"""A shared library from an object file, by the C compiler there is."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tenor.errors import ArgumentError

if TYPE_CHECKING:
    from tenor.export.edge.targets import Machinery

__all__ = ["linked", "suffix"]

ZIG: Final = {
    "x86_64-linux": "x86_64-linux-musl", "x86_64-avx512": "x86_64-linux-musl",
    "x86_64-vnni": "x86_64-linux-musl",
    "x86_64-baseline": "x86_64-linux-musl", "aarch64-linux": "aarch64-linux-musl",
    "aarch64-linux-dotprod": "aarch64-linux-musl", "armv7-linux": "arm-linux-musleabihf",
    "riscv64-linux": "riscv64-linux-musl", "aarch64-macos": "aarch64-macos",
    "x86_64-windows": "x86_64-windows-gnu",
}  # fmt: skip
"""Zig's names of machines, for those whose systems have shared libraries it can link."""


def suffix(row: Machinery) -> str:
    """Return how a shared library's name ends."""
    triple = row.target.triple
    if "windows" in triple:
        return ".dll"
    return ".dylib" if "apple" in triple else ".so"


def linked(data: bytes, row: Machinery, name: str, exported: str) -> bytes:
    """Return an object file as a shared library.

    Raises:
        ArgumentError: No linker for the machine is found, or it refuses.
    """
    command = _linker(row)
    if command is None:
        raise ArgumentError(
            f"export: form='shared' for {row.name} takes a C compiler for it.",
            came="none is installed",
            fix="install gcc or the ziglang package, or choose form='object' and link it there",
        )
    with tempfile.TemporaryDirectory() as folder:
        object_file, library = Path(folder) / f"{name}.o", Path(folder) / f"lib{name}{suffix(row)}"
        object_file.write_bytes(data)
        extra = _entry(row, Path(folder), exported)
        done = subprocess.run(  # noqa: S603 - a linker that was found, on our own files
            [*command, "-shared", "-nostdlib", "-o", library, object_file, *extra],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ArgumentError(
                f"export: {command[0]} must be able to link a library for {row.name}.",
                came=done.stderr.strip().splitlines()[-1:] or f"status {done.returncode}",
                fix="choose form='object' and link it with that machine's own tools",
            )
        return library.read_bytes()


def _linker(row: Machinery) -> list[str] | None:
    """Return the command that links for a machine, or None."""
    for compiler in ("gcc", "cc", "clang") if row.compiler == "" else ("gcc",):
        found = shutil.which(row.compiler + compiler)
        if found and ("linux-gnu" in row.target.triple) and _right(row, found):
            return [found]
    if row.name in ZIG and importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "-target", ZIG[row.name]]
    return None


def _right(row: Machinery, compiler: str) -> bool:
    """Tell whether a compiler makes code for a machine: the host's may be for another."""
    said = subprocess.run(  # noqa: S603 - a compiler that was found
        [compiler, "-dumpmachine"], capture_output=True, text=True, check=False
    )
    family = row.target.triple.partition("-")[0].replace("thumbv7a", "arm")
    return said.stdout.strip().startswith(family)


def _entry(row: Machinery, folder: Path, exported: str) -> list[Path | str]:
    """Return what a library needs beside the object: on Windows an entry and a list of exports."""
    if "windows" not in row.target.triple:
        return []
    entry, listed = folder / "entry.c", folder / "exports.def"
    entry.write_text("int DllMainCRTStartup(void *a, unsigned b, void *c);\n"
                     "int DllMainCRTStartup(void *a, unsigned b, void *c)\n"
                     "{ (void)a; (void)b; (void)c; return 1; }\n")  # fmt: skip
    listed.write_text(f"EXPORTS\n{exported}\n")
    return [entry, listed]
