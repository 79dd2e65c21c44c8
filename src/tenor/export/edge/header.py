"""The header that says how a model is called, and weights as an array."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tenor.compiler.schedule.memory import ALIGN
from tenor.ir.node import size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tenor.export.machine import Machine
    from tenor.ir.node import Node

__all__ = ["Names", "array_text", "header_text", "identifier"]

C_TYPES: Final = {
    "bool": "uint8_t", "float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float",
    "float64": "double",
}  # fmt: skip
"""C's types of elements; integers have their own names. 16-bit floats are their bits."""
RESERVED: Final = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "main", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while",
))  # fmt: skip


def identifier(name: str) -> str:
    """Return a name as one of C: lower case, what C does not allow as _."""
    made = re.sub(r"[^0-9a-z]+", "_", name.lower()).strip("_") or "model"
    bad = made[0].isdigit() or made in RESERVED
    return f"model_{made}" if bad else made


@dataclass(frozen=True)
class Names:
    """What things are called in C.

    Attributes:
        stem: The model's name; files and symbols begin with it.
        inputs, outputs: The identifier of each.
    """

    stem: str
    inputs: dict[str, str]
    outputs: dict[str, str]

    @classmethod
    def of(cls, machine: Machine) -> Names:
        """Return the names of a model, each its own."""
        taken = {"workspace", "weights", "inputs", "outputs", "file"}
        named = []
        for group in (machine.source.inputs, machine.source.outputs):
            found = {}
            for name in group:
                made = identifier(name)
                while made in taken:
                    made += "_"
                taken.add(made)
                found[name] = made
            named.append(found)
        return cls(identifier(machine.source.name), *named)

    @property
    def symbol(self) -> str:
        """Return the function's name."""
        return f"{self.stem}_run"

    @property
    def signature(self) -> str:
        """Return the function's declaration."""
        return (
            f"int32_t {self.symbol}(const void *weights, const void *const *inputs,\n"
            f"{' ' * (len(self.symbol) + 9)}void *const *outputs, void *workspace)"
        )


def _c_type(node: Node) -> str:
    name = node.dtype.name
    return C_TYPES.get(name, f"{name}_t")


def _said(name: str) -> str:
    return repr(name).replace("*/", "* /")


def _values(names: dict[str, str], nodes: dict[str, Node], table: str, stem: str) -> list[str]:
    lines = []
    for i, (name, node) in enumerate(nodes.items()):
        shape = ", ".join(map(str, node.shape)) or "a scalar"
        lines.append(f"/* {table}[{i}] {_said(name)}: {node.dtype.name} [{shape}] */")
        made = f"{stem}_{names[name]}_COUNT".upper()
        lines.append(f"#define {made} {size(node.shape)}")
    return lines


def header_text(machine: Machine, names: Names, about: str, weights: str) -> str:
    """Return the header.

    Args:
        machine: What it is about.
        names: What things are called.
        about: The machine in words.
        weights: The name of the file that holds the weights: a header, or bytes to be read.
    """
    stem = names.stem.upper()
    source = machine.source
    lines = [
        f"/* {_said(source.name)}, signature {_said(source.signature)}, made by Tenor.",
        " *",
        f" * For {about}.",
        " *",
        f" * {names.symbol} computes the outputs from the inputs. It allocates nothing and keeps",
        " * nothing: calls with workspaces of their own may run at once. It returns 0; another",
        " * number where an index into a table was out of range, and the outputs are of no use.",
        " *",
        f" * weights    {stem}_WEIGHTS_BYTES bytes, only read: {weights}",
        " * inputs     the address of each input, in the order below",
        " * outputs    the address of each output, in the order below",
        f" * workspace  {stem}_WORKSPACE_BYTES bytes to work in, of any contents",
        " *",
        f" * Weights and workspace begin at multiples of {ALIGN} bytes. Elements lie row by row,",
        " * little-endian; 16-bit floats are held as their bits.",
        " *",
        " * Example:",
        *_commented(_example(machine, names, weights)),
        " */",
        f"#ifndef {stem}_H",
        f"#define {stem}_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define {stem}_WEIGHTS_BYTES {machine.weights.size}",
        f"#define {stem}_WORKSPACE_BYTES {machine.workspace}",
        f"#define {stem}_INPUTS {len(source.inputs)}",
        f"#define {stem}_OUTPUTS {len(source.outputs)}",
        *_values(names.inputs, source.inputs, "inputs", stem),
        *_values(names.outputs, source.outputs, "outputs", stem),
        "",
        "#if defined(_MSC_VER)",
        f"#define {stem}_ALIGNED __declspec(align({ALIGN}))",
        "#elif defined(__GNUC__)",
        f"#define {stem}_ALIGNED __attribute__((aligned({ALIGN})))",
        "#else",
        f"#define {stem}_ALIGNED _Alignas({ALIGN})",
        "#endif",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        f"{names.signature};",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _commented(lines: list[str]) -> list[str]:
    return [f" *     {line}".rstrip() for line in lines]


def _example(machine: Machine, names: Names, weights: str) -> list[str]:
    """Return a whole program that calls the model once."""
    stem, source = names.stem.upper(), machine.source
    array = weights.endswith(".h")
    lines = [
        f'#include "{names.stem}.h"',
        f'#include "{weights}"' if array else "#include <stdio.h>",
    ]
    if not array:
        lines.append(f"static {stem}_ALIGNED uint8_t {names.stem}_weights[{stem}_WEIGHTS_BYTES];")
    lines.append(f"static {stem}_ALIGNED uint8_t workspace[{stem}_WORKSPACE_BYTES];")
    for group, nodes in ((names.inputs, source.inputs), (names.outputs, source.outputs)):
        for name, node in nodes.items():
            count = f"{stem}_{group[name].upper()}_COUNT" if size(node.shape) else "1"
            lines.append(f"static {_c_type(node)} {group[name]}[{count}];")
    given, taken = (", ".join(g.values()) or "0" for g in (names.inputs, names.outputs))
    lines += ["int main(void) {", f"    const void *inputs[] = {{{given}}};",
              f"    void *outputs[] = {{{taken}}};"]  # fmt: skip
    if not array:
        lines += [
            f'    FILE *file = fopen("{weights}", "rb");',
            f"    if (!file || fread({names.stem}_weights, {stem}_WEIGHTS_BYTES, 1, file) != 1)",
            "        return 1;",
            "    fclose(file);",
        ]
    lines += [f"    return {names.symbol}({names.stem}_weights, inputs, outputs, workspace);", "}"]
    return lines


def array_text(names: Names, weights: NDArray[np.uint8]) -> str:
    """Return weights as a constant array of 32-bit words."""
    stem = names.stem.upper()
    padded = np.zeros(max(4, -(-weights.size // 4) * 4), np.uint8)
    padded[: weights.size] = weights
    words = [f"0x{word:x}" for word in padded.view("<u4").tolist()]
    rows = [",".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    body = ",\n".join(rows)
    return (
        f"#ifndef {stem}_WEIGHTS_H\n#define {stem}_WEIGHTS_H\n\n"
        f'#include "{names.stem}.h"\n\n'
        f"static const {stem}_ALIGNED uint32_t {names.stem}_weights[{len(words)}] = {{\n"
        f"{body}}};\n\n"
        "#endif\n"
    )
