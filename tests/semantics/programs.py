"""Random programs of views, in-place writes, looks and backward passes, run beside PyTorch."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import tenor as tn
from tenor.errors import TenorError


class Beyond(Exception):
    """The program has come to where the libraries may differ."""


class Different(AssertionError):
    """The two libraries disagree; carries the program up to there."""


QUIRKS = (
    "some elements of the input tensor and the written-to tensor refer to a single memory",
    "created in no_grad mode",
    "a leaf Variable that requires grad is being used",  # also of views that are no leaves
    "Trying to backward through the graph a second time",  # also where no value was let go
)
"""Refusals of PyTorch that concern its memory, not the program."""

OURS = ("share", "expanded tensor")
"""Refusals of Tenor where PyTorch is content."""


def values(x: Any) -> Any:
    """Return a tensor's values, unless it is one that Tenor refuses to derive again."""
    try:
        return x.detach().tolist()
    except TenorError as error:
        raise Beyond from error


@dataclass
class Both:
    """One name's tensor in each library."""

    name: str
    ours: Any
    theirs: Any


@dataclass
class Program:
    """A random program, run in step in both libraries.

    Attributes:
        lines: What was run, as Python.
        held: The tensors that have names.
    """

    seed: int
    lines: list[str] = field(default_factory=list)
    held: list[Both] = field(default_factory=list)
    made: int = 0
    grad: bool = True

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # -- running ------------------------------------------------------------------------------
    def both(self, line: str, function: Any, *operands: Both) -> tuple[Any, Any] | None:
        """Run a function in both libraries; None where both refuse."""
        self.lines.append(line)
        theirs = ours = failed = refused = None
        with torch.set_grad_enabled(self.grad):
            try:
                theirs = function(torch, *[o.theirs for o in operands])
            except RuntimeError as error:
                failed = error
        with tn.set_grad_enabled(self.grad):
            try:
                ours = function(tn, *[o.ours for o in operands])
            except TenorError as error:
                refused = error
        if refused is None and any(quirk in str(failed) for quirk in QUIRKS):
            raise Beyond
        if failed is None and any(quirk in str(refused) for quirk in OURS):
            raise Beyond
        if "modified by an inplace" in str(failed) and any("copy_" in x for x in self.lines):
            raise Beyond  # PyTorch goes on into what was written over whole
        if any(".data." in x for x in self.lines) and "backward" in line:
            raise Beyond  # PyTorch does not count writes to .data, and uses the new values
        if (failed is None) != (refused is None):
            raise Different(self.text(f"PyTorch: {failed}\nTenor: {refused}"))
        return None if failed is not None else (ours, theirs)

    def text(self, what: str) -> str:
        return f"seed {self.seed}\n" + "\n".join(self.lines) + f"\n-> {what}"

    def keep(self, pair: tuple[Any, Any] | None, name: str) -> None:
        if pair is None:
            return
        ours, theirs = pair
        if tuple(ours.shape) != tuple(theirs.shape):
            raise Different(self.text(f"shape {tuple(ours.shape)}, PyTorch {tuple(theirs.shape)}"))
        if ours.requires_grad != theirs.requires_grad or ours.is_leaf != theirs.is_leaf:
            flags = (
                f"{ours.requires_grad=} {theirs.requires_grad=} {ours.is_leaf=} {theirs.is_leaf=}"
            )
            raise Different(self.text(f"{name}: {flags}"))
        self.held.append(Both(name, ours, theirs))
        if len(self.held) > 9:
            gone = self.held.pop(self.random.randrange(len(self.held)))
            self.lines.append(f"del {gone.name}")

    def new_name(self) -> str:
        self.made += 1
        return f"v{self.made}"

    def same(self, what: str, ours: Any, theirs: Any) -> None:
        if (ours is None) != (theirs is None):
            raise Different(self.text(f"{what}: {ours} PyTorch {theirs}"))
        if ours is None:
            return
        found, wanted = np.array(values(ours)), theirs.detach().numpy()
        if found.shape != wanted.shape or not np.allclose(
            found, wanted, rtol=1e-7, atol=1e-9, equal_nan=True
        ):
            raise Different(self.text(f"{what}:\n{found}\nPyTorch\n{wanted}"))

    # -- instructions ---------------------------------------------------------------------------
    def start(self) -> None:
        for _ in range(2):
            self.fresh()

    def fresh(self) -> None:
        shape = self.random.choice([(2, 3), (3, 2), (6,), (2, 3)])
        values = [round(self.random.uniform(-2, 2), 2) for _ in range(int(np.prod(shape)))]
        data = np.array(values).reshape(shape)
        needs = self.random.random() < 0.6
        name = self.new_name()
        self.keep(
            self.both(
                f"{name} = lib.tensor({data.tolist()}, dtype=lib.float64, requires_grad={needs})",
                lambda lib: lib.tensor(data.tolist(), dtype=lib.float64, requires_grad=needs),
            ),
            name,
        )

    def pick(self) -> Both:
        return self.random.choice(self.held)

    def partner(self, x: Both) -> Both:
        same = [h for h in self.held if h.theirs.shape == x.theirs.shape]
        return self.random.choice(same)

    def compute(self) -> None:
        x, name = self.pick(), self.new_name()
        y = self.partner(x)
        text, function = self.random.choice([
            ("{x} + {y}", lambda lib, a, b: a + b),
            ("{x} * {y}", lambda lib, a, b: a * b),
            ("{x} * {y}", lambda lib, a, b: a * b),
            ("{x} - 0.5 * {y}", lambda lib, a, b: a - 0.5 * b),
            ("{x} * 2", lambda lib, a, b: a * 2),
            ("{x}.tanh()", lambda lib, a, b: a.tanh()),
            ("{x}.sin()", lambda lib, a, b: a.sin()),
            ("{x}.clone()", lambda lib, a, b: a.clone()),
            ("{x}.sum()", lambda lib, a, b: a.sum()),
            ("{x} / 3", lambda lib, a, b: a / 3),
        ])  # fmt: skip
        line = f"{name} = " + text.format(x=x.name, y=y.name)
        self.keep(self.both(line, function, x, y), name)

    def view(self) -> None:
        x, name = self.pick(), self.new_name()
        if x.theirs.requires_grad and not self.grad:
            return  # PyTorch says such a view requires a gradient, though it has none
        shape = tuple(x.theirs.shape)
        options: list[tuple[str, Any]] = [
            ("{x}.unsqueeze(0)", lambda lib, a: a.unsqueeze(0)),
            ("{x}.detach()", lambda lib, a: a.detach()),
            ("{x}.squeeze()", lambda lib, a: a.squeeze()),
            ("{x}[...]", lambda lib, a: a[...]),
        ]
        if shape:
            i = self.random.randrange(shape[0])
            options += [
                (f"{{x}}[{i}]", lambda lib, a: a[i]),
                (f"{{x}}[{i}:]", lambda lib, a: a[i:]),
                ("{x}[::2]", lambda lib, a: a[::2]),
                (f"{{x}}.narrow(0, {i}, 1)", lambda lib, a: a.narrow(0, i, 1)),
            ]
        if shape and x.theirs.is_contiguous():
            # PyTorch keeps the strides of transposed operands, and then has to copy.
            options += [
                ("{x}.reshape(-1)", lambda lib, a: a.reshape(-1)),
                ("{x}.flatten()", lambda lib, a: a.flatten()),
            ]
        if len(shape) > 1:
            j = self.random.randrange(shape[-1])
            options += [
                ("{x}.transpose(0, -1)", lambda lib, a: a.transpose(0, -1)),
                (f"{{x}}[..., {j}]", lambda lib, a: a[..., j]),
                (f"{{x}}[:, {0}:]", lambda lib, a: a[:, 0:]),
                (f"{{x}}.select(-1, {j})", lambda lib, a: a.select(-1, j)),
            ]
        if len(shape) <= 2:
            options += [("{x}.expand(2, *{x}.shape)", lambda lib, a: a.expand(2, *a.shape))]
        text, function = self.random.choice(options)
        self.keep(self.both(f"{name} = " + text.format(x=x.name), function, x), name)

    def write(self) -> None:
        x = self.pick()
        y = self.partner(x)
        if x.theirs.untyped_storage().data_ptr() == y.theirs.untyped_storage().data_ptr():
            # PyTorch reads what it has just written.
            pair = self.both(f"z = {x.name}.detach() * 2", lambda lib, a: a.detach() * 2, x)
            if pair is None:
                raise Beyond
            y = Both("z", *pair)
        number = round(self.random.uniform(-2, 2), 1)
        text, function = self.random.choice([
            (f"{{x}}.add_({number})", lambda lib, a, b: a.add_(number)),
            (f"{{x}}.mul_({number})", lambda lib, a, b: a.mul_(number)),
            ("{x}.add_({y})", lambda lib, a, b: a.add_(b)),
            ("{x}.mul_({y})", lambda lib, a, b: a.mul_(b)),
            ("{x}.copy_({y})", lambda lib, a, b: a.copy_(b)),
            ("{x}.zero_()", lambda lib, a, b: a.zero_()),
            (f"{{x}}.fill_({number})", lambda lib, a, b: a.fill_(number)),
            (f"{{x}}[...] = {number}", lambda lib, a, b: a.__setitem__(..., number)),
            ("{x}[0:1] = {y}[0:1]", lambda lib, a, b: a.__setitem__(slice(0, 1), b[0:1])),
            ("{x}[0] += 1", lambda lib, a, b: a[0].add_(1)),
            ("{x}.data.mul_(0.5)", lambda lib, a, b: a.data.mul_(0.5)),
        ][: 9 if not x.theirs.shape else 11])  # fmt: skip
        if not x.theirs.shape and "[0" in text:
            return
        self.both(text.format(x=x.name, y=y.name), function, x, y)

    def look(self) -> None:
        x = self.pick()
        self.lines.append(f"{x.name}.tolist()")
        self.same(x.name, x.ours, x.theirs)

    def change_mode(self) -> None:
        self.grad = not self.grad
        self.lines.append(f"# grad mode {self.grad}")

    def forget(self) -> None:
        if len(self.held) > 2:
            gone = self.held.pop(self.random.randrange(len(self.held)))
            self.lines.append(f"del {gone.name}")

    def clear(self) -> None:
        for h in self.held:
            if h.theirs.is_leaf:
                self.lines.append(f"{h.name}.grad = None")
                h.ours.grad = h.theirs.grad = None

    def backward(self) -> None:
        with_grad = [h for h in self.held if h.theirs.requires_grad]
        if not with_grad:
            return
        x = self.random.choice(with_grad)
        retain = self.random.random() < 0.3

        def run(lib: Any, a: Any) -> None:
            a.sum().backward(retain_graph=retain)

        ok = self.both(f"{x.name}.sum().backward(retain_graph={retain})", run, x)
        if ok is None:
            raise Beyond  # what a failed pass left in .grad is nobody's promise
        self.gradients()

    def gradients(self) -> None:
        for h in self.held:
            if h.theirs.is_leaf and h.theirs.requires_grad and self.random.random() < 0.5:
                self.lines.append(f"{h.name}.grad")
                self.same(f"{h.name}.grad", h.ours.grad, h.theirs.grad)

    def run(self, length: int) -> None:
        """Run a program; then compare everything."""
        self.start()
        weights = {
            self.compute: 5, self.view: 4, self.write: 5, self.look: 3, self.backward: 1,
            self.fresh: 1, self.change_mode: 0.7, self.forget: 1, self.clear: 0.3,
        }  # fmt: skip
        try:
            for _ in range(length):
                (step,) = self.random.choices(list(weights), list(weights.values()))
                step()
        except Beyond:
            return
        for h in self.held:
            self.lines.append(f"{h.name}.tolist()")
            self.same(h.name, h.ours, h.theirs)
