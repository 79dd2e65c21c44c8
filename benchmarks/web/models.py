"""The models that are compared, for each peer: ours, ONNX, and a list of layers for TF.js.

All are made from the same weights, with norms folded into the convolutions before them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tenor as tn
from tenor import nn
from tenor.export.onnx import export_onnx
from tenor.export.web import export_web

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MODELS", "make", "make_trained"]

ROWS, RATE = 32, 0.1


def digits() -> nn.Sequential:
    """Return the demo's network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def mlp() -> nn.Sequential:
    """Return 1.46 million weights."""
    return nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(),
        nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


def mobilenet() -> nn.Sequential:
    """Return MobileNetV1 (Howard et al. 2017), a quarter as wide, for 96x96 images."""
    rows = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]
    rows += [(128, 1)] * 5 + [(256, 2), (256, 1)]
    layers: list[nn.Module] = [
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    ]  # fmt: skip
    come = 8
    for go, stride in rows:
        layers += [
            nn.Conv2d(come, come, 3, stride, 1, groups=come, bias=False),
            nn.BatchNorm2d(come), nn.ReLU(),
            nn.Conv2d(come, go, 1, bias=False), nn.BatchNorm2d(go), nn.ReLU(),
        ]  # fmt: skip
        come = go
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(come, 2))


MODELS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "digits": (digits, (1, 8, 8)),
    "mlp": (mlp, (784,)),
    "mobilenet": (mobilenet, (3, 96, 96)),
}


def make(name: str, folder: Path) -> dict[str, Any]:
    """Write a model for every peer; return an input row and Python's answer to it."""
    build, shape = MODELS[name]
    tn.manual_seed(0)
    model = build()
    rows = np.random.default_rng(0).random((8, *shape), np.float32)
    model.train()
    with tn.no_grad():
        for _ in range(3):
            model(tn.tensor(rows))
    model.eval()
    export_web(model, folder / f"{name}.ours", example_inputs=rows)
    steps = _steps(model)
    export_onnx(model, folder / f"{name}.onnx", example_inputs=rows)
    _layers(steps, shape, folder / name)
    answer = model(tn.tensor(rows[:1])).detach().numpy()
    return {"shape": list(shape), "x": rows[0].ravel().tolist(), "y": answer.ravel().tolist()}


def make_trained(folder: Path) -> dict[str, Any]:
    """Write a network that is trained there; return what TF.js makes the same one of."""
    tn.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    rng = np.random.default_rng(0)
    x, y = rng.random((ROWS, 784), np.float32), rng.integers(0, 10, ROWS)
    export_web(
        model, folder / "trained.ours", example_inputs=x, train=True, optimizer="sgd", lr=RATE,
        train_batch=ROWS,
    )  # fmt: skip
    weights = [p.detach().numpy() for p in model.parameters()]
    turned = [w.T if w.ndim == 2 else w for w in weights]
    return {
        "x": x.ravel().tolist(), "y": y.tolist(), "lr": RATE,
        "weights": [w.ravel().tolist() for w in turned], "shapes": [list(w.shape) for w in turned],
    }  # fmt: skip


# -- a common list of steps -----------------------------------------------------------------------
def _steps(model: nn.Sequential) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for layer in model:
        kind = type(layer).__name__
        if kind == "BatchNorm2d":
            _fold(made[-1], layer)
        elif kind == "ReLU":
            made[-1]["relu"] = True
        elif kind in ("Conv2d", "Linear"):
            w = layer.weight.detach().numpy().copy()
            b = np.zeros(len(w), np.float32) if layer.bias is None else layer.bias.detach().numpy()
            made.append({"kind": kind, "w": w, "b": b.copy(), "relu": False})
            if kind == "Conv2d":
                made[-1] |= {"stride": layer.stride[0], "pad": layer.padding[0],
                             "groups": layer.groups}  # fmt: skip
        else:
            made.append({"kind": kind})
    return made


def _fold(conv: dict[str, Any], norm: Any) -> None:
    scale = norm.weight.detach().numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
    conv["w"] = conv["w"] * scale[:, None, None, None]
    conv["b"] = (conv["b"] - norm.running_mean.numpy()) * scale + norm.bias.detach().numpy()


def _layers(steps: list[dict[str, Any]], shape: tuple[int, ...], path: Path) -> None:
    """Write a list of TF.js' layers, channels last, and their weights."""
    rows: list[dict[str, Any]] = []
    arrays: list[Any] = []
    channels = None  # of an image that was flattened channels first
    now = shape
    for s in steps:
        row: dict[str, Any] = {"kind": s["kind"], "relu": s.get("relu", False)}
        if s["kind"] == "Conv2d":
            depthwise = s["groups"] > 1
            w = s["w"].transpose(2, 3, 0, 1) if depthwise else s["w"].transpose(2, 3, 1, 0)
            row |= {"kind": "Depthwise" if depthwise else "Conv2d", "stride": s["stride"],
                    "pad": s["pad"], "k": s["w"].shape[2], "out": s["w"].shape[0]}  # fmt: skip
            side = (now[1] + 2 * s["pad"] - s["w"].shape[2]) // s["stride"] + 1
            now = (s["w"].shape[0], side, side)
        elif s["kind"] == "Linear":
            w = s["w"].T
            if channels is not None:
                c, h, width = channels
                w = w.reshape(c, h, width, -1).transpose(1, 2, 0, 3).reshape(c * h * width, -1)
                channels = None
            row["out"] = w.shape[1]
        elif s["kind"] == "MaxPool2d":
            now = (now[0], now[1] // 2, now[2] // 2)
        elif s["kind"] == "AdaptiveAvgPool2d":
            now = (now[0], 1, 1)
        elif s["kind"] == "Flatten" and len(now) == 3:
            channels = now
        if "w" in s:
            row["shape"] = list(w.shape)
            arrays += [w, s["b"]]
        rows.append(row)
    import json

    path.with_suffix(".layers.json").write_text(json.dumps(rows))
    flat = np.concatenate([np.ascontiguousarray(a, np.float32).ravel() for a in arrays])
    path.with_suffix(".layers.bin").write_bytes(flat.tobytes())
