"""model.js and model.d.ts: how a page loads the model and asks it."""

from __future__ import annotations

import base64
import functools
import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from tenor.errors import ArgumentError
from tenor.export.web.linker import link
from tenor.ir import dtype as dt
from tenor.ir.target import Target
from tenor.runtime import cross
from tenor.save.safetensors import CODE_OF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tenor.export.web.module import Modules, Place, Step
    from tenor.ir.node import Node

__all__ = ["ARRAYS", "check", "declarations", "gpu_script", "probe", "script", "training_script"]

ARRAYS: Final = {
    dt.float32: "Float32Array", dt.float64: "Float64Array", dt.int64: "BigInt64Array",
    dt.int32: "Int32Array", dt.int16: "Int16Array", dt.int8: "Int8Array",
    dt.uint8: "Uint8Array", dt.bool_: "Uint8Array",
}  # fmt: skip
"""What holds a dtype's numbers in JavaScript."""
PROBE: Final = """
declare <4 x float> @llvm.fmuladd.v4f32(<4 x float>, <4 x float>, <4 x float>)
define <4 x float> @f(<4 x float> %a) {
  %r = call <4 x float> @llvm.fmuladd.v4f32(<4 x float> %a, <4 x float> %a, <4 x float> %a)
  ret <4 x float> %r
}
"""


def check(values: Mapping[str, Node]) -> None:
    """Refuse inputs and outputs that JavaScript has no array for.

    Raises:
        ArgumentError: There is one.
    """
    for name, node in values.items():
        if node.dtype not in ARRAYS:
            raise ArgumentError(
                "export_web: inputs and outputs are of a dtype that JavaScript has an array for.",
                came=f"{name!r}: {node.dtype.name}",
                fix="convert it in the model's forward(): x.float()",
            )


@functools.cache
def probe() -> str:
    """Return a module of one relaxed instruction: an engine without them finds it invalid."""
    target = Target.wasm32(relaxed=True)
    made = link(cross.object_file(PROBE, target), exports=("f",)).module
    return base64.b64encode(made).decode()


def script(name: str, modules: Modules, *, gpu: bool = False) -> str:
    """Return model.js; with `gpu` it can load the model for WebGPU too."""
    trained = modules.step is not None
    made = {
        "TITLE": _comment(name),
        "META": _json(_meta(name, modules)),
        "PROBE": probe(),
        "IMPORT": IMPORT if trained else "",
        "MODEL": TRAINED if trained else "model",
        "FILES": PROGRAM if gpu else "",
        "GPU": ON_GPU if gpu else "",
    }
    return _filled("model.js", made)


def training_script(name: str, step: Step) -> str:
    """Return training.js, which model.js imports where there is a training step."""
    numbers = ", ".join(n.text for n in step.training.numbers)
    made = {"TITLE": _comment(name), "STEP": _json(_step(step)), "NUMBERS": f"[{numbers}]"}
    return _filled("training.js", made)


def gpu_script(name: str) -> str:
    """Return gpu.js, which model.js imports where it is asked for WebGPU."""
    return _filled("gpu.js", {"TITLE": _comment(name)})


IMPORT: Final = 'import { training } from "./training.js";\n'
TRAINED: Final = "{ ...model, ...training({ exports, memory, heap, bind, spec, given }) }"
PROGRAM: Final = """
  "program.json": new URL("./program.json", import.meta.url),"""
ON_GPU: Final = """
  if (typeof base === "object" && !(base instanceof URL)) {
    const how = base;
    base = how.base;
    if (how.gpu) {
      const { onGPU } = await import("./gpu.js");
      return onGPU(META, { TYPES, bytes, decode, given }, base, () => load(base));
    }
  }"""


def _filled(file: str, made: Mapping[str, str]) -> str:
    """Return a script of ours with what is particular to a model put in."""
    text = files("tenor.export.web").joinpath(file).read_text("utf-8")
    return re.sub(f"__({'|'.join(made)})__", lambda m: made[m[1]], text)


def _meta(name: str, modules: Modules) -> dict[str, Any]:
    """Return what the script knows of the model."""
    meta: dict[str, Any] = {
        "name": name,
        "inputs": _rows(modules.inputs),
        "outputs": _rows(modules.outputs),
        "tables": modules.tables,
        "work": modules.workspace,
    }
    if modules.preparing is not None:
        meta["prepare"] = modules.preparing
    return meta


