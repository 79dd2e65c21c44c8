"""The models being served: names to versions to servables."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenor.serve.servable import Servable

__all__ = ["Repository"]


def age(version: str) -> tuple[bool, int, str]:
    """Return a key that puts versions in order: whole numbers by value, above any other text."""
    number = version.isascii() and version.isdigit()
    return number, int(version) if number else 0, version


class Repository:
    """Servables by name and version; may change while requests run.

    A change replaces the whole table, so a lookup never sees half of one, and a request that
    has found its servable keeps it until it is answered.
    """

    def __init__(self, servables: Iterable[Servable] = ()) -> None:
        self._table: dict[str, dict[str, Servable]] = {}
        self._changing = threading.Lock()
        for servable in servables:
            self.add(servable)

    def add(self, servable: Servable) -> None:
        """Serve a model; one of the same name and version is replaced."""
        with self._changing:
            versions = self._table.get(servable.name, {}) | {servable.version: servable}
            ordered = {v: versions[v] for v in sorted(versions, key=age, reverse=True)}
            self._table = self._table | {servable.name: ordered}

    def remove(self, name: str, version: str) -> None:
        """Stop serving one version.

        Raises:
            LookupError: It is not being served.
        """
        with self._changing:
            self.find(name, version)
            left = {v: s for v, s in self._table[name].items() if v != version}
            others = {n: versions for n, versions in self._table.items() if n != name}
            self._table = others | ({name: left} if left else {})

    def names(self) -> list[str]:
        """Return the names of all models."""
        return sorted(self._table)

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, newest first.

        Raises:
            LookupError: No model has this name.
        """
        return list(self._versions(name))

    def find(self, name: str, version: str | None = None) -> Servable:
        """Return a model's newest version, or the version asked for.

        Raises:
            LookupError: No model has this name, or it has no such version.
        """
        versions = self._versions(name)
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            raise LookupError(
                f"model {name!r} has no version {version[:100]!r}; it has {', '.join(versions)}"
            )
        return versions[version]

    def _versions(self, name: str) -> dict[str, Servable]:
        table = self._table
        if name not in table:
            served = ", ".join(sorted(table)) or "no models"
            raise LookupError(f"no model is named {name[:100]!r}; this server has {served}")
        return table[name]
