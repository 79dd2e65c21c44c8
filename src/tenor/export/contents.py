"""What is in an object file: bytes of code and constants, and the symbols it lacks.

Read by the layouts that the ELF specification, Apple's mach-o/loader.h and Microsoft's PE format
page give; only what LLVM writes for one little-endian module.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Contents", "contents", "undefined"]

MACHO: Final = b"\xcf\xfa\xed\xfe"
EXECUTED: Final = {"elf": 4, "macho": 0x80000400, "coff": 0x20}
"""Flags of a section that holds code."""


@dataclass(frozen=True)
class Contents:
    """What is in an object file.

    Attributes:
        code: Bytes of instructions.
        constants: Bytes of the constants that instructions read.
        undefined: Symbols that somebody else would have to define.
    """

    code: int
    constants: int
    undefined: tuple[str, ...]


def contents(data: bytes) -> Contents:
    """Return what is in an object file: ELF, Mach-O or COFF."""
    if data[:4] == b"\x7fELF":
        return _elf(data)
    return _macho(data) if data[:4] == MACHO else _coff(data)


def undefined(data: bytes) -> tuple[str, ...]:
    """Return the symbols that an object file wants from elsewhere."""
    return contents(data).undefined


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _elf(data: bytes) -> Contents:
    wide = data[4] == 2
    at, entry, count = struct.unpack_from(
        "<Q10xHH" if wide else "<I10xHH", data, 40 if wide else 32
    )
    # (sh_name, type, flags, addr, offset, size, link, info, align, entry size)
    kind = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
    heads = [struct.unpack_from(kind, data, at + entry * i) for i in range(count)]
    code = sum(h[5] for h in heads if h[1] == 1 and h[2] & EXECUTED["elf"])
    constants = sum(h[5] for h in heads if h[1] == 1 and h[2] & 7 == 2)
    missing = []
    for head in heads:
        if head[1] == 2:  # the table of symbols; its link is the one of their names
            names = heads[head[6]][4]
            missing += [_text(data, names + n) for n in _elf_missing(data, head, wide)]
    return Contents(code, constants, tuple(sorted(missing)))


def _elf_missing(data: bytes, head: tuple[int, ...], wide: bool) -> Iterator[int]:
    """Give where the names of undefined symbols begin."""
    for at in range(head[4], head[4] + head[5], head[9]):
        name, section = struct.unpack_from("<I2xH" if wide else "<I10xH", data, at)
        if name and section == 0:
            yield name


def _macho(data: bytes) -> Contents:
    code = constants = 0
    missing: list[str] = []
    at = 32
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, length = struct.unpack_from("<II", data, at)
        if command == 0x19:  # LC_SEGMENT_64
            for i in range(struct.unpack_from("<I", data, at + 64)[0]):
                nbytes, flags = struct.unpack_from("<Q16xI", data, at + 72 + 80 * i + 40)
                executed = bool(flags & EXECUTED["macho"])
                code, constants = code + nbytes * executed, constants + nbytes * (not executed)
        elif command == 2:  # LC_SYMTAB
            missing = list(_macho_missing(data, *struct.unpack_from("<III", data, at + 8)))
        at += length
    return Contents(code, constants, tuple(sorted(missing)))


def _macho_missing(data: bytes, symbols: int, count: int, names: int) -> Iterator[str]:
    for i in range(count):
        name, kind = struct.unpack_from("<IB", data, symbols + 16 * i)
        if kind & 0xE == 0:  # N_UNDF
            yield _text(data, names + name)


def _coff(data: bytes) -> Contents:
    sections, table, symbols = struct.unpack_from("<2xH4xII", data, 0)
    heads = [struct.unpack_from("<8s8xI16xI", data, 20 + 40 * i) for i in range(sections)]
    code = sum(size for _, size, flags in heads if flags & EXECUTED["coff"])
    constants = sum(size for name, size, _ in heads if name.startswith(b".rdata"))
    names = table + 18 * symbols
    missing, i = [], 0
    while i < symbols:
        raw, section, kind, more = struct.unpack_from("<8s4xh2xBB", data, table + 18 * i)
        if section == 0 and kind == 2:
            far = struct.unpack("<II", raw)
            missing.append(raw.rstrip(b"\0").decode() if far[0] else _text(data, names + far[1]))
        i += 1 + more
    return Contents(code, constants, tuple(sorted(missing)))
