"""A relocatable WebAssembly object as a module that runs.

One object's types and functions have their final numbers already. What is left is to lay data
out, to write addresses where the object says that they go, to make the stack pointer a global of
the module's own, and to say what is exported. Formats: the WebAssembly core specification, and
`Linking.md` of WebAssembly's tool conventions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from tenor.errors import CompileError, FormatError
from tenor.export.web.offsets import leb, tightened

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PAGE", "Linked", "lacking", "link"]

PAGE: Final = 65536
MOST_PAGES: Final = 65536
MAGIC: Final = b"\0asm\1\0\0\0"
BASE: Final = 1024
"""Where data begins: what a null pointer would reach is left empty."""
STACK: Final = 1 << 16
ALIGN: Final = 64
LOWEST: Final = 1 << 18
"""The heap begins here at the lowest: constants of up to half of it go into loads and stores."""

TYPES, IMPORTS, FUNCTIONS, MEMORY, GLOBALS, EXPORTS, ELEMENTS, CODE, DATA = (
    1,
    2,
    3,
    5,
    6,
    7,
    9,
    10,
    11,
)
CUSTOM: Final = 0
SEGMENTS, INITS, COMDATS, SYMBOLS = 5, 6, 7, 8
FUNCTION_SYMBOL, DATA_SYMBOL, SECTION_SYMBOL = 0, 1, 3
WEAK, LOCAL, HIDDEN, UNDEFINED, NAMED = 1, 2, 4, 16, 64
NUMBERED: Final = {0: "function", 7: "global"}
"""Relocations whose value is a symbol's number."""
TYPE_NUMBER: Final = 6
ADDRESSES: Final = {3: "leb", 4: "leb", 5: "i32"}
"""Relocations whose value is an address; below 2 GB a signed and an unsigned LEB are one."""
I32, CONSTANT, VARIABLE, I32_CONST, END = b"\x7f", b"\0", b"\1", b"\x41", b"\x0b"


@dataclass(frozen=True)
class Linked:
    """A module.

    Attributes:
        module: Its bytes.
        heap: The first address that neither data nor stack takes.
        exports: The functions it gives out.
        pages: Pages of 64 KB that its memory has.
    """

    module: bytes
    heap: int
    exports: tuple[str, ...]
    pages: int


@dataclass
class _Symbol:
    """A function, a piece of data or a global that relocations name."""

    kind: int
    flags: int
    name: str = ""
    number: int = 0
    segment: int = 0
    offset: int = 0


@dataclass
class _Segment:
    """A stretch of data: where it begins in its section, its length, the address it gets."""

    start: int
    length: int
    address: int


@dataclass
class _Object:
    """What is read of an object."""

    sections: list[tuple[int, bytearray]] = field(default_factory=list)
    customs: dict[str, _Reader] = field(default_factory=dict)
    symbols: list[_Symbol] = field(default_factory=list)
    alignments: list[int] = field(default_factory=list)
    segments: list[_Segment] = field(default_factory=list)
    data_end: int = BASE
    has_stack: bool = False

    def body(self, number: int) -> bytes:
        """Return a section's bytes; none where there is no such section."""
        return next((bytes(body) for n, body in self.sections if n == number), b"")


