"""Builtins written as LLVM IR over CPython's C interface.

The text is written for the places of the slots of our classes in this interpreter's objects, and
of what tuples, lists and bytes hold; that they are there is looked at first (`_laid_out`).
Constants (types, None, interned names, addresses) stand in a table, `@config`, so that the machine
code is the same in every process and comes from the cache on disk.

Lines that are no LLVM::

    %x = slot Class.name %object        load a slot
    keep Class.name %object %value      store into a slot, counting references
    begin Class.name %object %value     the same for a slot that was never set
    hold %object                        count a reference; null is none
    drop %object                        let a reference go; null is none
    %x = const name                     load a constant
    %x = typeof %object                 load an object's type
    %n = length %sequence               how many elements a tuple or a list has
    %x = item %tuple N                  load an element of a tuple, which is borrowed
    %x = entry %list N                  load an element of a list, which is borrowed
    put %tuple N %value                 set an element of a new tuple, which takes the reference
    fill %list N %value                 set an element of a new list, which takes the reference
    %x = bytes %object                  where the contents of bytes are
    %x = word N %table                  load a 64-bit number of a table
    %x = place N %table                 load an address of a table
    need %condition else label          go on where it holds
    some %x else label                  go on where a pointer is not null
    same %x %y else label               go on where two pointers are one
    each %i of %count name ... next name    a loop
"""

from __future__ import annotations

import ctypes
import struct
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.runtime import cpu
from tenor.runtime.executable import MethodDef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Address", "builtins", "expanded", "offset"]

METH_FASTCALL: Final = 0x80
METH_NOARGS: Final = 0x04
METH_O: Final = 0x08
CALLED: Final = ("PyList_Append", "Py_DecRef", "Py_IncRef")
"""What of CPython `PRELUDE` calls."""


class Address(NamedTuple):
    """A constant that is no object but a place in memory."""

    at: int


class _Member(ctypes.Structure):
    """CPython's PyMemberDef, as far as it is read."""

    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_int), ("offset", ctypes.c_ssize_t)]


class _Descriptor(ctypes.Structure):
    """CPython's PyMemberDescrObject."""

    _fields_ = [("head", ctypes.c_void_p * 5), ("member", ctypes.POINTER(_Member))]


_kept: Final[list[Any]] = []
# Objects may end by a builtin when the modules are gone already.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))


def offset(kind: type, name: str) -> int:
    """Return where in an object of a class a slot lies.

    Raises:
        LookupError: this interpreter does not lay its descriptors out as CPython does.
    """
    found = _Descriptor.from_address(id(vars(kind)[name])).member[0]
    if found.name != name.encode() or not 16 <= found.offset < 4096:
        raise LookupError(f"{kind.__name__}.{name}")
    return int(found.offset)


def _load(target: str, kind: str, source: str, at: int) -> str:
    return (
        f"  {target}.p = getelementptr i8, ptr {source}, i64 {at}\n"
        f"  {target} = load {kind}, ptr {target}.p"
    )


PRELUDE: Final = """
@config = external global i8
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)
declare i32 @PyList_Append(ptr, ptr)

; Counts are 64 bits until 3.11 and 32 since; what is immortal, or held very often, looks negative.
define internal void @hold(ptr %x) {
  some %x else end
  %n = load i32, ptr %x
  %usual = icmp sge i32 %n, 0
  need %usual else ask
  %n1 = add i32 %n, 1
  store i32 %n1, ptr %x
  ret void
ask:
  call void @Py_IncRef(ptr %x)
  ret void
end:
  ret void
}

define internal void @drop(ptr %x) {
  some %x else end
  %n = load i32, ptr %x
  %more = icmp sgt i32 %n, 1
  need %more else ask
  %n1 = sub i32 %n, 1
  store i32 %n1, ptr %x
  ret void
ask:
  call void @Py_DecRef(ptr %x)
  ret void
end:
  ret void
}

define internal i32 @append(ptr %list, ptr %x) {
  ; put an object at the end of a list; -1 with an error
  %n = length %list
  %roomp = getelementptr i8, ptr %list, i64 32
  %room = load i64, ptr %roomp
  %fits = icmp slt i64 %n, %room
  need %fits else grow
  hold %x
  fill %list %n %x
  %sizep = getelementptr i8, ptr %list, i64 16
  %n1 = add i64 %n, 1
  store i64 %n1, ptr %sizep
  ret i32 0
grow:
  %r = call i32 @PyList_Append(ptr %list, ptr %x)
  ret i32 %r
}

define internal ptr @taken(ptr %list, i64 %last) {
  ; take the last element of a list, whose number is given, out of it
  %x = entry %list %last
  %sizep = getelementptr i8, ptr %list, i64 16
  store i64 %last, ptr %sizep
  ret ptr %x
}
"""


