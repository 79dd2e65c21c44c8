"""What `checkpoint` trades: memory for values in between against a second forward pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import seconds
from rich.table import Table

__all__ = ["measure", "table"]

CODE = """
import json, sys, time
sys.path.insert(0, {here!r})
import counting, tenor as tn
from worker import memory
from workloads import networks
tn.set_num_threads(1)
tn.manual_seed(0)
model = networks.gpt(tn, 8, 256, 4, 128, 256)
if {use}:
    from tenor.utils.checkpoint import checkpoint
    for block in model.blocks:
        block.forward = lambda x, forward=block.forward: checkpoint(forward, x)
optimizer = tn.optim.AdamW(model.parameters())
x, y = tn.randint(0, 256, (8, 128)), tn.randint(0, 256, (1024,))
def step():
    optimizer.zero_grad()
    loss = tn.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
losses = [step() for _ in range(3)]
times = []
for _ in range(5):
    start = time.perf_counter()
    step()
    times.append(time.perf_counter() - start)
print(json.dumps(counting.of_a_step(step) | dict(
    seconds=sorted(times)[2], losses=losses,
    peak=memory("VmHWM"))))
"""


def measure() -> list[dict[str, Any]]:
    """Return what a step of an 8-layer GPT takes without `checkpoint` and with it."""
    found = []
    for use in (False, True):
        code = CODE.format(here=str(Path(__file__).parent), use=use)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        found.append(json.loads(done.stdout.splitlines()[-1]) | {"checkpoint": use})
    return found


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as they are printed."""
    made = Table(title="checkpoint: GPT 8 x 256, context 128, batch 8, a block at a time")
    for name in ("", "a step", "values in between", "peak memory", "launches", "third loss"):
        made.add_column(name, justify="right", no_wrap=True)
    for r in rows:
        made.add_row(
            "with" if r["checkpoint"] else "without", seconds(r["seconds"]),
            f"{r['arena'] / 1e6:.0f} MB", f"{r['peak'] / 1e6:.0f} MB", str(r["launches"]),
            f"{r['losses'][2]:.6f}",
        )  # fmt: skip
    return made
