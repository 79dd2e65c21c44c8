"""Print what three models take on machines of the edge: code, weights, workspace, time.

`python benchmarks/edge/run.py`, from the root. Times are of one thread, the best of
many windows; those of an emulator are left out.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tenor.export.edge import benchmark  # noqa: E402
from tests.export import zoo  # noqa: E402

MODELS = ("digits", "keywords", "mobilenet")
TARGETS = ("x86_64-linux", "x86_64-avx512", "x86_64-vnni", "aarch64-linux", "armv7-linux",
           "cortex-m4", "cortex-m55", "riscv32-bare")  # fmt: skip


def main() -> None:
    """Print a row for each model and machine."""
    print("| model | target | code | weights | workspace | time |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            path, _ = zoo.bundle(name, Path(folder) / f"{name}.tnr")
            for target in TARGETS:
                report = benchmark(path, target)
                native = report.seconds is not None and report.how == "native"
                time = f"{report.seconds * 1e6:.1f} us" if native else ""
                sizes = f"{report.code} | {report.weights} | {report.workspace}"
                print(f"| {name} | {target} | {sizes} | {time} |", flush=True)


if __name__ == "__main__":
    main()
