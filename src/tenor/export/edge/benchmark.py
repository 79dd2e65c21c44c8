"""How large a model is on a machine, and how fast where it can be run here."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tenor.compiler.schedule.memory import ALIGN, bytes_of, room_of
from tenor.export.edge.export import written
from tenor.export.edge.header import identifier
from tenor.export.edge.targets import machinery
from tenor.export.fold import folded
from tenor.export.source import opened, source_of
from tenor.runtime import cpu

if TYPE_CHECKING:
    from tenor.export.edge.export import Exported
    from tenor.export.quantize.record import Quantization
    from tenor.export.source import Source

__all__ = ["Report", "benchmark"]

WINDOW: Final = 0.02
"""Seconds of a window; the best of many is what the machine can do."""
EMULATED: Final = """\
#define _POSIX_C_SOURCE 199309L
#include "{stem}.h"
#include <stdio.h>
#include <time.h>
static {upper}_ALIGNED uint8_t weights[{upper}_WEIGHTS_BYTES];
static {upper}_ALIGNED uint8_t workspace[{upper}_WORKSPACE_BYTES];
static {upper}_ALIGNED uint8_t room[{room}];
int main(void) {{
    const void *inputs[] = {{{inputs}}};
    void *outputs[] = {{{outputs}}};
    struct timespec a, b;
    double best = 1e9, took;
    FILE *file = fopen("{stem}_weights.bin", "rb");
    int i;
    if (!file || fread(weights, sizeof weights, 1, file) != 1) return 1;
    for (i = 0; i < 5; i++) {{
        clock_gettime(CLOCK_MONOTONIC, &a);
        {stem}_run(weights, inputs, outputs, workspace);
        clock_gettime(CLOCK_MONOTONIC, &b);
        took = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        if (took < best) best = took;
    }}
    printf("%.9f\\n", best);
    return 0;
}}
"""


@dataclass(frozen=True)
class Report:
    """What a model takes on a machine.

    Attributes:
        target: The machine.
        code: Bytes of instructions and the constants among them.
        weights: Bytes of the weights.
        workspace: Bytes of memory a call works in: with inputs and outputs the peak.
        seconds: The least time of a call; None where it cannot be run here.
        how: "native", "emulated" (which says nothing about the machine's own speed), or "".
    """

    target: str
    code: int
    weights: int
    workspace: int
    seconds: float | None
    how: str


def benchmark(
    model: Any,
    target: str = "x86_64-linux",
    *,
    example_inputs: Any = None,
    signature: str | None = None,
    batch: int = 1,
    quantization: Quantization | None = None,
) -> Report:
    """Return how large a model is on a machine, and how fast where that can be tried here.

    Args:
        model: A bundle's path, a loaded model, or a module.
        target: A name in `tenor.export.edge.TARGETS`, or "native" for this machine's processor.
        example_inputs, signature, batch, quantization: As for `export_edge`.

    Raises:
        ArgumentError, ExportError: As `export_edge` does.
    """
    row = machinery(target)
    here = row.compiler == "" and row.target.triple.startswith(f"{cpu.machine()}-unknown-linux")
    native = here and shutil.which("gcc") is not None and _runs(row.target.cpu)
    emulated = bool(row.emulator) and all(
        shutil.which(tool) for tool in (row.emulator, f"{row.compiler}gcc")
    )
    source = folded(source_of(opened(model, example_inputs), signature, batch=batch))
    with tempfile.TemporaryDirectory() as folder:
        form = "shared" if native else "object"
        made = written(source, Path(folder), row, form=form, quantization=quantization)
        seconds, how = None, ""
        if native:
            seconds, how = _native(made, source), "native"
        elif emulated:
            seconds, how = _emulated(made, source, row.compiler, row.emulator), "emulated"
    return Report(target, made.code, made.weights, made.workspace, seconds, how)


def _runs(name: str) -> bool:
    """Tell whether this machine has the instructions of a processor."""
    wanted = {
        "haswell": "+avx2", "skylake-avx512": "+avx512bw", "cascadelake": "+avx512vnni",
    }.get(name)  # fmt: skip
    return wanted is None or wanted in cpu.host_target().features.split(",")


def _aligned(nbytes: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raw = np.zeros(nbytes + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + nbytes]


def _native(made: Exported, source: Source) -> float:
    """Return the seconds of a call of a shared library."""
    file = next(f for f in made.files if f.suffix == ".so")
    run = getattr(ctypes.CDLL(str(file)), f"{identifier(source.name)}_run")
    weights, workspace = _aligned(made.weights), _aligned(made.workspace)
    stored = next(f for f in made.files if f.suffix == ".bin").read_bytes()
    weights[:] = np.frombuffer(stored, np.uint8)
    groups = [list(source.inputs.values()), list(source.outputs.values())]
    arrays = [[np.zeros(n.shape, n.dtype.numpy) for n in group] for group in groups]
    for name, array in zip(source.inputs, arrays[0], strict=True):
        if name in source.rows and len(source.rows[name]) >= len(array) > 0:
            array[...] = source.rows[name][: len(array)]
    tables = [(ctypes.c_void_p * max(1, len(g)))(*[a.ctypes.data for a in g]) for g in arrays]
    places = [ctypes.c_void_p(a.ctypes.data) for a in (weights, workspace)]

    def calls(count: int) -> float:
        start = time.thread_time()
        for _ in range(count):
            run(places[0], *tables, places[1])
        return (time.thread_time() - start) / count

    once = max(calls(3), 1e-7)
    count = max(1, int(WINDOW / once))
    return min(calls(count) for _ in range(15))


def _emulated(made: Exported, source: Source, compiler: str, emulator: str) -> float:
    """Return the seconds of a call under QEMU."""
    folder = made.files[0].parent
    nodes = [*source.inputs.values(), *source.outputs.values()]
    sizes = [room_of(bytes_of(n)) for n in nodes]
    places = [f"room + {sum(sizes[:i])}" for i in range(len(sizes))]
    count = len(source.inputs)
    text = EMULATED.format(
        stem=made.name, upper=made.name.upper(), room=max(1, sum(sizes)),
        inputs=", ".join(places[:count]) or "0", outputs=", ".join(places[count:]) or "0",
    )  # fmt: skip
    (folder / "timed.c").write_text(text)
    program, object_file = Path(folder) / "timed", next(f for f in made.files if f.suffix == ".o")
    files = [str(f) for f in (program, folder / "timed.c", object_file)]
    build = [f"{compiler}gcc", "-O1", "-static", "-o", *files]
    subprocess.run(build, check=True, capture_output=True)  # noqa: S603 - our own file
    done = subprocess.run(  # noqa: S603 - the program made above
        [emulator, str(program)], check=True, capture_output=True, cwd=folder, text=True
    )
    return float(done.stdout)
