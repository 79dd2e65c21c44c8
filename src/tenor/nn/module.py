"""Module: parameters, buffers and children by plain attribute assignment."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tenor.engine import pin, recorder
from tenor.engine.gradients import grad_of
from tenor.engine.learning import before
from tenor.engine.trace import local
from tenor.errors import ArgumentError, DTypeError, ShapeError, TenorError
from tenor.nn.edges import hopeless, remember
from tenor.nn.fresh import fresh
from tenor.nn.hooks import Gradients, RemovableHandle, watch_inputs, watch_outputs
from tenor.nn.parameter import Buffer, Parameter, adopt
from tenor.nn.registry import HOOKS, REGISTRIES, bare, registries
from tenor.nn.state import EXTRA, Incompatible, every_path, loadable, nearest, renewed
from tenor.tensor import Tensor, empty, no_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Module", "RemovableHandle"]

M = TypeVar("M", bound="Module")


class Kind(type):
    """The class of module classes: computes initial values when the outermost one is made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a module."""
        fresh.depth += 1
        try:
            made = super().__call__(*args, **kwargs)
        finally:
            fresh.depth -= 1
        fresh.settle()
        return made


class Module(metaclass=Kind):
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

    watched: ClassVar[bool] = True  # its attributes are a user's to change; see engine.surroundings
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _forward_hooks: dict[int, Callable[..., Any]]
    _forward_pre_hooks: dict[int, Callable[..., Any]]
    _backward_hooks: dict[int, Callable[..., Any]]
    _backward_pre_hooks: dict[int, Callable[..., Any]]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Module:
        """Set up the registries, so that subclasses need not call `super().__init__()`."""
        self = object.__new__(cls)
        self.__dict__.update(registries(self, {}), _transient=set(), training=True)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return bare(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.update(registries(self, state))

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
        find = recorder.module
        if find is None or kwargs:
            return self._called(args, kwargs)
        result = find(self, args)  # what was recorded before, if nothing has changed since
        if result is None:
            result = self._called(args, kwargs) if hopeless(self) else self._learned(args)
        return result

    def _learned(self, args: Any) -> Any:
        at = before()
        result = self._called(args, {})
        remember(self, args, result, at)
        return result

    def _called(self, args: Any, kwargs: Any) -> Any:
        if local.pinning is not None:
            pin.guard(self, "training")
        elif fresh.pending:
            fresh.settle()
        own = self.__dict__
        try:
            if (
                "_forward_hooks" in own
                or "_forward_pre_hooks" in own
                or "_backward_hooks" in own
                or "_backward_pre_hooks" in own
            ):
                return self._call_hooked(args, kwargs)
            return self.forward(*args, **kwargs)
        except TenorError as error:
            _name_module(error, self)
            raise

    def _call_hooked(self, args: Any, kwargs: Any) -> Any:
        result, run = None, set()
        try:
            for hook in list(self._forward_pre_hooks.values()):
                changed = hook(self, args, kwargs) if _wants(hook, "kwargs") else hook(self, args)
                if changed is not None and _wants(hook, "kwargs"):
                    args, kwargs = changed
                elif changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
            gradients, given = None, args
            if self._backward_hooks or self._backward_pre_hooks:
                gradients = Gradients(self, list(self._backward_hooks.values()))
                args = watch_inputs(gradients, args)
            result = self.forward(*args, **kwargs)
            for hook in list(self._forward_hooks.values()):
                run.add(hook)
                result = _answer(hook, self, args, kwargs, result)
            if gradients is not None:
                before = list(self._backward_pre_hooks.values())
                result = watch_outputs(gradients, before, given, result)
        except Exception:
            for hook in list(self._forward_hooks.values()):
                if _wants(hook, "always") and hook not in run:
                    try:
                        result = _answer(hook, self, args, kwargs, result)
                    except Exception as error:
                        warnings.warn(
                            f"a forward hook failed after forward did: {error}", stacklevel=2
                        )
            raise
        return result

    # -- attributes ---------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        registries = (self._parameters, self._buffers, self._modules)
        if isinstance(value, Parameter):
            home: dict[str, Any] | None = self._parameters
        elif isinstance(value, Module):
            home = self._modules
        elif (name in self._buffers and (value is None or isinstance(value, Tensor))) or (
            isinstance(value, Buffer) and not (name in self._parameters or name in self._modules)
        ):
            home = self._buffers
        elif value is None and (name in self._parameters or name in self._modules):
            home = self._parameters if name in self._parameters else self._modules
        else:
            home = None
            self._check_place(name, value)
        for registry in registries:
            if registry is not home:
                registry.pop(name, None)
        if home is not self._buffers:
            self._transient.discard(name)
        if home is None:
            object.__setattr__(self, name, value)
        else:
            self.__dict__.pop(name, None)
            home[name] = value
            if isinstance(value, Buffer):
                (self._transient.discard if value.persistent else self._transient.add)(name)

    def _check_place(self, name: str, value: Any) -> None:
        """Refuse a value that would push out what is registered under its name."""
        for registry, kind, fix in (
            (self._parameters, "a parameter", "wrap it with nn.Parameter(...), or write into it "
             f"under no_grad with {name}.copy_(...)"),
            (self._buffers, "a buffer", "pass a tensor"),
            (self._modules, "a module", "pass a module, or choose another name"),
        ):  # fmt: skip
            if name in registry:
                raise ArgumentError(
                    f"{type(self).__name__}: {name!r} is {kind}, and only its like or None may "
                    "take its place.",
                    came=_kind(value),
                    fix=fix,
                )

    def __getattr__(self, name: str) -> Any:
        for registry in REGISTRIES:
            found = self.__dict__.get(registry, {})
            if name in found:
                return found[name]
        if name in HOOKS:  # made when somebody asks: few modules have any
            return self.__dict__.setdefault(name, {})
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*{*super().__dir__(), *self._parameters, *self._buffers, *self._modules}]

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name.

        Raises:
            ArgumentError: the name is taken or holds a dot, or the value is no Parameter.
        """
        _check_name(self, name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise ArgumentError(
                f"{type(self).__name__}: a parameter must be a Parameter or None.",
                came=f"{_kind(param)} as {name!r}",
                fix="wrap it with nn.Parameter(...)",
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; non-persistent ones are not saved.

        Raises:
            ArgumentError: the name is taken or holds a dot, or the value is no tensor.
        """
        _check_name(self, name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise ArgumentError(
                f"{type(self).__name__}: a buffer must be a tensor or None.",
                came=f"{_kind(tensor)} as {name!r}",
                fix="make one with tn.tensor(...)",
            )
        self._buffers[name] = tensor
        fresh.pending = True
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name."""
        _check_name(self, name, self._modules)
        if module is not None and not isinstance(module, Module):
            raise ArgumentError(
                f"{type(self).__name__}: a child must be a module.",
                came=f"{_kind(module)} as {name!r}",
                fix="pass an instance of nn.Module, not a class or a function",
            )
        self._modules[name] = module

    add_module = register_module

    # -- walks --------------------------------------------------------------------------------
    def children(self) -> Iterator[Module]:
        """Yield the direct children."""
        return (m for _, m in self.named_children())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, child), each child once."""
        seen: set[int] = set()
        for name, child in self._held():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def _held(self) -> list[tuple[str, Module]]:
        return [(n, m) for n, m in self._modules.items() if m is not None]

    def modules(self) -> Iterator[Module]:
        """Yield this module and everything below it, each once."""
        return (m for _, m in self.named_modules())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module and everything below it, each once."""
        memo = set() if memo is None else memo
        if remove_duplicate:
            if id(self) in memo:
                return
            memo.add(id(self))
        yield prefix, self
        for name, child in self._held():
            path = f"{prefix}.{name}" if prefix else name
            yield from child.named_modules(memo, path, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, parameter), each parameter once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield every buffer once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, buffer), each buffer once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def _named(
        self, registry: str, prefix: str, recurse: bool, once: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = iter([(prefix, self)])
        if recurse:
            owners = self.named_modules(prefix=prefix, remove_duplicate=once)
        for path, module in owners:
            for name, value in getattr(module, registry).items():
                if value is not None and not (once and id(value) in seen):
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

    def set_submodule(self, target: str, module: Module) -> None:
        """Put a module in the place of the one at a dotted path."""
        path, _, name = target.rpartition(".")
        self.get_submodule(target)
        self.get_submodule(path).register_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a dotted path."""
        return self._get("_parameters", target)  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer at a dotted path."""
        return self._get("_buffers", target)  # type: ignore[no-any-return]

    def _get(self, registry: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = getattr(owner, registry).get(name)
        if found is None:
            raise AttributeError(f"{type(owner).__name__!r} has no {registry[1:-1]} {name!r}")
        return found

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call a function on every module, children first."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # -- modes --------------------------------------------------------------------------------
    def train(self: M, mode: bool = True) -> M:
        """Set training mode here and below."""
        if not isinstance(mode, bool):
            raise ArgumentError(
                "train: the mode is True or False.", came=repr(mode), fix="pass a bool"
            )
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

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert floating parameters and buffers to a dtype, in place; return the module.

        Takes what `Tensor.to` takes: a dtype, a device ("cpu"), both, or a tensor to be like.

        Raises:
            DTypeError: the dtype is not floating; parameters could not be trained in it.
        """
        wanted = empty(0).to(*args, **kwargs).dtype
        if not wanted.is_floating_point:
            raise DTypeError(
                "to: a module is converted to floating dtypes alone.",
                came=wanted.name,
                fix="convert single tensors, e.g. model.table = model.table.long()",
            )
        self._convert(lambda t: _converted(t, args, kwargs))
        return self

    def cpu(self: M) -> M:
        """Return the module, which is on the CPU."""
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
        fresh.depth += 1  # all conversions are computed together, at the end
        try:
            with no_grad():
                for module in self.modules():
                    for p in module._parameters.values():
                        if p is not None:
                            _convert_parameter(p, function)
                    for name, b in module._buffers.items():
                        if b is not None:
                            module._buffers[name] = function(b)
        finally:
            fresh.depth -= 1
        fresh.settle()

    # -- state --------------------------------------------------------------------------------
    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Any]:
        """Return every parameter and persistent buffer by path, and every `get_extra_state`.

        Args:
            prefix: Put before every path.
            keep_vars: Whether to return the tensors themselves, not detached views of them. Both
                show what is written to the module later.
        """
        state: OrderedDict[str, Any] = OrderedDict()
        for path, module in every_path(self, prefix):
            for name, value in module._persistent():
                state[path + name] = value if keep_vars else value.detach()
            if _says(module, "get_extra_state"):
                state[path + EXTRA] = module.get_extra_state()
        return state

    def _persistent(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._transient:
                yield name, value

    def get_extra_state(self) -> Any:
        """Return what `state_dict` is to hold beside tensors; subclasses define it."""
        raise ArgumentError(
            f"{type(self).__name__}: the module has no state beside its tensors.",
            came="get_extra_state()",
            fix="define get_extra_state() and set_extra_state() in the class",
        )

    def set_extra_state(self, state: Any) -> None:
        """Take over what `get_extra_state` gave; subclasses define it."""
        raise ArgumentError(
            f"{type(self).__name__}: the module has no state beside its tensors.",
            came=f"set_extra_state() of {_kind(state)}",
            fix="define get_extra_state() and set_extra_state() in the class",
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Incompatible:
        """Copy values into parameters and buffers by path; all or nothing.

        Args:
            state_dict: Paths and values (tensors, arrays, other libraries' CPU tensors), as
                `state_dict` gives them.
            strict: Whether missing or unexpected names are an error.
            assign: Put new parameters and buffers of the values' dtypes in the places of the old.
                A `Parameter` is put there itself. Make optimizers afterwards.

        Raises:
            ArgumentError: names do not match, and `strict`.
            ShapeError: a shape does not match; nothing has been changed.
        """
        if not isinstance(state_dict, Mapping):
            raise ArgumentError(
                "load_state_dict: takes a dict of names and values.",
                came=type(state_dict).__name__,
                fix="pass what state_dict() or tn.load(path) gave",
            )
        modules = list(every_path(self, ""))
        own = {p + name: (m, name, v) for p, m in modules for name, v in m._persistent()}
        extra = {p + EXTRA: m for p, m in modules if _says(m, "set_extra_state")}
        missing = [name for name in (*own, *extra) if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own and name not in extra]
        if strict and (missing or unexpected):
            raise ArgumentError(
                "load_state_dict: the names must match the module's.",
                came=[f"missing: {', '.join(missing) or 'none'}",
                      f"unexpected: {', '.join(unexpected) or 'none'}"],
                fix=nearest(missing, unexpected) or "pass strict=False to load what matches",
            )  # fmt: skip
        matched = {name: loadable(name, state_dict[name]) for name in own if name in state_dict}
        unlike = [name for name, value in matched.items() if value.shape != own[name][2].shape]
        if unlike:
            raise ShapeError(
                "load_state_dict: every value must have its parameter's shape.",
                came=[f"{name}: {tuple(matched[name].shape)} for {tuple(own[name][2].shape)}"
                      for name in unlike],
                fix="load into a module of the same sizes",
            )  # fmt: skip
        if assign:
            made = {name: renewed(own[name][2], value) for name, value in matched.items()}
            for path, value in made.items():
                module, name, _ = own[path]
                setattr(module, name, value)
        else:
            with no_grad():
                for name, value in matched.items():
                    own[name][2].copy_(value)
        for name, module in extra.items():
            if name in state_dict:
                module.set_extra_state(state_dict[name])
        fresh.pending = True
        fresh.settle()
        return Incompatible(missing, unexpected)

    # -- hooks --------------------------------------------------------------------------------
    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:  # fmt: skip
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`; `prepend` calls it first.
        With `always_call` it is called too where forward failed, with the output so far or None.
        """
        marked = _marked(hook, kwargs=with_kwargs, always=always_call)
        return RemovableHandle(self._forward_hooks, marked, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)` and returns both.
        """
        return RemovableHandle(self._forward_pre_hooks, _marked(hook, kwargs=with_kwargs), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the inputs' gradients are known.

        Both are tuples with None for what needs no gradient; what the hook returns, if anything,
        replaces grad_input.
        """
        return RemovableHandle(self._backward_hooks, hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the outputs' gradients are known."""
        return RemovableHandle(self._backward_pre_hooks, hook, prepend)

    # -- printing -----------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """Return the arguments to print between the brackets."""
        return ""

    def child_lines(self) -> list[str]:
        """Return a printed line, or several in one string, for each child."""
        return [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._held()]

    def __repr__(self) -> str:
        name, children, extra = type(self).__name__, self.child_lines(), self.extra_repr()
        if not children and "\n" not in extra:
            return f"{name}({extra})"
        lines = [*(extra.split("\n") if extra else ()), *children]
        return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


def _check_name(module: Module, name: str, registry: Mapping[str, Any]) -> None:
    taken = hasattr(module, name) and name not in registry
    if not name or "." in name or taken:
        raise ArgumentError(
            f"{type(module).__name__}: a registered name must be free and hold no dot.",
            came=repr(name),
            fix="choose another name",
        )


def _kind(value: Any) -> str:
    """Say what a value is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, Tensor):
        return f"a plain tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__}"


def _marked(hook: Callable[..., Any], **wishes: bool) -> Callable[..., Any]:
    """Return a hook that says of itself how it wants to be called."""
    if not any(wishes.values()):
        return hook

    def call(*args: Any) -> Any:
        return hook(*args)

    call.wishes = wishes  # type: ignore[attr-defined]
    return call


def _wants(hook: Callable[..., Any], wish: str) -> bool:
    wishes: dict[str, bool] = getattr(hook, "wishes", {})
    return wishes.get(wish, False)


def _answer(hook: Callable[..., Any], module: Module, args: Any, kwargs: Any, result: Any) -> Any:
    """Return a module's result as a forward hook leaves it."""
    extra = (kwargs,) if _wants(hook, "kwargs") else ()
    changed = hook(module, args, *extra, result)
    return result if changed is None else changed


def _converted(x: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return a tensor converted, if floats are converted to floats; else as it is."""
    made = x.to(*args, **kwargs)
    return made if x.is_floating_point() and made.is_floating_point() else x


def _convert_parameter(p: Parameter, function: Callable[[Tensor], Tensor]) -> None:
    value = p.detach()
    wanted = function(value)
    if wanted is value:
        return
    grad = grad_of(p)
    adopt(p, wanted, p.requires_grad)
    p._grad = None if grad is None else function(grad.detach())


def _says(module: Module, name: str) -> bool:
    """Tell whether a module's class defines a method that `Module` leaves to it."""
    return getattr(type(module), name) is not getattr(Module, name)


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
            for at, operand in enumerate(error.operands):
                same = operand is value or operand is getattr(value, "state", module)
                if value is not None and same and at < len(error.came):
                    error.came[at] += f"  (parameter {name!r})"
