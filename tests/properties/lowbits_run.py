"""A program of few bits: prints a digest of what it computes, to be compared with another run's.

`python lowbits_run.py`; the environment says how.
"""

import hashlib
import sys

import numpy as np

import tenor as tn
from tenor import nn


def train():
    """Train a network under autocast; return its loss and parameters."""
    tn.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 40),
        nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 5),
    )  # fmt: skip
    optimizer = tn.optim.AdamW(model.parameters(), lr=1e-2)
    found = {}
    for step in range(3):
        x, y = tn.randn(9, 3, 6, 6), tn.randint(0, 5, (9,))
        optimizer.zero_grad()
        with tn.autocast("cpu", dtype=tn.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        found[f"loss {step}"] = loss.detach().numpy()
    return model, found | {k: v.numpy() for k, v in model.state_dict().items()}


def answers():
    """Return what a network computes in float32's place by bfloat16, and by int8."""
    model, found = train()
    x = tn.randn(13, 3, 6, 6)
    quantized = tn.quantization.quantize_dynamic(model)
    halves = model.to(tn.bfloat16)
    with tn.no_grad():
        found["bf16"] = halves(x.to(tn.bfloat16)).float().numpy()
        found["int8"] = quantized(x).numpy()
        found["one row"] = quantized(x[4:5]).numpy()
    return found


def main():
    for name, value in answers().items():
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
        sys.stdout.write(f"{digest} {name}\n")


if __name__ == "__main__":
    main()
