"""Who else holds an object: reference counts, and what they mean on this interpreter.

CPython 3.14 borrows references on the evaluation stack that earlier versions counted. What code of
one shape sees of an object that nobody else holds is therefore measured here, not written down.
"""

from __future__ import annotations

from sys import getrefcount
from typing import Final

__all__ = ["IN_A_LIST", "IN_A_MAP", "IN_A_NAME", "getrefcount"]


def _in_a_name() -> int:
    held = object()
    return getrefcount(held)


def _in_a_list() -> int:
    held = [object()]
    return getrefcount(held[0])


def _in_a_map() -> int:
    held = [object()]
    return max(map(getrefcount, held))


IN_A_NAME: Final = _in_a_name()
"""What `getrefcount(x)` gives where only the local name x holds the object."""

IN_A_LIST: Final = _in_a_list()
"""What `getrefcount(items[i])` gives where only the list holds the object."""

IN_A_MAP: Final = _in_a_map()
"""What `map(getrefcount, items)` gives where only the list holds the object."""
