"""One peer's process: makes a workload ready, then does as many steps as it is told to.

It reads one JSON object a line from standard input and answers each with one line:

    {"do": "open", "peer", "row", "threads", "folder"}  -> {"ready", "cold", "base"}
    {"do": "run", "seconds"}                            -> {"times"}
    {"do": "close"}                                     -> {"check", "peak", ...}
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import catalogue
from peers import open_session


def memory(key: str) -> int:
    """Return bytes of resident memory: VmRSS now, VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


class Worker:
    """Does what the lines say."""

    def open(self, peer: str, row: str, threads: int, folder: str) -> dict[str, Any]:
        self.peer = peer
        start = time.perf_counter()
        __import__("tenor" if peer == "tenor" else "jax" if peer == "jax" else
                   "onnxruntime" if peer == "onnxruntime" else "torch")  # fmt: skip
        imported, base = time.perf_counter() - start, memory("VmRSS")
        self.session = open_session(peer, catalogue.row(row), threads, Path(folder))
        if self.session is None:
            return {"ready": False}
        start = time.perf_counter()
        self.session.step()
        first = time.perf_counter() - start
        return {"ready": True, "import": imported, "first": first, "base": base}

    def run(self, seconds: float) -> dict[str, Any]:
        """Do steps for about so long, at least one; give each step's seconds."""
        step, clock = self.session.step, time.perf_counter
        times: list[float] = []
        gc.collect()
        gc.disable()
        now = clock()
        end = now + seconds
        while now < end or not times:
            step()
            then, now = now, clock()
            times.append(now - then)
        gc.enable()
        return {"times": times}

    def close(self) -> dict[str, Any]:
        found: dict[str, Any] = {"peak": memory("VmHWM")}
        if self.peer == "tenor":
            import counting

            found["counts"] = counting.of_a_step(self.session.step)
        return found | {"check": [float(v) for v in self.session.check()]}


def pin() -> None:
    """Stay on the processors named on the command line."""
    os.sched_setaffinity(0, {int(n) for n in sys.argv[1:]})


def main() -> None:
    """Answer lines until there are no more; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        given = json.loads(line)
        try:
            answer = getattr(worker, given.pop("do"))(**given)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    pin()
    main()