def _comment(name: str) -> str:
    return re.sub(r"\s+", " ", name)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _rows(places: Sequence[Place]) -> list[dict[str, Any]]:
    return [
        {"name": p.name, "dtype": p.node.dtype.name, "shape": list(p.node.shape), "at": p.at}
        for p in places
    ]


def _step(step: Step) -> dict[str, Any]:
    training = step.training
    state = [
        [name, CODE_OF[leaf.dtype], list(leaf.shape), step.state[name],
         training.step.weights[name].nbytes]
        for name, leaf in training.step.leaves.items()
        if name in training.weights
    ]  # fmt: skip
    return {
        "inputs": _rows(step.inputs),
        "outputs": _rows([step.loss]),
        "targets": len(training.targets),
        "batch": training.step.batch,
        "tables": step.tables,
        "work": step.workspace,
        "numbers": step.numbers,
        "slots": len(training.numbers),
        "lr": training.lr,
        "state": state,
    }


# -- types --------------------------------------------------------------------------------------
def declarations(modules: Modules, *, gpu: bool = False) -> str:
    """Return model.d.ts."""
    given = "; ".join(f"{_key(p.name)}: Values" for p in modules.inputs)
    made = "; ".join(f"{_key(p.name)}: {ARRAYS[p.node.dtype]}" for p in modules.outputs)
    one = ARRAYS[modules.outputs[0].node.dtype] if len(modules.outputs) == 1 else "Outputs"
    values = ", ".join(f"{_argument(i, p.name)}: Values" for i, p in enumerate(modules.inputs))
    lines = [
        "/** Numbers in row-major order: a typed array of the dtype's kind, or (nested) arrays. */",
        "export type Values =",
        "  ArrayBufferView | ArrayLike<number | bigint | boolean> | Values[] | number;",
        "export interface Spec { name: string; dtype: string; shape: number[] }",
        f"export interface Inputs {{ {given} }}",
        f"export interface Outputs {{ {made} }}",
        "export interface Model {",
        "  name: string;",
        "  /** The module in use: with relaxed SIMD, or without. */",
        '  kind: "relaxed" | "simd";',
        "  inputs: Spec[];",
        "  outputs: Spec[];",
        "  /** Answer: arrays in by name, new typed arrays out by name. */",
        "  run(inputs: Inputs): Outputs;",
        f"  predict({values}): {one};",
    ]
    if modules.step is not None:
        lines += [
            "  batch: number;",
            "  lr: number;",
            "  trainInputs: Spec[];",
            "  targets: Spec[];",
            "  /** Take one step of training on a batch; return its loss. */",
            "  trainStep(inputs: Values | Record<string, Values>,",
            "    targets?: Values | Record<string, Values>, options?: { lr?: number }): number;",
            "  /** The weights now, as a .safetensors file. */",
            "  state(): ArrayBuffer;",
        ]
    lines.append("}")
    if gpu:
        lines += _asynchronous(values, one)
    return "\n".join([*lines, "export function load(base?: string | URL): Promise<Model>;", ""])


def _asynchronous(values: str, one: str) -> list[str]:
    """Return the declarations of a model that is asked on WebGPU."""
    return [
        "export interface AsyncModel {",
        "  name: string;",
        "  /** Where it runs: without an adapter in one of the WebAssembly modules. */",
        '  kind: "webgpu" | "relaxed" | "simd";',
        "  inputs: Spec[];",
        "  outputs: Spec[];",
        "  run(inputs: Inputs): Promise<Outputs>;",
        f"  predict({values}): Promise<{one}>;",
        "  /** Free what it holds on the device. */",
        "  destroy(): void;",
        "}",
        "export interface Place { base?: string | URL }",
        "export function load(how: Place & { gpu: true }): Promise<AsyncModel>;",
        "export function load(how: Place & { gpu?: false }): Promise<Model>;",
    ]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else json.dumps(name)


def _argument(number: int, name: str) -> str:
    return name if re.fullmatch(r"[a-z]\w*", name) and name not in RESERVED else f"input{number}"


_WORDS: Final = (
    "break case catch class const continue debugger default delete do else enum export extends"
    " false finally for function if import in instanceof new null return super switch this throw"
    " true try typeof var void while with let static yield await"
)
RESERVED: Final = frozenset(_WORDS.split())
