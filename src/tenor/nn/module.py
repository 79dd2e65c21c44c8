"""Module: parameters, buffers and children by plain attribute assignment."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeVar

from tenor.engine import pin
from tenor.errors import ArgumentError, ShapeError, TenorError
from tenor.tensor import Tensor, no_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Module", "Parameter", "RemovableHandle"]

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module owns and an optimiser updates.

    Args:
        data: The initial value; the parameter shares it.
        requires_grad: Whether a gradient is computed for it.

    Example:
        >>> import tenor as tn
        >>> tn.nn.Parameter(tn.ones(2)).requires_grad
        True
    """

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> Parameter:
        """Make a leaf of its own with the data's value."""
        made = data.detach().clone()
        leaf = Tensor.__new__(cls)
        local_adopt(leaf, made)
        leaf.requires_grad_(requires_grad)
        return leaf

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        pass

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def local_adopt(leaf: Tensor, source: Tensor) -> None:
    """Make an empty tensor object a concrete leaf with another's value."""
    source.materialize()
    leaf.trace = None
    leaf.buffer = source.buffer
    leaf.meta = source.meta


class RemovableHandle:
    """Takes a hook away again with `remove()`."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks = hooks
        self.id = next(self._ids)
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook away; again is no error."""
        self.hooks.pop(self.id, None)


class Incompatible:
    """What `load_state_dict` did not find a place for.

    Attributes:
        missing_keys: Names the module has and the state has not.
        unexpected_keys: Names the state has and the module has not.
    """

    def __init__(self, missing: list[str], unexpected: list[str]) -> None:
        self.missing_keys = missing
        self.unexpected_keys = unexpected

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"Incompatible(missing={self.missing_keys}, unexpected={self.unexpected_keys})"


class Module:
    """Base of every layer and model; PyTorch's `nn.Module`.

    Attributes that are Parameters, Modules or registered buffers are found by `parameters()`,
    `state_dict()` and the rest. `super().__init__()` may be left out.

    Attributes:
        training: True after `train()`, False after `eval()`.

    Example:
        >>> import tenor as tn
        >>> class Double(tn.nn.Module):
        ...     def forward(self, x):
        ...         return x * 2
        >>> Double()(tn.ones(2)).tolist()
        [2.0, 2.0]
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _forward_hooks: dict[int, Callable[..., Any]]
    _forward_pre_hooks: dict[int, Callable[..., Any]]
    _backward_hooks: dict[int, Callable[..., Any]]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Module:
        """Set up the registries, so that subclasses need not call `super().__init__()`."""
        self = object.__new__(cls)
        for name in ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks",
                     "_backward_hooks"):  # fmt: skip
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_transient", set())
        object.__setattr__(self, "training", True)
        return self

    def __init__(self) -> None:
        pass

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result; subclasses define it."""
        raise ArgumentError(
            f"{type(self).__name__}: the module defines no forward().",
            came=f"{len(args)} positional and {len(kwargs)} keyword arguments",
            fix="define `def forward(self, ...)` in the class",
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the hooks and `forward`; name this module in errors from inside it."""
        if pin.local.pinning is not None:
            pin.guard(self, "training")
        try:
            if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks:
                return self._call_hooked(args, kwargs)
            return self.forward(*args, **kwargs)
        except TenorError as error:
            _name_module(error, self)
            raise

    def _call_hooked(self, args: Any, kwargs: Any) -> Any:
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, result)
            result = changed if changed is not None else result
        if self._backward_hooks and isinstance(result, Tensor) and result.requires_grad:
            for hook in list(self._backward_hooks.values()):
                result.register_hook(lambda g, hook=hook: hook(self, g))
        return result

    # -- attributes ---------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        registries = (self._parameters, self._buffers, self._modules)
        if isinstance(value, Parameter):
            home: dict[str, Any] | None = self._parameters
        elif isinstance(value, Module):
            home = self._modules
        elif name in self._buffers and (value is None or isinstance(value, Tensor)):
            home = self._buffers
        elif value is None and (name in self._parameters or name in self._modules):
            home = self._parameters if name in self._parameters else self._modules
        else:
            home = None
        for registry in registries:
            if registry is not home:
                registry.pop(name, None)
        if home is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            home[name] = value

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(registry, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name."""
        _check_name(self, name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; non-persistent ones are not saved."""
        _check_name(self, name)
        self._buffers[name] = tensor
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        _check_name(self, name)
        self._modules[name] = module

    add_module = register_module

    # -- walks --------------------------------------------------------------------------------
    def children(self) -> Iterator[Module]:
        """Yield the direct children."""
        return (m for _, m in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, child)."""
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def modules(self) -> Iterator[Module]:
        """Yield this module and everything below it, each once."""
        return (m for _, m in self.named_modules())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = ""
    ) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module and everything below it, each once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter), each parameter once."""
        return self._named("_parameters", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield every buffer once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, buffer), each buffer once."""
        return self._named("_buffers", prefix, recurse)

    def _named(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix) if recurse else iter([(prefix, self)])
        for path, module in owners:
            for name, value in getattr(module, registry).items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, target: str) -> Module:
        """Return the module at a dotted path; "" is this one."""
        module = self
        for part in target.split(".") if target else ():
            child = module._modules.get(part)
            if child is None:
                raise AttributeError(f"{type(module).__name__!r} has no child {part!r}")
            module = child
        return module

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call a function on every module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # -- modes --------------------------------------------------------------------------------
    def train(self: M, mode: bool = True) -> M:
        """Set training mode here and below."""
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self: M) -> M:
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or unfreeze every parameter."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_().zero_()

    def to(self: M, dtype: Any = None) -> M:
        """Convert floating parameters and buffers to a dtype, in place."""
        if dtype is not None:
            self._convert(lambda t: t.to(dtype) if t.is_floating_point() else t)
        return self

    def float(self: M) -> M:
        """Convert to float32."""
        return self.to("float32")

    def double(self: M) -> M:
        """Convert to float64."""
        return self.to("float64")

    def half(self: M) -> M:
        """Convert to float16."""
        return self.to("float16")

    def bfloat16(self: M) -> M:
        """Convert to bfloat16."""
        return self.to("bfloat16")

    def _convert(self, function: Callable[[Tensor], Tensor]) -> None:
        with no_grad():
            for module in self.modules():
                for p in module._parameters.values():
                    if p is not None:
                        wanted, keep = function(p.detach()), p.requires_grad
                        local_adopt(p, wanted)
                        p.requires_grad_(keep)
                for name, b in module._buffers.items():
                    if b is not None:
                        module._buffers[name] = function(b)

    # -- state --------------------------------------------------------------------------------
    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Return every parameter and persistent buffer by path; they share memory with the module."""
        state: OrderedDict[str, Tensor] = OrderedDict()
        for path, module in _every_path(self, prefix):
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None and name not in module._transient:
                    state[path + name] = value.detach()
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Incompatible:
        """Copy values into parameters and buffers by path; all or nothing.

        Args:
            state: Paths and values, as `state_dict` gives them.
            strict: Whether missing or unexpected names are an error.

        Raises:
            ArgumentError: names do not match, and `strict`.
            ShapeError: a shape does not match; nothing has been changed.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise ArgumentError(
                "load_state_dict: the names must match the module's.",
                came=[f"missing: {', '.join(missing) or 'none'}",
                      f"unexpected: {', '.join(unexpected) or 'none'}"],
                fix=_nearest(missing, unexpected) or "pass strict=False to load what matches",
            )  # fmt: skip
        matched = {name: Tensor.as_tensor(state[name]) for name in own if name in state}
        for name, value in matched.items():
            if value.shape != own[name].shape:
                raise ShapeError(
                    f"load_state_dict: {name} must have shape {tuple(own[name].shape)}.",
                    came=f"{tuple(value.shape)}",
                    fix="load into a module of the same sizes",
                )
        with no_grad():
            for name, target in _targets(self).items():
                if name in matched:
                    target.copy_(matched[name])
        return Incompatible(missing, unexpected)

    # -- hooks --------------------------------------------------------------------------------
    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the output's gradient is known."""
        return RemovableHandle(self._backward_hooks, hook)

    # -- printing -----------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()
        ]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        head = [extra] if extra else []
        return f"{type(self).__name__}(\n  " + "\n  ".join(head + lines) + "\n)"


