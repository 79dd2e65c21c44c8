"""ONNX Runtime, on what PyTorch exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from workloads.inference import INFERENCE, Inference

from peers import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["session"]


def session(row: Any, threads: int, folder: Path) -> Session | None:
    """Return the answers of a row; None for what is no inference."""
    if not isinstance(row, Inference):
        return None
    path = folder / f"{row.name}.onnx"
    if not path.exists():  # in a process of its own: PyTorch's memory is not ONNX Runtime's
        _export_apart(row.name, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = list(row.data(np.random.default_rng(0)))
    names = [i.name for i in runner.get_inputs()]
    fixed = len(given) - row.carried
    first: list[np.ndarray] = []

    def step() -> np.ndarray:
        answer, *carried = runner.run(None, dict(zip(names, given, strict=True)))
        given[fixed:] = carried[: row.carried]
        if not first:
            first.append(np.array(answer, np.float64).ravel())
        return answer  # type: ignore[no-any-return]

    return Session(step, lambda: first[0])


def _export_apart(name: str, path: Path) -> None:
    command = [sys.executable, "-m", "peers.onnx_session", name, str(path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"export: {done.stderr.strip().splitlines()[-1]}")


def export(arguments: Sequence[str]) -> None:
    """Write a row's model to a path; run as `python -m peers.onnx_session ROW PATH`."""
    import torch

    from peers import torch_names

    name, path = arguments
    row = INFERENCE[name]
    model = torch_names.network_of(torch, row).eval()
    given = tuple(torch_names.arrays_of(torch, row))
    names = [f"x{i}" for i in range(len(given))]
    torch.onnx.export(model, given, path, input_names=names, dynamo=False, opset_version=17)


if __name__ == "__main__":
    export(sys.argv[1:])
