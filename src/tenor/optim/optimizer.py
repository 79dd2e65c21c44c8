"""Optimizer: groups of parameters, the state kept for each, and the step that updates them."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tenor.engine.gradients import grad_of, touch_grad
from tenor.engine.handle import Handle
from tenor.engine.pin import guard, pinned
from tenor.engine.steps import step
from tenor.engine.trace import local
from tenor.engine.writes import written
from tenor.errors import ArgumentError, ShapeError
from tenor.ir import dtype as dt
from tenor.optim.count import StepCount, StepNumbers
from tenor.runtime import allocator
from tenor.tensor.conversion import adopt, from_array
from tenor.tensor.gradient import RemovableHandle
from tenor.tensor.modes import enable_grad, no_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tenor.ir.dtype import DType
    from tenor.tensor import Tensor

__all__ = ["Optimizer", "check_options"]


class Outside:
    """A gradient computed before the function being compiled; it must stay the same tensor."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        self.gradient = parameter.grad

    @property
    def unchanged(self) -> bool:
        """Whether the parameter still has that gradient."""
        return self.parameter.grad is self.gradient


class Optimizer:
    """Base of the optimizers: PyTorch's `torch.optim.Optimizer`.

    A subclass says which tensors it keeps for a parameter (`kept`), which numbers a step needs
    (`numbers`) and what it does with them (`update`). All parameters are updated by recorded
    operations, and `step` runs them together with the forward and backward pass they came from.
    The numbers are slots of the program: changing the learning rate compiles nothing.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        defaults: Options of groups that do not give them.

    Attributes:
        param_groups: Dicts of "params" and options; options may be changed at any time.
        state: What is kept for each parameter.
        defaults: The options given at construction.
    """

    counted: ClassVar[bool] = False
    switches: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._counts: dict[Tensor, StepCount] = {}
        self._generation = 0
        self._prepared: dict[int, tuple[tuple[Any, ...], list[Tensor]]] = {}
        self._known: dict[int, tuple[Any, list[Any], list[tuple[StepCount, DType]]]] = {}
        self._held: dict[int, tuple[Any, list[Any], list[dict[str, Any]]]] = {}
        self._pre_hooks: list[Callable[..., Any]] = []
        self._post_hooks: list[Callable[..., Any]] = []
        if isinstance(params, Handle):
            raise ArgumentError(
                f"{type(self).__name__}: params must be several parameters, or dicts of them.",
                came="one tensor",
                fix="put it in a list",
            )
        groups = list(params)
        if not groups:
            raise ArgumentError(
                f"{type(self).__name__}: there must be parameters to update.",
                came="an empty list",
                fix="pass model.parameters(); a generator can be read only once",
            )
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    # -- what a subclass says -----------------------------------------------------------------
    @abstractmethod
    def kept(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the tensors kept for each parameter of a group."""
        raise TypeError(f"{type(self).__name__} must say what it keeps")

    @abstractmethod
    def numbers(self, group: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the numbers of step t, counted from 1."""
        raise TypeError(f"{type(self).__name__} must say which numbers a step needs")

    @abstractmethod
    def update(
        self, p: Tensor, g: Tensor, state: dict[str, Any], n: list[Tensor], group: dict[str, Any]
    ) -> None:
        """Record the update of one parameter from its gradient, its state and the numbers."""
        raise TypeError(f"{type(self).__name__} must say how a parameter is updated")

    # -- groups -------------------------------------------------------------------------------
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own; the others are the defaults.

        Parameters may come as (name, parameter), as `named_parameters` gives them; the names are
        kept as the group's `param_names`.

        Raises:
            ArgumentError: something is no leaf tensor, or is in a group already.
        """
        group = dict(param_group)
        params = group["params"]
        members: list[Any] = [params] if isinstance(params, Handle) else list(params)
        if members and all(isinstance(m, tuple) and len(m) == 2 for m in members):
            group["param_names"] = [name for name, _ in members]
            members = [p for _, p in members]
        group["params"] = members
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            self._check_parameter(p, known)
            known.add(id(p))
            if not pinned():
                p.materialize()  # its making is no part of the step's plan
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        self.param_groups.append(group)
        self._generation += 1

    def _check_parameter(self, p: Any, known: set[int]) -> None:
        name = type(self).__name__
        if not isinstance(p, Handle):
            raise ArgumentError(
                f"{name}: an optimizer updates tensors.",
                came=type(p).__name__,
                fix="pass model.parameters()",
            )
        if not p.is_leaf:  # type: ignore[attr-defined]
            raise ArgumentError(
                f"{name}: only leaf tensors can be updated.",
                came=f"a computed tensor of shape {p.shape_tuple}",
                fix="pass the parameter it was computed from, or x.detach().requires_grad_()",
            )
        if id(p) in known:
            raise ArgumentError(
                f"{name}: a parameter belongs to one group.",
                came=f"a parameter of shape {p.shape_tuple} a second time",
                fix="leave it out of one of the groups",
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero."""
        if set_to_none and not pinned():
            for group in self.param_groups:
                for p in group["params"]:
                    p._grad = None
            return
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    with no_grad():
                        p.grad.detach_().zero_()

    # -- the step -----------------------------------------------------------------------------
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, and run what was recorded.

        Args:
            closure: Computes the loss and its gradients again; its result is returned.
        """
        given: tuple[tuple[Any, ...], dict[str, Any]]
        given = (self,) if closure is None else (self, closure), {}
        for hook in tuple(self._pre_hooks):
            given = self._regiven(given, hook(self, *given))
        loss = self._step(*given[0][1:], **given[1])
        for hook in tuple(self._post_hooks):
            hook(self, *given)
        return loss

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._run(clear=False)
        return loss

    def _regiven(self, given: Any, answer: Any) -> Any:
        """Return a step's arguments as a hook leaves them."""
        if answer is None:
            return given
        if isinstance(answer, tuple) and len(answer) == 2:
            return answer
        raise ArgumentError(
            f"{type(self).__name__}: a step's pre-hook returns None, or new (args, kwargs).",
            came=type(answer).__name__,
            fix="return nothing",
        )

    def step_and_clear(self) -> None:
        """Update the parameters and forget the gradients, which are then never stored."""
        if self._pre_hooks or self._post_hooks:  # they may want to see the gradients
            self.step()
            self.zero_grad()
        else:
            self._run(clear=True)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before a step; it may return new ones.

        Args:
            hook: Gets the step's arguments, the optimizer the first of them.

        Example:
            >>> import tenor as tn
            >>> x = tn.ones(1, requires_grad=True)
            >>> sgd = tn.optim.SGD([x], lr=0.5)
            >>> handle = sgd.register_step_pre_hook(lambda o, *_: print(x.grad.tolist()))
            >>> x.sum().backward()
            >>> sgd.step()
            [1.0]
        """
        self._pre_hooks.append(hook)
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after a step, with what the step was given."""
        self._post_hooks.append(hook)
        return RemovableHandle(self._post_hooks, hook)

    def _run(self, clear: bool) -> None:
        taken: set[StepCount] = set()
        try:
            self._record(taken, flushed=True)
            if clear:
                self.zero_grad()
            local.flush()
        except BaseException:
            for count in taken:
                count.value -= 1
            raise

    def record(self, taken: set[StepCount] | None = None) -> None:
        """Record the updates without running them; what reads or flushes next does.

        Args:
            taken: Takes up the counts that took the step.
        """
        self._record(set() if taken is None else taken, flushed=False)

    def _record(self, taken: set[StepCount], *, flushed: bool) -> None:
        if pinned():
            self._guard()
            for group in self.param_groups:
                for p in group["params"]:
                    touch_grad(p, read=True)
        mode, local.trace.grad = local.trace.grad, False
        try:
            for group in self.param_groups:
                self._record_group(group, taken, flushed)
        finally:
            local.trace.grad = mode

    def _record_group(self, group: dict[str, Any], taken: set[StepCount], flushed: bool) -> None:
        active = [p for p in group["params"] if p._grad is not None]
        if not active:
            return
        self._prepare(group, active)
        names = self.kept(group)
        numbers = self._numbers(group, active, taken)
        switches = tuple([bool(group[s]) for s in self.switches])
        name = (type(self), switches, len(active))

        def record() -> None:
            self._update(group, active, names, numbers, name)

        if not flushed or len(numbers) > 1:
            record()
            return
        (values,) = [n.values for n in numbers.values()]
        states = self._states(group, active) if names else []
        kept = [state[key] for state in states for key in names]
        step(name, active, kept, list(values), record)

    def _numbers(
        self, group: dict[str, Any], active: list[Tensor], taken: set[StepCount]
    ) -> dict[tuple[StepCount, DType], StepNumbers]:
        """Return the numbers of a step for each count and dtype among parameters."""
        found: dict[tuple[StepCount, DType], StepNumbers] = {}
        for key in self._kinds(group, active):
            found[key] = StepNumbers(self.numbers, group, key[0], key[0] not in taken)
            taken.add(key[0])
        return found

    def _kinds(self, group: dict[str, Any], active: list[Tensor]) -> list[tuple[StepCount, DType]]:
        """Return each count and dtype among parameters, which seldom change."""
        metas = [p.meta for p in active]
        (_, prepared) = self._prepared[id(group)]
        known, before, kinds = self._known.get(id(group), (None, [], []))
        if known is prepared and all(map(operator.is_, metas, before)):
            return kinds
        kinds = list(dict.fromkeys((self._counts[p], p.element_type) for p in active))
        if None not in metas:
            self._known[id(group)] = prepared, metas, kinds
        return kinds

    def _states(self, group: dict[str, Any], active: list[Tensor]) -> list[dict[str, Any]]:
        """Return what is kept for each parameter; looked up where it is no more what it was."""
        (_, prepared) = self._prepared[id(group)]
        every = list(self.state.values())
        known, before, states = self._held.get(id(group), (None, [], []))
        same = known is prepared and len(every) == len(before)
        if same and all(map(operator.is_, every, before)):
            return states
        states = [self.state[p] for p in active]
        self._held[id(group)] = prepared, every, states
        return states

    def _update(
        self,
        group: dict[str, Any],
        active: list[Tensor],
        names: tuple[str, ...],
        numbers: dict[tuple[StepCount, DType], StepNumbers],
        name: tuple[Any, ...],
    ) -> None:
        """Record the updates of parameters, tensor by tensor."""
        stateful = self.counted or bool(names)
        emitted = {key: n.emit(key[1]) for key, n in numbers.items()}
        updates: list[tuple[Tensor, Tensor, dict[str, Any], list[Tensor]]] = []
        tensors: list[Tensor] = [t for n in emitted.values() for t in n]
        for p in active:
            state, g = self.state[p] if stateful else {}, grad_of(p)
            updates.append((p, g, state, emitted[self._counts[p], p.element_type]))
            tensors += (p, g)
            if state:
                tensors += [t for t in state.values() if isinstance(t, Handle)]  # type: ignore[misc]

        def update() -> None:
            for p, g, state, n in updates:
                self.update(p, g, state, n, group)

        written(name, tensors, update)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a recorded step depends on beside its numbers."""
        switches = self.switches
        return (self._generation, *[bool(g[s]) for g in self.param_groups for s in switches])

    def _guard(self) -> None:
        for group in self.param_groups:
            active = [p for p in group["params"] if p.grad is not None]
            self._prepare(group, active)
            for p in active:
                if p.grad.within is not local.trace:
                    guard(Outside(p), "unchanged")
        guard(self, "structure")

    def _prepare(self, group: dict[str, Any], active: list[Tensor]) -> None:
        """Make the state of new parameters; give those that step apart their own count."""
        names = self.kept(group)
        before, known = self._prepared.get(id(group), ((), []))
        same = before == (self._generation, names) and len(known) == len(active)
        if same and all(map(operator.is_, known, active)):
            return
        fresh = [p for p in active if p not in self._counts]
        if fresh:
            self._share(fresh, StepCount())
        for p in active:
            state = self.state[p] if names or self.counted else {}
            for name in names:
                if name not in state:
                    # Concrete rather than recorded: the first step and the next are one trace.
                    state[name] = _zeros(p)
                    self._generation += 1
        together: dict[StepCount, list[Tensor]] = defaultdict(list)
        for p in active:
            together[self._counts[p]].append(p)
        for count, members in together.items():
            if len(members) < count.holders:
                count.holders -= len(members)
                self._share(members, StepCount(count.value))
        self._prepared[id(group)] = ((self._generation, names), active)

    def _share(self, params: list[Tensor], count: StepCount) -> None:
        self._generation += 1
        count.holders = len(params)
        for p in params:
            self._counts[p] = count
            if self.counted:
                self.state[p]["step"] = count

    # -- state --------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return the state and options in PyTorch's format: parameters by number.

        The tensors are the optimizer's own; clone them to keep this moment's values.
        """
        numbers: dict[Tensor, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers[p] = len(numbers)
            packed = {k: v for k, v in group.items() if k != "params"}
            packed["params"] = [numbers[p] for p in group["params"]]
            groups.append(packed)
        state = {
            numbers[p]: {k: _saved(v) for k, v in kept.items()}
            for p, kept in self.state.items()
            if p in numbers and kept
        }
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state and options that `state_dict` gave, of Tenor's or PyTorch's optimizer.

        Raises:
            ArgumentError: the groups do not match.
            ShapeError: a kept tensor does not have its parameter's shape; nothing is changed.
        """
        groups = state_dict["param_groups"]
        mine = [len(g["params"]) for g in self.param_groups]
        theirs = [len(g["params"]) for g in groups]
        if mine != theirs:
            raise ArgumentError(
                "load_state_dict: the groups must hold as many parameters as the optimizer's.",
                came=[f"state {theirs}", f"optimizer {mine}"],
                fix="make the optimizer with the groups it was saved with",
            )
        at: dict[Any, Tensor] = {}
        for group, given in zip(self.param_groups, groups, strict=True):
            at.update(zip(given["params"], group["params"], strict=True))
        loaded = {
            at[number if number in at else int(number)]: kept
            for number, kept in state_dict["state"].items()
        }
        state = {p: {k: _loaded(k, v, p) for k, v in kept.items()} for p, kept in loaded.items()}
        for group, given in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in given.items() if k != "params"})
        self._adopt(state)

    def _adopt(self, state: dict[Tensor, dict[str, Any]]) -> None:
        self.state = defaultdict(dict)
        self._counts = {}
        for group in self.param_groups:
            together: dict[int, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                kept = {k: v for k, v in state.get(p, {}).items() if v is not None}
                if kept:
                    # Where no count is kept, what matters is that it is not the first step.
                    together[kept.pop("step", 1)].append(p)
                    self.state[p] = kept
            for value, params in together.items():
                self._share(params, StepCount(value))
        self._generation += 1

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def _zeros(p: Tensor) -> Tensor:
    """Return zeros that are the optimizer's own, also where a function is being compiled."""
    shape, dtype = p.shape_tuple, p.element_type
    return adopt(allocator.copy_of(np.zeros(shape, dtype.numpy)), shape, dtype)


def _saved(value: Any) -> Any:
    if isinstance(value, StepCount):
        return from_array(np.asarray(value.value, np.float32), dt.float32)
    return value


def _loaded(name: str, value: Any, p: Tensor) -> Any:
    if value is None:
        return None
    if name == "step":
        return int(float(value))
    if isinstance(value, Handle):
        value = value.float().numpy()  # type: ignore[attr-defined]
    array = np.asarray(value)
    if array.shape != p.shape_tuple:
        raise ShapeError(
            f"load_state_dict: {name} must have its parameter's shape.",
            came=[f"{name} {array.shape}", f"parameter {p.shape_tuple}"],
            fix="load into an optimizer of the same model",
        )
    return from_array(array, p.element_type)


def check_options(name: str, **options: Any) -> None:
    """Refuse options that are negative, or betas outside [0, 1).

    Raises:
        ArgumentError: an option is out of its domain.
    """
    for option, value in options.items():
        fractions = value if isinstance(value, tuple) else ()
        if any(not 0.0 <= v < 1.0 for v in fractions):
            raise ArgumentError(
                f"{name}: {option} must lie in [0, 1).", came=f"{option}={value}", fix="e.g. 0.9"
            )
        if not fractions and not float(value) >= 0.0:
            raise ArgumentError(
                f"{name}: {option} must not be negative.",
                came=f"{option}={value}",
                fix="pass 0 or a positive number; maximize=True turns the direction",
            )
