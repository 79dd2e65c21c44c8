"""Text of any length: training steps whose every batch has another length.

Each library trains a small GPT on batches of random lengths, as padded text comes. What is counted
is the whole time: a library that compiles for each length pays for it here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import seconds
from rich.table import Table

__all__ = ["measure", "table"]

CODE = """
import json, sys, time
sys.path.insert(0, {here!r})
import numpy as np
import {lib} as lib
from workloads import networks, weights
lib.set_num_threads(1)
model = networks.gpt(lib, 2, 128, 4, 256, 256)
weights.load(lib, model)
optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
criterion = lib.nn.CrossEntropyLoss()
rng = np.random.default_rng(0)
lengths = rng.permutation(np.arange(16, 256))[:80]
def kernels():
    if {lib!r} == "torch":
        return 0
    from tenor.runtime import cpu
    return sum(cpu.stats.values())
found = []
for step, length in enumerate(lengths):
    text = rng.integers(0, 256, (4, length + 1))
    x, y = (lib.tensor(np.ascontiguousarray(t)) for t in (text[:, :-1], text[:, 1:].reshape(-1)))
    start = time.perf_counter()
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    value = loss.item()
    found.append([int(length), time.perf_counter() - start, value, kernels()])
print(json.dumps(found))
"""


def measure() -> dict[str, list[list[float]]]:
    """Return [length, seconds, loss, kernels loaded so far] of each step, by library."""
    found: dict[str, Any] = {}
    for lib in ("tenor", "torch"):
        code = CODE.format(here=str(Path(__file__).parent), lib=lib)
        with tempfile.TemporaryDirectory() as cache:
            env = {**os.environ, "TENOR_CACHE_DIR": cache}
            done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True,
                                  text=True)  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        found[lib] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: dict[str, list[list[float]]]) -> Table:
    """Return the steps in quarters, as they are printed."""
    made = Table(title="80 training steps, 80 lengths between 16 and 255; nothing cached")
    made.add_column("steps")
    for name in ("tenor", "torch", "kernels loaded"):
        made.add_column(name, justify="right")
    for first in range(0, 80, 20):
        part = slice(first, first + 20)
        times = [seconds(sum(s for _, s, *_ in found[lib][part])) for lib in ("tenor", "torch")]
        before = found["tenor"][first - 1][3] if first else 0
        loaded = found["tenor"][first + 19][3] - before
        made.add_row(f"{first + 1}-{first + 20}", *times, f"{loaded:.0f}")
    gap = max(abs(a[2] - b[2]) for a, b in zip(found["tenor"], found["torch"], strict=True))
    made.caption = f"losses differ by at most {gap:.1e}"
    return made