def _laid_out() -> bool:
    """Tell whether tuples, lists, bytes and reference counts lie as the text takes them to."""
    if sys.byteorder != "little" or struct.calcsize("P") != 8:
        return False
    first, second = object(), object()
    pair, several, text = (first, second), [first, second], b"contents"
    several.append(pair)

    def word(of: object, at: int) -> int:
        return ctypes.c_ssize_t.from_address(id(of) + at).value

    entries = word(several, 24)
    before = ctypes.c_int32.from_address(id(first)).value
    held = [first] * 5
    return (
        [word(pair, 8 * i) for i in range(1, 5)] == [id(tuple), 2, id(first), id(second)]
        and word(several, 16) == 3 <= word(several, 32)
        and [ctypes.c_ssize_t.from_address(entries + 8 * i).value for i in range(3)]
        == [id(first), id(second), id(pair)]
        and ctypes.string_at(id(text) + 32, 9) == b"contents\0"
        and ctypes.c_int32.from_address(id(first)).value == before + len(held)
    )


def expanded(text: str, slots: Mapping[str, int], constants: Mapping[str, int]) -> str:
    """Return text as LLVM, for slots and constants at these offsets."""
    numbers = count()

    def keep(name: str, into: str, value: str) -> str:
        at = f"%kept{next(numbers)}"
        return (
            f"  {at} = getelementptr i8, ptr {into}, i64 {slots[name]}\n"
            f"  {at}.old = load ptr, ptr {at}\n"
            f"  call void @hold(ptr {value})\n"
            f"  store ptr {value}, ptr {at}\n"
            f"  call void @drop(ptr {at}.old)"
        )

    def begin(name: str, into: str, value: str) -> str:
        at = f"%begun{next(numbers)}"
        return (
            f"  {at} = getelementptr i8, ptr {into}, i64 {slots[name]}\n"
            f"  call void @hold(ptr {value})\n"
            f"  store ptr {value}, ptr {at}"
        )

    def element(at: str, of: str, i: str, within: bool) -> str:
        """Return the address of an element of a tuple, or, within its memory, of a list."""
        if not within:
            start = f"  {at}.all = getelementptr i8, ptr {of}, i64 24\n"
        else:
            start = _load(f"{at}.all", "ptr", of, 24) + "\n"
        return f"{start}  {at} = getelementptr ptr, ptr {at}.all, i64 {i}\n"

    def put(into: str, i: str, value: str, *, within: bool = False) -> str:
        at = f"%put{next(numbers)}"
        return f"{element(at, into, i, within)}  store ptr {value}, ptr {at}"

    def item(x: str, of: str, i: str, *, within: bool = False) -> str:
        return f"{element(f'{x}.p', of, i, within)}  {x} = load ptr, ptr {x}.p"

    def need(condition: str, other: str) -> str:
        on = f"so{next(numbers)}"
        return f"  br i1 {condition}, label %{on}, label %{other}\n{on}:"

    def compared(how: str, a: str, b: str, other: str) -> str:
        test = f"%test{next(numbers)}"
        return f"  {test} = icmp {how} ptr {a}, {b}\n" + need(test, other)

    counters = {}

    def each(i: str, many: str, name: str) -> str:
        counters[name] = i
        return (
            f"  br label %{name}.begin\n{name}.begin:\n  br label %{name}.head\n{name}.head:\n"
            f"  {i} = phi i64 [ 0, %{name}.begin ], [ {i}.more, %{name}.next ]\n"
            f"  {i}.some = icmp slt i64 {i}, {many}\n"
            f"  br i1 {i}.some, label %{name}.body, label %{name}.end\n{name}.body:"
        )

    def following(name: str) -> str:
        i = counters[name]
        return (
            f"  br label %{name}.next\n{name}.next:\n  {i}.more = add i64 {i}, 1\n"
            f"  br label %{name}.head\n{name}.end:"
        )

    forms: dict[str, Callable[..., str]] = {
        "slot": lambda x, n, o: _load(x, "ptr", o, slots[n]),
        "const": lambda x, n: _load(x, "ptr", "@config", constants[n]),
        "typeof": lambda x, o: _load(x, "ptr", o, 8),
        "length": lambda x, o: _load(x, "i64", o, 16),
        "item": item,
        "entry": lambda x, o, n: item(x, o, n, within=True),
        "bytes": lambda x, o: f"  {x} = getelementptr i8, ptr {o}, i64 32",
        "word": lambda x, n, t: _load(x, "i64", t, 8 * int(n)),
        "place": lambda x, n, t: _load(x, "ptr", t, 8 * int(n)),
        "hold": lambda o: f"  call void @hold(ptr {o})",
        "drop": lambda o: f"  call void @drop(ptr {o})",
        "keep": keep,
        "begin": begin,
        "put": put,
        "fill": lambda o, n, v: put(o, n, v, within=True),
        "need": lambda condition, _, other: need(condition, other),
        "some": lambda x, _, other: compared("ne", x, "null", other),
        "same": lambda x, y, _, other: compared("eq", x, y, other),
        "each": lambda i, _, many, name: each(i, many, name),
        "next": following,
    }
    lines = []
    for line in text.split("\n"):
        target, between, rest = line.strip().rpartition(" = ")
        word, *operands = rest.split()[:5] or [""]
        form = forms.get(word)
        lines.append(line if form is None else form(*[target] * bool(between), *operands))
    return "\n".join(lines)


