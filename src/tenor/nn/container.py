"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tenor.errors import ArgumentError, IndexRangeError
from tenor.nn.module import Module
from tenor.nn.parameter import Parameter
from tenor.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


def _place(owner: Module, index: Any, length: int) -> int:
    """Return a position counted from the start."""
    at = operator.index(index)
    if not -length <= at < length:
        raise IndexRangeError(
            f"{type(owner).__name__}: an index must lie in [{-length}, {length}).",
            came=f"{at}",
            fix=f"it holds {length}",
        )
    return at % length


class ModuleRow(Module):
    """Modules under the names "0", "1", ...; what Sequential and ModuleList share."""

    def fill(self, modules: Iterable[Module]) -> None:
        """Hold just these modules."""
        held = list(modules)
        self._modules.clear()
        for i, module in enumerate(held):
            self.register_module(str(i), module)

    def name_at(self, index: int) -> str:
        """Return the name of the module at a position."""
        return list(self._modules)[_place(self, index, len(self))]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.part(list(self._modules.items())[index])
        return self._modules[self.name_at(index)]

    def part(self, named: Sequence[tuple[str, Any]]) -> Any:
        """Return a container of the same class that holds some of the modules."""
        made = type(self)()
        made.fill(module for _, module in named)
        return made

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self.name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        held = list(self)
        if not isinstance(index, slice):
            index = _place(self, index, len(held))
        del held[index]
        self.fill(held)

    def append(self, module: Module) -> Any:
        """Add a module at the end; return the container."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; return the container."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before a position; return the container."""
        held = list(self)
        held.insert(index, module)
        self.fill(held)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take the module at a position out and return it."""
        module: Module = self[index]
        del self[index]
        return module


class Sequential(ModuleRow):
    """Call modules one after another.

    Args:
        args: Modules, or one mapping of names to modules.

    Example:
        >>> import tenor as tn
        >>> model = tn.nn.Sequential(tn.nn.Linear(4, 3), tn.nn.ReLU(), tn.nn.Linear(3, 2))
        >>> tuple(model(tn.ones(5, 4)).shape), len(model[1:])
        ((5, 2), 2)
    """

    def __init__(self, *args: Any) -> None:
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.register_module(name, module)
        else:
            self.fill(args)

    # The name is the input's in saved and served models, hence not PyTorch's.
    def forward(self, x: Any) -> Any:
        """Return the last module's result."""
        for module in self._modules.values():
            x = module(x)  # type: ignore[misc]
        return x

    def part(self, named: Sequence[tuple[str, Any]]) -> Any:
        """Return a container of the same class that holds some of the modules by their names."""
        return type(self)(dict(named))

    def __add__(self, other: Iterable[Module]) -> Sequential:
        return Sequential(*self, *other)

    def __iadd__(self, other: Iterable[Module]) -> Sequential:
        self.extend(other)
        return self

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * times)

    def __imul__(self, times: int) -> Sequential:
        self.fill(list(self) * times)
        return self

    __rmul__ = __mul__


class ModuleList(ModuleRow):
    """Hold modules in a list; it is no layer itself.

    Example:
        >>> import tenor as tn
        >>> layers = tn.nn.ModuleList(tn.nn.Linear(2, 2) for _ in range(3))
        >>> len(layers), len(list(layers.parameters()))
        (3, 6)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self.fill(modules or ())

    def child_lines(self) -> list[str]:
        """Return a line for each run of children that print alike."""
        lines: list[str] = []
        printed = [repr(child) for child in self]
        start = 0
        for text, run in itertools.groupby(printed):
            end = start + len(list(run)) - 1
            name = f"({start})" if start == end else f"({start}-{end})"
            count = "" if start == end else f"{end - start + 1} x "
            lines.append(f"{name}: {count}{text}".replace("\n", "\n  "))
            start = end + 1
        return lines

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        self.extend(other)
        return self


class ByName(Module):
    """Modules or parameters by name, in the order they were added; what the dicts share."""

    def held(self) -> dict[str, Any]:
        """Return the registry of what is held."""
        raise TypeError(f"{type(self).__name__} must say what it holds")

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add values, replacing those of the same name."""
        pairs = values.items() if isinstance(values, (Mapping, ByName)) else values
        for name, value in pairs:
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.held()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError(f"{type(self).__name__} must say how it holds")

    def __delitem__(self, name: str) -> None:
        del self.held()[name]

    def __len__(self) -> int:
        return len(self.held())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.held()))

    def __contains__(self, name: object) -> bool:
        return name in self.held()

    def get(self, name: str, default: Any = None) -> Any:
        """Return what is held under a name, or the default."""
        return self.held().get(name, default)

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return self.held().keys()

    def values(self) -> Iterable[Any]:
        """Return what is held."""
        return self.held().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return (name, value) pairs."""
        return self.held().items()

    def pop(self, name: str) -> Any:
        """Take a value out and return it."""
        return self.held().pop(name)

    def clear(self) -> None:
        """Hold nothing."""
        self.held().clear()


class ModuleDict(ByName):
    """Hold modules by name, in the order they were added; it is no layer itself.

    Example:
        >>> import tenor as tn
        >>> heads = tn.nn.ModuleDict({"a": tn.nn.Linear(2, 1), "b": tn.nn.Linear(2, 3)})
        >>> list(heads), "b" in heads
        (['a', 'b'], True)
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        self.update(modules or ())

    def held(self) -> dict[str, Any]:
        """Return the modules."""
        return self._modules

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)


def _parameter(value: Any) -> Parameter:
    """Return a value as a parameter."""
    if isinstance(value, Parameter):
        return value
    if isinstance(value, Tensor):
        return Parameter(value, value.is_floating_point())
    raise ArgumentError(
        "ParameterList: holds parameters and tensors.",
        came=type(value).__name__,
        fix="wrap the values with nn.Parameter(tn.tensor(...))",
    )


class ParameterList(Module):
    """Hold parameters in a list; tensors become parameters.

    Example:
        >>> import tenor as tn
        >>> gains = tn.nn.ParameterList([tn.ones(2), tn.ones(3)])
        >>> len(gains), gains[1].requires_grad
        (2, True)
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        self.extend(values or ())

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._parameters.values()))

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        return self._parameters[str(_place(self, index, len(self)))]

    def __setitem__(self, index: int, value: Any) -> None:
        self._parameters[str(_place(self, index, len(self)))] = _parameter(value)

    def append(self, value: Any) -> ParameterList:
        """Add a parameter at the end; return the list."""
        self.register_parameter(str(len(self)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add parameters at the end; return the list."""
        for value in list(values):
            self.append(value)
        return self

    __iadd__ = extend

    def extra_repr(self) -> str:
        """Return a line for each parameter."""
        return "\n".join(_line(name, p) for name, p in self._parameters.items())


class ParameterDict(ByName):
    """Hold parameters by name; tensors become parameters.

    Example:
        >>> import tenor as tn
        >>> list(tn.nn.ParameterDict({"gain": tn.ones(2)}).state_dict())
        ['gain']
    """

    def __init__(
        self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None
    ) -> None:
        self.update(parameters or ())

    def held(self) -> dict[str, Any]:
        """Return the parameters."""
        return self._parameters

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _parameter(value))

    def extra_repr(self) -> str:
        """Return a line for each parameter."""
        return "\n".join(_line(name, p) for name, p in self._parameters.items())


def _line(name: str, value: Parameter | None) -> str:
    if value is None:
        return f"({name}): None"
    extents = "x".join(str(n) for n in value.shape)
    return f"({name}): Parameter containing: [{value.dtype} of size {extents}]"
