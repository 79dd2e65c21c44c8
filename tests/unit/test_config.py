"""Switches: what they may be set to, from the environment and from Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tenor as tn
from tenor.config import Config, config
from tenor.engine.trace import reset_trie
from tenor.errors import ArgumentError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", 0), ("threads", -1), ("threads", "2"), ("backend", "cuda"), ("max_states", 0),
     ("cache_bytes", -5), ("max_plans", 1.5)],
)  # fmt: skip
def test_a_value_nobody_can_use_is_refused(name, value):
    before = getattr(config, name)
    with pytest.raises(ArgumentError, match=name):
        setattr(config, name, value)
    assert getattr(config, name) == before


def test_every_rule_names_a_switch():
    from tenor.config import RULES

    assert RULES.keys() <= vars(Config()).keys()


@pytest.mark.parametrize(
    "given", ["TENOR_THREADS=abc", "TENOR_THREADS=0", "TENOR_BACKEND=cuda", "TENOR_CACHE_BYTES=1G"]
)
def test_the_environment_is_checked_at_import(given):
    name, value = given.split("=")
    done = subprocess.run(
        [sys.executable, "-c", "import tenor"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), name: value},
    )  # fmt: skip
    assert done.returncode == 1
    assert "ArgumentError" in done.stderr
    assert name in done.stderr


def test_a_pass_that_does_not_exist_is_no_compiler_mistake(monkeypatch):
    reset_trie()  # what another test left recorded is run with the passes there are
    monkeypatch.setattr(config, "skip_passes", frozenset(["nonsense"]))
    reset_trie()
    try:
        x = tn.ones(3) * 2
        with pytest.raises(ArgumentError, match="nonsense"):
            x.tolist()
    finally:
        reset_trie()
