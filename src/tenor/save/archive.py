"""A zip file of one shape: stored members, 64-byte aligned, the same bytes for the same contents.

Any zip tool reads it. The reader here takes nothing but what the writer here writes: from the
members' names, sizes and checksums every other byte of the file follows, so all of them are
compared. That leaves no field to be wrong or to be played with: no compression, no hidden data
between members, no two directories that disagree.

Source:
    https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from tenor.errors import ArgumentError, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ALIGN", "Member", "crc", "pieces", "read"]

ALIGN: Final = 64
MAX_MEMBERS: Final = 4096
MAX_DIRECTORY: Final = 1 << 20
WIDE: Final = 0xFFFFFFFF
"""From here on a number is written in the 64-bit fields, and 0xFFFFFFFF in its own place."""

LOCAL: Final = struct.Struct("<4s5H3I2H")
CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
END: Final = struct.Struct("<4s4H2IH")
END_WIDE: Final = struct.Struct("<4sQ2H2I4Q")
LOCATOR: Final = struct.Struct("<4sIQI")

PLAIN, ZIP64 = 20, 45
MADE_BY: Final = 3 << 8 | ZIP64  # Unix, which gives the mode below its meaning
MODE: Final = 0o100644 << 16
DATE: Final = 1 << 5 | 1  # 1980-01-01, the earliest there is
PADDING: Final = 0xD935  # the id Android's zipalign gives to an extra field of zeros


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive.

    Attributes:
        name: Its path inside.
        size: Its bytes.
        crc: Their CRC-32.
        at: Where its local header begins.
    """

    name: str
    size: int
    crc: int
    at: int = 0

    @property
    def data(self) -> int:
        """Where its bytes begin, a multiple of 64."""
        return self.at + len(_local(self))

    @property
    def end(self) -> int:
        """Where its bytes end."""
        return self.data + self.size


def crc(chunks: Sequence[bytes | memoryview]) -> int:
    """Return the CRC-32 of chunks one after another."""
    value = 0
    for chunk in chunks:
        value = zlib.crc32(chunk, value)
    return value


def place(members: Iterable[Member]) -> list[Member]:
    """Return the members one after another, each with its place."""
    placed: list[Member] = []
    at = 0
    for member in members:
        placed.append(Member(member.name, member.size, member.crc, at))
        at = placed[-1].end
    return placed


