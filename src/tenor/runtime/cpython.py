"""Builtins written as LLVM IR over CPython's C interface.

The text is written for the places of the slots of our classes in this interpreter's objects;
constants (types, None, interned names, addresses) come with the builtins' own argument, `%config`.

Lines that are no LLVM::

    %x = slot Class.name %object        load a slot
    keep Class.name %object %value      store into a slot, counting references
    %x = const name                     load a constant
    %x = typeof %object                 load an object's type
    %x = item %tuple N                  load an element of a tuple, which is borrowed
    %x = word N %table                  load a 64-bit number of a table
    %x = place N %table                 load an address of a table
    need %condition else label          go on where it holds
    each %i of %count name ... next name    a loop
"""

from __future__ import annotations

import ctypes
import re
import struct
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenor.runtime import cpu
from tenor.runtime.executable import MethodDef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Address", "builtins", "expanded", "offset"]

METH_FASTCALL: Final = 0x80
METH_O: Final = 0x08


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


def expanded(text: str, slots: Mapping[str, int], constants: Mapping[str, int]) -> str:
    """Return text as LLVM, for slots and constants at these offsets."""
    numbers = count()

    def keep(name: str, into: str, value: str) -> str:
        at = f"%kept{next(numbers)}"
        return (
            f"  {at} = getelementptr i8, ptr {into}, i64 {slots[name]}\n"
            f"  {at}.old = load ptr, ptr {at}\n"
            f"  call void @Py_IncRef(ptr {value})\n"
            f"  store ptr {value}, ptr {at}\n"
            f"  call void @Py_DecRef(ptr {at}.old)"
        )

    def need(condition: str, other: str) -> str:
        on = f"so{next(numbers)}"
        return f"  br i1 {condition}, label %{on}, label %{other}\n{on}:"

    def each(i: str, many: str, name: str) -> str:
        return (
            f"  %{name}.at = alloca i64\n  store i64 0, ptr %{name}.at\n  br label %{name}.head\n"
            f"{name}.head:\n  {i} = load i64, ptr %{name}.at\n"
            f"  %{name}.more = icmp slt i64 {i}, {many}\n"
            f"  br i1 %{name}.more, label %{name}.body, label %{name}.end\n{name}.body:"
        )

    def following(name: str) -> str:
        return (
            f"  br label %{name}.next\n{name}.next:\n  %{name}.i = load i64, ptr %{name}.at\n"
            f"  %{name}.i1 = add i64 %{name}.i, 1\n  store i64 %{name}.i1, ptr %{name}.at\n"
            f"  br label %{name}.head\n{name}.end:"
        )

    forms: list[tuple[str, Callable[..., str]]] = [
        (r"(%\S+) = slot (\S+) (%\S+)", lambda x, n, o: _load(x, "ptr", o, slots[n])),
        (r"(%\S+) = const (\S+)", lambda x, n: _load(x, "ptr", "%config", constants[n])),
        (r"(%\S+) = typeof (%\S+)", lambda x, o: _load(x, "ptr", o, 8)),
        (r"(%\S+) = item (%\S+) (\S+)",
         lambda x, o, n: f"  {x} = call ptr @PyTuple_GetItem(ptr {o}, i64 {n})"),
        (r"(%\S+) = word (\d+) (%\S+)", lambda x, n, t: _load(x, "i64", t, 8 * int(n))),
        (r"(%\S+) = place (\d+) (%\S+)", lambda x, n, t: _load(x, "ptr", t, 8 * int(n))),
        (r"keep (\S+) (%\S+) (%\S+)", keep),
        (r"need (%\S+) else (\S+)", need),
        (r"each (%\S+) of (%\S+) (\S+)", each),
        (r"next (\S+)", following),
    ]  # fmt: skip
    lines = []
    for line in text.split("\n"):
        for form, made in forms:
            found = re.fullmatch(f" *{form}", line)
            if found is not None:
                lines.append(made(*found.groups()))
                break
        else:
            lines.append(line)
    return "\n".join(lines)


def builtins(
    text: str, symbols: Mapping[str, str], slots: Mapping[str, int],
    constants: Mapping[str, object], names: Mapping[str, int],
) -> list[Callable[..., Any]]:  # fmt: skip
    """Compile functions; return them as builtins.

    Args:
        text: Their text.
        symbols: Functions of CPython that are called, and their types.
        slots: Offsets by "Class.name".
        constants: The objects and addresses the text refers to, which are kept for ever.
        names: Each function and how it is called: METH_O or METH_FASTCALL.
    """
    places = {name: 8 * i for i, name in enumerate(constants)}
    declared = "\n".join(
        f"declare {kind.replace(' (', f' @{name}(')}" for name, kind in symbols.items()
    )
    with cpu.lock:
        engine = cpu.jitted(f"{declared}\n{expanded(text, slots, places)}", symbols)
        # LLVM's own lock is taken to the very end: a fork must not come in between.
        addresses = [engine.get_function_address(name) for name in names]
    held = list(constants.values())
    at = [v.at if isinstance(v, Address) else id(v) for v in held]
    config = struct.pack(f"={len(at)}q", *at)
    _kept.extend((engine, held, config))
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    make = kind(("PyCFunction_NewEx", ctypes.pythonapi))
    made = []
    for (name, flags), address in zip(names.items(), addresses, strict=True):
        definition = MethodDef(name.encode(), address, flags, None)
        _kept.append(definition)
        made.append(make(ctypes.addressof(definition), config, None))
    return made
