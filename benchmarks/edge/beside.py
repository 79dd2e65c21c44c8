"""Print what three models take beside LiteRT: float and eight bits, one thread, in turns.

`python benchmarks/edge/beside.py [target]`, from the root; it needs `ai-edge-litert` and a C
compiler. Times are processor time, the least of many windows; a ratio is LiteRT's over ours.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tenor.export.edge import export_edge  # noqa: E402
from tenor.export.fold import folded  # noqa: E402
from tenor.export.quantize import calibrate  # noqa: E402
from tenor.export.source import opened, source_of  # noqa: E402
from tenor.export.tflite import export_tflite  # noqa: E402
from tests.export import zoo  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenor.export.quantize import Quantization
    from tenor.export.source import Source

MODELS = ("digits", "keywords", "mobilenet")
WINDOW = 0.01
"""Seconds of a window."""
TURNS = 60
"""Windows each of them gets."""


def aligned(data: bytes | int) -> np.ndarray[Any, Any]:
    """Return bytes at a multiple of 64."""
    count = data if isinstance(data, int) else len(data)
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    room = raw[start : start + count]
    if isinstance(data, bytes):
        room[:] = np.frombuffer(data, np.uint8)
    return room


def ours(
    path: Path, folder: Path, target: str, source: Source, how: Quantization | None
) -> tuple[Callable[[], Any], list[Any]]:
    """Return a call of the exported code, and its outputs."""
    made = export_edge(path, folder, target=target, form="shared", quantization=how)
    library = next(f for f in made.files if f.suffix == ".so")
    weights = aligned(next(f for f in made.files if f.suffix == ".bin").read_bytes())
    workspace = aligned(made.workspace)
    run = getattr(ctypes.CDLL(str(library)), f"{made.name}_run")
    inputs = [source.rows[name][:1].copy() for name in source.inputs]
    outputs = [np.zeros(n.shape, n.dtype.numpy) for n in source.outputs.values()]
    tables = [(ctypes.c_void_p * len(a))(*[x.ctypes.data for x in a]) for a in (inputs, outputs)]
    given = (ctypes.c_void_p(weights.ctypes.data), *tables,
             ctypes.c_void_p(workspace.ctypes.data))  # fmt: skip
    held = (weights, workspace, inputs)

    def call() -> Any:
        run(*given)
        return held

    return call, outputs


def theirs(
    path: Path, file: Path, source: Source, how: Quantization | None
) -> tuple[Callable[[], Any], list[Any]]:
    """Return a call of LiteRT, and its outputs."""
    export_tflite(path, file, quantization=how)
    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    for detail, name in zip(interpreter.get_input_details(), source.inputs, strict=True):
        interpreter.set_tensor(detail["index"], source.rows[name][:1])
    interpreter.invoke()
    return interpreter.invoke, [
        interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()
    ]


def least(calls: list[Callable[[], Any]]) -> list[float]:
    """Return the least seconds of each call: they take turns."""
    counts = []
    for call in calls:
        start = time.thread_time()
        for _ in range(20):
            call()
        counts.append(max(1, int(WINDOW * 20 / max(time.thread_time() - start, 1e-6))))
    best = [float("inf")] * len(calls)
    for _ in range(TURNS):
        for i, (call, count) in enumerate(zip(calls, counts, strict=True)):
            start = time.thread_time()
            for _ in range(count):
                call()
            best[i] = min(best[i], (time.thread_time() - start) / count)
    return best


def main() -> None:
    """Print a row for each model and dtype."""
    target = sys.argv[1] if len(sys.argv) > 1 else "x86_64-linux"
    print(f"On {target}, us a call; apart: the largest difference of answers.\n")
    print("| model | dtype | ours | LiteRT | ratio | apart |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as room:
        for name in MODELS:
            path, _ = zoo.bundle(name, Path(room) / f"{name}.tnr")
            source = folded(source_of(opened(path), batch=1))
            for dtype in ("float32", "int8"):
                how = calibrate(source, dict(source.rows)) if dtype == "int8" else None
                folder = Path(room) / f"{name}_{dtype}"
                mine, answer = ours(path, folder, target, source, how)
                yours, expected = theirs(path, folder / "model.tflite", source, how)
                mine()
                apart = max(float(np.abs(a.reshape(-1) - b.reshape(-1)).max())
                            for a, b in zip(answer, expected, strict=True))  # fmt: skip
                first, second = (t * 1e6 for t in least([mine, yours]))
                print(f"| {name} | {dtype} | {first:.1f} | {second:.1f} | {second / first:.2f} "
                      f"| {apart:.1g} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
