"""The promise of ARCHITECTURE.md: one program, the same bits, however and wherever it is run."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.compiler import PASSES
from tenor.config import config
from tenor.engine.flush import counts
from tenor.engine.trace import reset_trie
from tests.ops.rows import reference
from tests.properties.training_run import BATCH, fingerprint, train

AXES = "way of running x tensor"
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("training_run.py")
OPTIONAL = [step.name for step in PASSES if not step.required]


@pytest.fixture(scope="module")
def wanted():
    """What the recorded program computes the first time."""
    reset_trie()
    return train()


@contextlib.contextmanager
def setting(**values):
    """Change switches for a while, with no plan of before."""
    before = {name: getattr(config, name) for name in values}
    for name, value in values.items():
        setattr(config, name, value)
    reset_trie()
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        reset_trie()


def same_bits(got, want):
    """Fail with the names of the tensors whose bits differ; return how many there are."""
    assert list(got) == list(want)
    wrong = [name for name in want if got[name].tobytes() != want[name].tobytes()]
    assert not wrong, f"{len(wrong)} of {len(want)} differ: {wrong}"
    return len(want)


# -- in one process ---------------------------------------------------------------------------------
def test_the_program_does_what_it_should(wanted):
    assert {name for name in wanted if name.startswith("loss")} == {"loss 0", "loss 1", "loss 2"}
    assert all(np.isfinite(a).all() for a in wanted.values())
    assert len({a.tobytes() for name, a in wanted.items() if name.startswith("loss")}) == 3


def test_replayed(wanted, count):
    built = counts["plans"]
    count("bits", AXES, same_bits(train(), wanted))
    assert counts["plans"] == built, "a second run is replayed: nothing is compiled"


def test_recorded_anew(wanted, count):
    reset_trie()
    count("bits", AXES, same_bits(train(), wanted))


def test_compiled(wanted, count):
    count("bits", AXES, same_bits(train("compiled"), wanted))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads, wanted, count):
    with setting(threads=threads):
        count("bits", AXES, same_bits(train(), wanted))


def test_another_seed_gives_other_numbers(wanted, monkeypatch):
    monkeypatch.setattr("tests.properties.training_run.SEED", 6)
    assert train()["loss 0"].tobytes() != wanted["loss 0"].tobytes()


# -- in processes of their own ----------------------------------------------------------------------
def alone(cache, *way, **env):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *way],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TENOR_CACHE_DIR": str(cache), **env},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_cold_and_warm_processes(wanted, tmp_path, count):
    want = fingerprint(wanted)
    assert alone(tmp_path, TENOR_THREADS="1") == want
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept, "the cold process leaves what it compiled"
    written = {p: p.stat().st_mtime_ns for p in kept}
    assert alone(tmp_path, TENOR_THREADS="2", PYTHONHASHSEED="7") == want
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == written
    assert alone(tmp_path, "compiled") == want
    count("bits", AXES, 3 * len(want))
