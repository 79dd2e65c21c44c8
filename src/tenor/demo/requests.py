"""Real requests over HTTP, in both formats the server speaks, and their answers as arrays."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["PROTOCOLS", "instances", "tensorflow_serving", "v2"]

TIMEOUT_SECONDS = 60


def _post(url: str, body: bytes) -> Any:
    request = urllib.request.Request(  # noqa: S310 - our own server's address
        url, body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        return json.loads(answer.read())


def instances(images: Array) -> bytes:
    """Return the body of a TensorFlow Serving request, one entry an image."""
    return json.dumps({"instances": images.tolist()}).encode()


def tensorflow_serving(url: str, name: str, images: Array) -> Array:
    """Ask in TensorFlow Serving's REST format."""
    answer = _post(f"{url}/v1/models/{name}:predict", instances(images))
    return np.array(answer["predictions"], np.float32)


def v2(url: str, name: str, images: Array) -> Array:
    """Ask in the Open Inference Protocol v2; the input's name comes from the model's metadata."""
    with urllib.request.urlopen(f"{url}/v2/models/{name}", timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        described = json.loads(answer.read())
    given = {
        "name": described["inputs"][0]["name"],
        "shape": list(images.shape),
        "datatype": "FP32",
        "data": images.reshape(-1).tolist(),
    }
    body = json.dumps({"inputs": [given]}).encode()
    output = _post(f"{url}/v2/models/{name}/infer", body)["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


PROTOCOLS: dict[str, Callable[[str, str, Array], Array]] = {
    "TensorFlow Serving REST": tensorflow_serving,
    "Open Inference Protocol v2": v2,
}
"""How to ask, by the format's name: (url, model, images) to logits."""