def link(
    data: bytes, heap: int = 0, *, exports: Iterable[str] = ("run",), memory: str = "exported"
) -> Linked:
    """Return an object as a module.

    Its memory holds data, then the stack, which grows down, then `heap` bytes from `__heap_base`
    on, which is exported as a global.

    Args:
        data: One object that LLVM made for wasm32.
        heap: Bytes behind the stack.
        exports: Functions to give out.
        memory: "exported"; "imported" from `env.memory`; or "shared", imported by several threads,
            each of which sets the exported `__stack_pointer` to a stack of its own.

    Raises:
        FormatError: The bytes are no such object.
        CompileError: It needs what is not linked here: another object's functions, tables of
            functions, weak symbols, thread-local data.
    """
    try:
        found = _read(data)
        _lay_out(found)
    except (IndexError, ValueError, KeyError, struct.error) as problem:
        if isinstance(problem, FormatError):
            raise
        _malformed(str(problem) or type(problem).__name__)
    base = max(LOWEST, -(-(found.data_end + STACK) // ALIGN) * ALIGN)
    _relocate(found, {"__heap_base": base, "__data_end": found.data_end})
    pages = -(-(base + heap) // PAGE)
    if pages > MOST_PAGES:
        _unsupported(f"{base + heap} bytes of memory", "a 32-bit module has 4 GB at most")
    chosen = tuple(exports)
    return Linked(_written(found, base, pages, chosen, memory), base, chosen, pages)


def _malformed(came: str) -> NoReturn:
    raise FormatError("link: a relocatable WebAssembly object as LLVM writes it.", came=came)


def _unsupported(came: str, fix: str = "") -> NoReturn:
    raise CompileError("link: one object that needs nothing else.", came=came, fix=fix)


# -- reading --------------------------------------------------------------------------------------
class _Reader:
    """Bytes being read."""

    def __init__(self, data: bytes | bytearray, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        """Take a byte."""
        self.at += 1
        return self.data[self.at - 1]

    def unsigned(self) -> int:
        """Take an unsigned LEB128 number."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        """Take a signed LEB128 number."""
        start = self.at
        value = self.unsigned()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def take(self, count: int) -> bytes:
        """Take so many bytes."""
        if self.at + count > len(self.data):
            raise IndexError(f"it ends {self.at + count - len(self.data)} bytes early")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def text(self) -> str:
        """Take a name."""
        return self.take(self.unsigned()).decode()

    @property
    def more(self) -> bool:
        """Whether bytes are left."""
        return self.at < len(self.data)


def _read(data: bytes) -> _Object:
    """Read an object's sections and symbols."""
    if data[:8] != MAGIC:
        _malformed(f"it begins with {data[:8]!r}")
    reader, found = _Reader(data, 8), _Object()
    while reader.more:
        number = reader.byte()
        body = bytearray(reader.take(reader.unsigned()))
        found.sections.append((number, body))
        if number == CUSTOM:
            inside = _Reader(body)
            found.customs[inside.text()] = inside
    if "linking" not in found.customs:
        _malformed("no section 'linking'")
    _read_linking(found.customs["linking"], found)
    if _Reader(found.body(ELEMENTS) or b"\0").unsigned():
        _unsupported("a table of functions", "call functions by name")
    return found


def _read_linking(reader: _Reader, found: _Object) -> None:
    version = reader.unsigned()
    if version != 2:
        _malformed(f"version {version} of its section 'linking'; 2 is known")
    while reader.more:
        kind, length = reader.byte(), reader.unsigned()
        end = reader.at + length
        if kind == SYMBOLS:
            found.symbols = [_symbol(reader) for _ in range(reader.unsigned())]
        elif kind == SEGMENTS:
            for _ in range(reader.unsigned()):
                name = reader.text()
                found.alignments.append(1 << reader.unsigned())
                if reader.unsigned() & 2 or name.startswith(".tdata"):
                    _unsupported(f"thread-local data {name!r}")
        elif kind in (INITS, COMDATS) and reader.unsigned():
            _unsupported("functions that run first" if kind == INITS else "COMDAT groups")
        reader.at = end


def _symbol(reader: _Reader) -> _Symbol:
    made = _Symbol(reader.byte(), reader.unsigned())
    if made.kind == DATA_SYMBOL:
        made.name = reader.text()
        if not made.flags & UNDEFINED:
            made.segment, made.offset, _ = (reader.unsigned() for _ in range(3))
    else:
        made.number = reader.unsigned()
        if made.kind != SECTION_SYMBOL and (not made.flags & UNDEFINED or made.flags & NAMED):
            made.name = reader.text()
    if made.flags & 3 == WEAK:
        _unsupported(f"the weak symbol {made.name!r}")
    return made


# -- linking --------------------------------------------------------------------------------------
def _lay_out(found: _Object) -> None:
    """Give every stretch of data an address, and see what is imported."""
    body, at = found.body(DATA), BASE
    reader = _Reader(body)
    for i in range(reader.unsigned() if body else 0):
        mode = reader.unsigned()
        if mode > 1:
            _unsupported("data of another memory")
        if mode == 0:
            reader.byte(), reader.signed(), reader.byte()
        align = found.alignments[i]
        at = -(-at // align) * align
        length = reader.unsigned()
        found.segments.append(_Segment(reader.at, length, at))
        reader.take(length)
        at += length
    found.data_end = at
    _imported(found)


def lacking(data: bytes) -> list[str]:
    """Return the names of what an object wants from another."""
    return _missing(_read(data))


def _imported(found: _Object) -> None:
    """Refuse what another object would have to give."""
    missing = _missing(found)
    if missing:
        fix = "the computation needs a function that no WebAssembly instruction does"
        _unsupported("it calls " + ", ".join(missing), fix)


def _missing(found: _Object) -> list[str]:
    """Return what another object would have to give; the stack's pointer is the module's own."""
    body = found.body(IMPORTS)
    reader, missing = _Reader(body), []
    for _ in range(reader.unsigned() if body else 0):
        _, name, kind = reader.text(), reader.text(), reader.byte()
        if kind == 0:
            reader.unsigned()
            missing.append(name)
        elif kind == 3:
            reader.take(2)
            found.has_stack = name == "__stack_pointer"
            missing += [] if found.has_stack else [name]
        else:
            reader.take(kind == 1)
            flags = reader.unsigned()
            for _ in range(1 + (flags & 1)):
                reader.unsigned()
    return missing


def _relocate(found: _Object, known: dict[str, int]) -> None:
    """Write addresses and numbers where the object says that they go."""
    for name, reader in found.customs.items():
        if not name.startswith("reloc."):
            continue
        number, body = found.sections[reader.unsigned()]
        count = reader.unsigned() if number != CUSTOM else 0
        for _ in range(count):
            kind, at, symbol = reader.byte(), reader.unsigned(), reader.unsigned()
            value = _relocation(found, known, kind, symbol, reader)
            body[at : at + len(value)] = value


def _relocation(
    found: _Object, known: dict[str, int], kind: int, symbol: int, reader: _Reader
) -> bytes:
    """Return the bytes that a relocation puts into place."""
    if kind == TYPE_NUMBER:
        return _padded(symbol)
    if kind in NUMBERED:
        return _padded(found.symbols[symbol].number)
    if kind not in ADDRESSES:
        _unsupported(f"a relocation of type {kind}", "see Linking.md of the tool conventions")
    named = found.symbols[symbol]
    if named.flags & UNDEFINED and named.name not in known:
        _unsupported(f"data {named.name!r} that it does not hold")
    place = known.get(named.name)
    if place is None:
        place = found.segments[named.segment].address + named.offset
    place += reader.signed()
    return struct.pack("<I", place) if ADDRESSES[kind] == "i32" else _padded(place)


# -- writing --------------------------------------------------------------------------------------
def _signed(value: int) -> bytes:
    """Return a number that is not negative as a signed LEB128."""
    made = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        if not value and byte < 64:
            return bytes([*made, byte])
        made.append(byte | 128)


def _padded(value: int) -> bytes:
    """Return a number in five bytes of LEB128, as objects leave room for."""
    return bytes([(value >> 7 * i & 127) | 128 for i in range(4)] + [value >> 28 & 15])


def _name(text: str) -> bytes:
    raw = text.encode()
    return leb(len(raw)) + raw


def _vector(items: list[bytes]) -> bytes:
    return leb(len(items)) + b"".join(items)


def _written(found: _Object, base: int, pages: int, exports: tuple[str, ...], memory: str) -> bytes:
    """Return the module's bytes."""
    limits = leb(3 if memory == "shared" else 1) + leb(pages) + leb(pages)
    imported = memory != "exported"
    held = found.body(DATA)
    data = []
    for s in found.segments:
        raw = held[s.start : s.start + s.length]
        if any(raw):  # memory is zero when it begins
            data.append(b"\0" + I32_CONST + _signed(s.address) + END + leb(len(raw)) + raw)
    sections: list[tuple[int, bytes]] = [
        (TYPES, found.body(TYPES)),
        (IMPORTS, _vector([_name("env") + _name("memory") + b"\2" + limits]) if imported else b""),
        (FUNCTIONS, found.body(FUNCTIONS)),
        (MEMORY, b"" if imported else _vector([limits])),
        (GLOBALS, _globals(found, base)),
        (EXPORTS, _exports(found, exports, memory)),
        (CODE, tightened(found.body(CODE), BASE if found.has_stack or data else base // 2)),
        (DATA, _vector(data) if data else b""),
    ]
    return MAGIC + b"".join(bytes([n]) + leb(len(b)) + b for n, b in sections if b)


def _globals(found: _Object, base: int) -> bytes:
    stack = base // 16 * 16
    made = [I32 + VARIABLE + I32_CONST + _signed(stack) + END] if found.has_stack else []
    return _vector([*made, I32 + CONSTANT + I32_CONST + _signed(base) + END])


def _exports(found: _Object, exports: tuple[str, ...], memory: str) -> bytes:
    numbers = {
        s.name: s.number
        for s in found.symbols
        if s.kind == FUNCTION_SYMBOL and not s.flags & UNDEFINED
    }
    absent = [name for name in exports if name not in numbers]
    if absent:
        _unsupported(f"no function {', '.join(absent)}", "it has " + ", ".join(numbers))
    made = [_name(name) + b"\0" + leb(numbers[name]) for name in exports]
    made.append(_name("__heap_base") + b"\3" + leb(int(found.has_stack)))
    if memory == "exported":
        made.append(_name("memory") + b"\2\0")
    if memory == "shared" and found.has_stack:
        made.append(_name("__stack_pointer") + b"\3\0")
    return _vector(made)
