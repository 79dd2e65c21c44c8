"""What a new process waits for: the import, the first expression, the first training step."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import seconds
from rich.table import Table

__all__ = ["measure", "median", "table"]

IMPORT = """
import time; start = time.process_time()
import tenor
print(time.process_time() - start)
"""

EXPRESSION = """
import time, tenor as tn
x = tn.ones(64, 64); (x + 1).tolist()          # the compiler itself is loaded here
start = time.perf_counter()
((x * 3 - 1).exp() / (x + 2)).tolist()
print(time.perf_counter() - start)
"""

STEP = """
import time, tenor as tn
from tenor.demo.network import digit_network
tn.manual_seed(0)
model = digit_network()
x, y = tn.rand(64, 1, 8, 8), tn.randint(0, 10, (64,))
optimizer = tn.optim.AdamW(model.parameters())
loss_of = tn.nn.CrossEntropyLoss()
start = time.perf_counter()
loss = loss_of(model(x), y); loss.backward(); optimizer.step(); loss.item()
print(time.perf_counter() - start)
"""


def _run(code: str, cache: Path) -> float:
    env = {**os.environ, "TENOR_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.split()[-1])


def measure(repeats: int = 5) -> list[tuple[str, list[float], float]]:
    """Return (what, seconds of each repeat, seconds promised)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cold = iter(Path(folder) / str(i) for i in range(1000))
        warm = next(cold)
        _run(STEP, warm)
        _run(EXPRESSION, warm)
        for what, code, cached, promised in (
            ("import tenor, CPU seconds", IMPORT, True, 0.25),
            ("a new elementwise expression, nothing cached", EXPRESSION, False, 0.05),
            ("the demo's training step, nothing cached", STEP, False, 5.0),
            ("the demo's training step, from the cache", STEP, True, 0.5),
        ):
            times = [_run(code, warm if cached else next(cold)) for _ in range(repeats)]
            rows.append((what, sorted(times), promised))
    return rows


def median(times: list[float]) -> float:
    """Return the middle of the repeats."""
    return statistics.median(times)


def table(rows: list[tuple[str, list[float], float]]) -> Table:
    """Return the rows as they are printed."""
    made = Table(title="Starting up")
    for name in ("what", "median", "min-max", "promised"):
        made.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for what, times, promised in rows:
        color = "green" if median(times) <= promised else "red"
        spread = f"{seconds(times[0])}-{seconds(times[-1])}"
        made.add_row(what, f"[{color}]{seconds(median(times))}[/]", spread, seconds(promised))
    return made