# -- writing ----------------------------------------------------------------------------------
def pieces(
    members: Sequence[tuple[str, Sequence[bytes | memoryview]]],
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an archive of named chunks, in the order given.

    Raises:
        ArgumentError: More members than a reader takes.
    """
    sized = [Member(name, sum(map(len, chunks)), crc(chunks)) for name, chunks in members]
    placed = place(sized)
    directory = _directory(placed)
    if len(placed) > MAX_MEMBERS or len(directory) > MAX_DIRECTORY:
        raise ArgumentError(
            f"bundle: at most {MAX_MEMBERS} members.", f"{len(placed)}", "join some of the assets"
        )
    for member, (_, chunks) in zip(placed, members, strict=True):
        yield _local(member)
        yield from chunks
    yield directory


def _local(member: Member) -> bytes:
    name = member.name.encode("ascii")
    wide = member.size >= WIDE
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.size) if wide else b""
    bare = member.at + LOCAL.size + len(name) + len(extra)
    fill = -(bare + 4) % ALIGN
    extra += struct.pack("<2H", PADDING, fill) + bytes(fill)
    size = 0xFFFFFFFF if wide else member.size
    return LOCAL.pack(
        b"PK\3\4", ZIP64 if wide else PLAIN, 0, 0, 0, DATE, member.crc, size, size,
        len(name), len(extra),
    ) + name + extra  # fmt: skip


def _directory(members: Sequence[Member]) -> bytes:
    """Return all that follows the last member's bytes."""
    at = members[-1].end if members else 0
    entries = b"".join(map(_central, members))
    count, size = len(members), len(entries)
    end = END.pack(
        b"PK\5\6", 0, 0, count, count, size,
        0xFFFFFFFF if at >= WIDE else at, 0,
    )  # fmt: skip
    if at < WIDE:
        return entries + end
    wide = END_WIDE.pack(
        b"PK\6\6", END_WIDE.size - 12, MADE_BY, ZIP64, 0, 0, count, count, size, at
    )
    return entries + wide + LOCATOR.pack(b"PK\6\7", 0, at + size, 1) + end


def _central(member: Member) -> bytes:
    name = member.name.encode("ascii")
    wide_size, wide_at = member.size >= WIDE, member.at >= WIDE
    values = [member.size] * 2 * wide_size + [member.at] * wide_at
    extra = struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    size = 0xFFFFFFFF if wide_size else member.size
    return CENTRAL.pack(
        b"PK\1\2", MADE_BY, ZIP64 if values else PLAIN, 0, 0, 0, DATE, member.crc, size, size,
        len(name), len(extra), 0, 0, 0, MODE, 0xFFFFFFFF if wide_at else member.at,
    ) + name + extra  # fmt: skip


# -- reading ----------------------------------------------------------------------------------
def read(view: memoryview) -> list[Member]:
    """Return the members of an archive in order; their bytes are `view[m.data:m.end]`.

    Checksums are not compared here: the caller knows which members it reads.

    Raises:
        FormatError: Not an archive as `pieces` makes it; says why.
    """
    start, count, size = _end(view)
    entries = bytes(view[start : start + size])
    members = place(_entries(entries, count, len(view)))
    if start != (members[-1].end if members else 0):
        _refuse("members that do not fill the file up to the directory")
    if bytes(view[start:]) != _directory(members):
        _refuse("a directory of another form")
    for member in members:
        header = _local(member)
        if view[member.at : member.at + len(header)] != header:
            _refuse(f"another header before {member.name[:80]!r} than the directory says")
    return members


def _end(view: memoryview) -> tuple[int, int, int]:
    """Return where the directory begins, how many members it has and its entries' bytes."""
    length = len(view)
    if length < END.size:
        _refuse(f"{length} bytes")
    magic, _, _, _, count, size, at, _ = END.unpack_from(view, length - END.size)
    if magic != b"PK\5\6":
        _refuse("no end record in its place")
    tail = END.size
    if at == 0xFFFFFFFF:
        tail += LOCATOR.size + END_WIDE.size
        if length < tail:
            _refuse(f"{length} bytes")
        magic, _, _, _, _, _, _, count, size, at = END_WIDE.unpack_from(view, length - tail)
        if magic != b"PK\6\6":
            _refuse("no 64-bit end record in its place")
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        _refuse(f"{count} members in a directory of {size} bytes")
    if at + size + tail != length:
        _refuse(f"a directory at {at} of {size} bytes in a file of {length}")
    return at, count, size


def _entries(data: bytes, count: int, limit: int) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if len(data) < at + CENTRAL.size:
            _refuse("a directory cut short")
        fields = CENTRAL.unpack_from(data, at)
        checksum, size, name_length, extra_length = fields[7], fields[9], fields[10], fields[11]
        at += CENTRAL.size
        name = data[at : at + name_length]
        extra = data[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length
        if size == 0xFFFFFFFF:
            if len(extra) < 12:
                _refuse("a 64-bit size that is not there")
            (size,) = struct.unpack_from("<Q", extra, 4)
        if not name.isascii():
            _refuse("a name that is not ASCII")
        if size > limit:
            _refuse(f"a member of {size} bytes in a file of {limit}")
        yield Member(name.decode("ascii"), size, checksum)


def _refuse(came: str) -> NoReturn:
    raise FormatError(
        "bundle: a whole .tnr file.",
        came=came,
        fix="the file was cut short or damaged, or was not written by Tenor (a .tnr is not "
        "to be packed again)",
    )
