"""Registry: a module's parameters, buffers or children by name, found as plain attributes too.

What a registry holds also stands in the module's own dictionary, so that `self.weight` costs what
any attribute costs. A name that the module's class has stays the class's.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import ref

__all__ = ["EDGE", "HOOKS", "REGISTRIES", "Registry", "bare", "registries"]

REGISTRIES: Final = ("_parameters", "_buffers", "_modules")
"""The names of a module's registries."""
HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The names of a module's dictionaries of hooks, where it has any."""
EDGE: Final = "_edge"
"""The name of what is known of a module's calls; see `nn.edges`."""
NOTHING: Final = object()


class Registry(dict[str, Any]):
    """A dict whose entries are attributes of a module.

    Args:
        module: The module; it holds its registries, which therefore do not hold it.
        entries: What it holds at first.
    """

    __slots__ = ("module",)

    def __init__(self, module: Any, entries: dict[str, Any]) -> None:
        super().__init__()
        self.module = ref(module)
        self.update(entries)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        module = self.module()
        if module is not None and not hasattr(type(module), name):
            module.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        module = self.module()
        if module is not None:
            module.__dict__.pop(name, None)

    def pop(self, name: str, default: Any = NOTHING) -> Any:
        """Take an entry out and return it."""
        if name not in self and default is not NOTHING:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last entry out and return it with its name."""
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        """Take every entry out."""
        for name in list(self):
            del self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Put entries in."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return an entry, put in where it was not there."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> Registry:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Be copied and pickled as a plain dict; the module it is given to makes it a registry."""
        return dict, (dict(self),)


def registries(module: Any, state: dict[str, Any]) -> dict[str, Registry]:
    """Return a module's registries, holding what a state has under their names."""
    return {name: Registry(module, state.get(name, {})) for name in REGISTRIES}


def bare(module: Any) -> dict[str, Any]:
    """Return a module's attributes to be copied or pickled: what a registry holds, there alone."""
    own = module.__dict__
    held = {name for registry in REGISTRIES for name in own[registry]}
    state = {name: value for name, value in own.items() if name not in held and name != EDGE}
    return state | {name: dict(own[name]) for name in REGISTRIES}