def builtins(
    text: str, symbols: Mapping[str, str], slots: Mapping[str, int],
    constants: Mapping[str, object], names: Mapping[str, int | type], *, compiled: bool = False,
) -> list[Callable[..., Any]]:  # fmt: skip
    """Compile functions; return them as builtins.

    Args:
        text: Their text.
        symbols: Functions of CPython that are called, and their types.
        slots: Offsets by "Class.name".
        constants: The objects and addresses the text refers to, which are kept for ever.
        names: Each function and how it is called: METH_O, METH_FASTCALL or METH_NOARGS; of a
            method without arguments its class.
        compiled: Whether their machine code has to be in the cache.

    Raises:
        LookupError: this interpreter lays its objects out in another way, or the machine code is
            not in the cache.
    """
    if not _laid_out():
        raise LookupError("objects")
    places = {name: 8 * i for i, name in enumerate(constants)}
    declared = "\n".join(
        f"declare {kind.replace(' (', f' @{name}(')}"
        for name, kind in symbols.items()
        if f"@{name}(" not in PRELUDE
    )
    held = list(constants.values())
    at = [v.at if isinstance(v, Address) else id(v) for v in held]
    config = (ctypes.c_int64 * len(at))(*at)
    _kept.extend((held, config))
    imported = {name: cpu.address_in_python(name) for name in (*symbols, *CALLED)}
    whole = f"{declared}\n{expanded(PRELUDE + text, slots, places)}"
    imported["config"] = ctypes.addressof(config)
    addresses = cpu.jitted(whole, imported, list(names), compiled=compiled)
    if addresses is None:
        raise LookupError("machine code")
    return [_made(name, how, addresses[name]) for name, how in names.items()]


def _made(name: str, how: int | type, address: int) -> Any:
    """Return a function at an address as a builtin, or as a method of a class."""
    flags = how if isinstance(how, int) else METH_NOARGS
    definition = MethodDef(name.encode(), address, flags, None)
    _kept.append(definition)
    at = ctypes.addressof(definition)
    if isinstance(how, int):
        make = ctypes.PYFUNCTYPE(ctypes.py_object, *[ctypes.c_void_p] * 3)
        return make(("PyCFunction_NewEx", ctypes.pythonapi))(at, None, None)
    describe = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)
    return describe(("PyDescr_NewMethod", ctypes.pythonapi))(how, at)
