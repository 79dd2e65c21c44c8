"""Constants that are added to an address go into the load or store that takes it.

`x; i32.const c; i32.add; v128.load` reads at (x + c) modulo 2^32, and `x; v128.load offset=c` at
x + c, or traps. LLVM leaves the first where it cannot show that x + c does not wrap. Here it does
not: whatever a model reads or writes lies at `lowest` or above, so that x = address - c is not
negative for c <= lowest. What is read is the same; code is a quarter shorter, and an engine that
guards its memory makes one instruction of the two.

Numbers that the object left five bytes for are written in as few as they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["leb", "tightened"]

BLOCKS: Final = range(0x02, 0x05)
NUMBERED: Final = frozenset((0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x3F, 0x40, 0xD2))
"""Instructions with one number: branches, calls, variables."""
PLAIN: Final = frozenset((0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, *range(0x45, 0xC5)))
LOADS: Final = range(0x28, 0x36)
STORES: Final = range(0x36, 0x3F)
LOCAL_GET, I32_CONST, I64_CONST, F32_CONST, F64_CONST, I32_ADD = 0x20, 0x41, 0x42, 0x43, 0x44, 0x6A
WIDE, MANY = 0xFD, 0xFC
WIDE_LOADS: Final = frozenset((*range(11), 92, 93))
WIDE_STORE: Final = 11
WIDE_LANES: Final = range(84, 92)
"""Loads and stores of one lane: the vector lies on the stack above the address."""
WIDE_BYTES: Final = {12: 16, 13: 16, **dict.fromkeys(range(21, 35), 1)}
MANY_NUMBERS: Final = {8: 2, 9: 1, 10: 2, 11: 1, **dict.fromkeys(range(8), 0)}


@dataclass
class _Instr:
    """One instruction: its opcode, and its number, or where it reads or writes.

    Attributes:
        code: The bytes of the opcode.
        rest: The bytes behind it, and behind its number or its offset.
        number: The number of `i32.const`, or of a branch, call or variable.
        memory: "load", or "store" where a value lies above the address; "" for others.
        align, offset: Of a load or store.
    """

    code: bytes
    rest: bytes = b""
    number: int | None = None
    memory: str = ""
    align: int = 0
    offset: int = 0
    padded: bool = False

    def written(self) -> bytes:
        """Return its bytes."""
        if self.memory:
            return self.code + leb(self.align) + leb(self.offset) + self.rest
        if self.number is not None and self.code[0] != I32_CONST:
            return self.code + leb(self.number) + self.rest
        return self.code + self.rest


def leb(value: int) -> bytes:
    """Return a number as an unsigned LEB128."""
    made = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        made.append(byte | 128 if value else byte)
        if not value:
            return bytes(made)


def tightened(code: bytes, lowest: int) -> bytes:
    """Return a code section with constants folded into its loads and stores.

    Args:
        code: The section's body.
        lowest: What is read and written lies at this address or above.
    """
    count, at = _unsigned(code, 0)
    made = [leb(count)]
    for _ in range(count):
        length, at = _unsigned(code, at)
        body = _body(code[at : at + length], lowest)
        made += [leb(len(body)), body]
        at += length
    return b"".join(made)


def _body(body: bytes, lowest: int) -> bytes:
    """Return a function's body, or the same where an instruction is not known here."""
    kinds, at = _unsigned(body, 0)
    for _ in range(kinds):
        _, at = _unsigned(body, at)
        at += 1
    start, found = at, []
    while at < len(body):
        instr, at = _read(body, at)
        if instr is None:
            return body
        found.append(instr)
    return body[:start] + b"".join(i.written() for i in _folded(found, lowest))


def _folded(found: list[_Instr], lowest: int) -> list[_Instr]:
    made: list[_Instr] = []
    at = 0
    while at < len(found):
        access = _access(found, at, lowest)
        if access is not None:
            access.offset += found[at].number or 0
            at += 2
        made.append(found[at])
        at += 1
    return made


def _access(found: list[_Instr], at: int, lowest: int) -> _Instr | None:
    """Return the load or store that takes an address to which a constant is added here."""
    const, *after = found[at : at + 4]
    if const.code[0] != I32_CONST or const.padded or len(after) < 2 or after[0].code[0] != I32_ADD:
        return None
    access = after[1]
    if not access.memory and access.code[0] == LOCAL_GET and len(after) == 3:
        access = after[2]
        if access.memory != "store":
            return None
    elif access.memory != "load":
        return None
    number = const.number or 0
    fits = number >= 0 and number + access.offset <= lowest
    return access if fits else None


# -- reading --------------------------------------------------------------------------------------
def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _skipped(data: bytes, at: int) -> int:
    while data[at] >= 128:
        at += 1
    return at + 1


def _read(data: bytes, at: int) -> tuple[_Instr | None, int]:
    """Read an instruction; None where it is not known."""
    op, start = data[at], at
    at += 1
    if op in PLAIN:
        return _Instr(data[start:at]), at
    if op in NUMBERED:
        number, end = _unsigned(data, at)
        return _Instr(data[start:at], number=number), end
    if op == I32_CONST:
        return _const(data, start)
    if op in LOADS or op in STORES:
        return _memory(data, start, at, "load" if op in LOADS else "store", 0)
    if op == WIDE:
        return _wide(data, start, at)
    behind = _end(data, op, at)
    return (None, at) if behind is None else (_Instr(data[start:at], data[at:behind]), behind)


def _end(data: bytes, op: int, at: int) -> int | None:
    """Return where an instruction of another kind ends."""
    if op in BLOCKS or op == I64_CONST:
        return _skipped(data, at)
    if op in (F32_CONST, F64_CONST):
        return at + (4 if op == F32_CONST else 8)
    if op == 0x0E:  # br_table
        count, at = _unsigned(data, at)
        for _ in range(count + 1):
            at = _skipped(data, at)
        return at
    if op == MANY:
        which, at = _unsigned(data, at)
        if which not in MANY_NUMBERS:
            return None
        for _ in range(MANY_NUMBERS[which]):
            at = _skipped(data, at)
        return at
    return None


def _const(data: bytes, start: int) -> tuple[_Instr, int]:
    end = _skipped(data, start + 1)
    value, _ = _unsigned(data, start + 1)
    bits = 7 * (end - start - 1)
    signed = value - (1 << bits) if value >> (bits - 1) else value
    return _Instr(data[start : start + 1], data[start + 1 : end], signed,
                  padded=end - start == 6), end  # fmt: skip


def _memory(data: bytes, start: int, at: int, kind: str, lane: int) -> tuple[_Instr, int]:
    align, place = _unsigned(data, at)
    offset, end = _unsigned(data, place)
    rest = data[end : end + lane]
    return _Instr(data[start:at], rest, None, kind, align, offset), end + lane


def _wide(data: bytes, start: int, at: int) -> tuple[_Instr | None, int]:
    which, at = _unsigned(data, at)
    if which in WIDE_LOADS:
        return _memory(data, start, at, "load", 0)
    if which == WIDE_STORE or which in WIDE_LANES:
        return _memory(data, start, at, "store", int(which in WIDE_LANES))
    end = at + WIDE_BYTES.get(which, 0)
    return _Instr(data[start:at], data[at:end]), end
