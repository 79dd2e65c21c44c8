"""Run a row on every peer in turns: A B C A B C ..., each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalogue
import numpy as np
import peers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Plan", "Result", "Timing", "geometric_mean", "measure"]

HERE = Path(__file__).parent
TOLERANCE = {"training": 2e-2, "inference": 2e-3, "kernel": 2e-3}
"""How far first losses, or answers, may differ, of the largest: beyond that a row is void."""


@dataclass(frozen=True)
class Plan:
    """How a run is made.

    Attributes:
        peers: Names of the peers; Tenor first.
        threads: Thread counts; a process is pinned to as many processors.
        rounds: Turns each peer gets.
        seconds: How long a turn is.
        cold: Whether a process of its own measures the first step with nothing cached.
        folder: For caches, weights and exported models.
    """

    peers: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    seconds: float
    cold: bool
    folder: Path


@dataclass
class Timing:
    """One peer on one row.

    Attributes:
        median: Seconds a step, the median over all rounds' medians.
        rounds: Each round's median.
        ratio, low, high: Its time over Tenor's: median, 10th and 90th percentile of the rounds.
        cold, warm: Seconds of the first step with nothing cached, and in a new process after.
        base, peak: Bytes of resident memory after the import, and at most.
        counts: Of a step; Tenor's only.
        gap: How far its first results are from Tenor's, of the largest.
        fault: Why there is no timing.
    """

    median: float = float("nan")
    rounds: list[float] = field(default_factory=list)
    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    cold: float | None = None
    warm: float | None = None
    base: int = 0
    peak: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    gap: float = 0.0
    fault: str = ""


@dataclass
class Result:
    """A row at a thread count: what each peer took.

    Attributes:
        best: The fastest other peer's time over Tenor's: above 1 Tenor is ahead of all.
        void: Why the row does not count.
        flops, bytes: What a kernel alone cannot do without.
    """

    row: str
    title: str
    kind: str
    threads: int
    timings: dict[str, Timing]
    best: float = float("nan")
    void: str = ""
    flops: int = 0
    bytes: int = 0


class Process:
    """A peer's process; see worker.py."""

    def __init__(self, peer: str, row: str, threads: int, cache: Path) -> None:
        env = {
            **os.environ, "TENOR_CACHE_DIR": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache),
            "JAX_COMPILATION_CACHE_DIR": str(cache), "OMP_NUM_THREADS": str(threads),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": "cpu",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }  # fmt: skip
        processors = sorted(os.sched_getaffinity(0))[-threads:]
        self.peer, self.row, self.threads = peer, row, threads
        self.log = (cache / "log.txt").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), *map(str, processors)],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Return the answer to one line.

        Raises:
            RuntimeError: the peer failed; says how.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **more}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": f"the process ended ({self.tail()})"}
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer  # type: ignore[no-any-return]

    def open(self, folder: Path) -> dict[str, Any]:
        """Make the row ready, and do its first step."""
        return self.ask(
            "open", peer=self.peer, row=self.row, threads=self.threads, folder=str(folder)
        )

    def tail(self) -> str:
        """Return the last line the process wrote to its log."""
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or [""])[-1][:200]

    def end(self) -> None:
        """Have the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


def measure(name: str, threads: int, plan: Plan, say: Callable[[str], None]) -> Result:
    """Return what every peer of the plan takes for a row."""
    row, kind = catalogue.row(name), catalogue.kind(name)
    result = Result(name, row.title, kind, threads, {})
    if kind == "kernel":
        result.flops, result.bytes = row.flops, row.bytes
    able = [p for p in plan.peers if p in peers.installed(kind)]
    running: dict[str, Process] = {}
    try:
        for peer in able:
            timing = result.timings[peer] = Timing()
            say(f"{name} {row.title}: {peer} begins")
            try:
                process = _begin(peer, name, threads, plan, timing)
            except RuntimeError as error:
                timing.fault = str(error)
                continue
            if process is None:
                del result.timings[peer]
            else:
                running[peer] = process
        _turns(running, result, plan, say)
        _close(running, result)
    finally:
        for process in running.values():
            process.end()
    _compare(result)
    return result


def _begin(peer: str, name: str, threads: int, plan: Plan, timing: Timing) -> Process | None:
    cache = plan.folder / "cache" / f"{name}-{threads}-{peer}"
    cache.mkdir(parents=True, exist_ok=True)
    if plan.cold:
        process = Process(peer, name, threads, cache)
        try:
            opened = process.open(plan.folder)
        finally:
            process.end()
        if not opened["ready"]:
            return None
        timing.cold = opened["first"]
    process = Process(peer, name, threads, cache)
    try:
        opened = process.open(plan.folder)
    except RuntimeError:
        process.end()
        raise
    if not opened["ready"]:
        process.end()
        return None
    timing.base = opened["base"]
    if plan.cold:
        timing.warm = opened["first"]
    else:  # the folder was empty: this was the first of all
        timing.cold = opened["first"]
    return process


def _turns(
    running: dict[str, Process], result: Result, plan: Plan, say: Callable[[str], None]
) -> None:
    order = list(running)
    for peer in order:  # warm-up, apart
        _turn(running, result, peer, plan.seconds / 2)
        result.timings[peer].rounds.clear()
    for i in range(plan.rounds):
        say(f"{result.row} {result.title}: round {i + 1} of {plan.rounds}")
        turned = order[i % len(order) :] + order[: i % len(order)] if order else []
        for peer in turned:
            _turn(running, result, peer, plan.seconds)


def _turn(running: dict[str, Process], result: Result, peer: str, seconds: float) -> None:
    timing = result.timings[peer]
    if timing.fault:
        return
    time.sleep(0.02)  # the last peer's threads stop spinning
    try:
        timing.rounds.append(statistics.median(running[peer].ask("run", seconds=seconds)["times"]))
    except RuntimeError as error:
        timing.fault = str(error)


def _close(running: dict[str, Process], result: Result) -> None:
    checks: dict[str, np.ndarray] = {}
    for peer, process in running.items():
        timing = result.timings[peer]
        if not timing.fault:
            found = process.ask("close")
            timing.peak, timing.counts = found["peak"], found.get("counts", {})
            checks[peer] = np.array(found["check"])
    ours = checks.get("tenor")
    if ours is None:
        return
    for peer, theirs in checks.items():
        gap = float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30))
        result.timings[peer].gap = gap
        if not gap <= TOLERANCE[result.kind]:
            result.void = f"{peer} gives other results: {gap:.1e} of the largest"


def _compare(result: Result) -> None:
    ours = result.timings["tenor"]
    if ours.fault:
        result.void = ours.fault
        return
    for timing in result.timings.values():
        if timing.rounds:
            timing.median = statistics.median(timing.rounds)
            ratios = np.array(timing.rounds) / np.array(ours.rounds[: len(timing.rounds)])
            timing.ratio, timing.low, timing.high = np.percentile(ratios, [50, 10, 90]).tolist()
    others = [t.ratio for n, t in result.timings.items() if n != "tenor" and t.rounds]
    result.best = min(others, default=float("nan"))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of what is a number."""
    kept = [v for v in values if v == v]
    return float(np.exp(np.mean(np.log(kept)))) if kept else float("nan")
