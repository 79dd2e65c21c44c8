"""Every example runs as it is, in a process of its own, and says what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SAYS = {
    "fit.py": r"after \d+ epochs: {'loss': 0\.\d+, 'accuracy': 0\.9\d+, 'found': 0\.[6-9]\d*}",
    "gpt.py": r"step 300  loss 0\.[01]\d+\nthe \w+",
    "gradient_penalty.py": r"step 400  distance .*  radius 0\.9\d+ ± 0\.\d+",
    "resume.py": r"the same bits : True",
    "vae.py": r"epoch 30  loss 2[45]\.\d+\n.*#",
}
"""What each must say in the end; the same seeds give the same numbers."""


def test_every_example_is_tried():
    assert {path.name for path in FOLDER.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_is_short_and_says_what_it_is(name):
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80
    assert lines[0].startswith('"""')


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path):
    run = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert re.search(SAYS[name], run.stdout, re.DOTALL), run.stdout
    assert not list(tmp_path.iterdir())