def _check_name(module: Module, name: str) -> None:
    if not name or "." in name or (hasattr(module, name) and name not in module._buffers
                                   and name not in module._parameters and name not in module._modules):  # fmt: skip
        raise ArgumentError(
            f"{type(module).__name__}: a registered name must be free and hold no dot.",
            came=repr(name),
            fix="choose another name",
        )


def _every_path(module: Module, prefix: str) -> Iterator[tuple[str, Module]]:
    """Yield (prefix, module) along every path, shared modules as often as they are reached."""
    yield prefix, module
    for name, child in module.named_children():
        yield from _every_path(child, f"{prefix}{name}.")


def _targets(module: Module) -> dict[str, Tensor]:
    return {
        path + name: value
        for path, owner in _every_path(module, "")
        for name, value in (*owner._parameters.items(), *owner._buffers.items())
        if value is not None
    }


def _nearest(missing: list[str], unexpected: list[str]) -> str:
    """Suggest the prefix that separates two sets of names, if one does."""
    for name in missing:
        for other in unexpected:
            if other.endswith("." + name):
                return f"strip the prefix {other[: -len(name)]!r} from the names"
            if name.endswith("." + other):
                return f"add the prefix {name[: -len(other)]!r} to the names"
    return ""


def _name_module(error: TenorError, module: Module) -> None:
    """Write into an error where in the model it happened, and which parameters are involved."""
    error.modules.append(module)
    names: list[str] = []
    inner: Module | None = None
    for outer in error.modules:
        if inner is not None:
            found = next((p for p, m in outer.named_modules() if m is inner and p), None)
            names.insert(0, found) if found else None
        inner = outer
    path = ".".join([type(module).__name__, *names])
    error.module_path = f"{path} ({error.modules[0]!r})".replace("\n", " ")[:300]
    if error.modules[0] is module:
        for name, value in module._parameters.items():
            if value is None:
                continue
            for at, operand in enumerate(error.operands):
                if getattr(value, "state", None) is operand and at < len(error.came):
                    error.came[at] += f"  (parameter {name!r})"
