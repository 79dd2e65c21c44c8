"""A loaded model over HTTP: the same bits as in process."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

import tenor as tn
from tenor import nn
from tenor.save import load, save
from tenor.serve import start_in_thread
from tenor.serve.servable import choose, execute


class Model(nn.Module):
    """A classifier with an index among its inputs."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 3)
        self.fc = nn.Linear(3, 2)

    def forward(self, x, which):
        return {"logits": self.fc(x + self.table(which)), "which": which}


@pytest.fixture(scope="module")
def model():
    return Model().eval()


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "m.tnr"
    example = (tn.randn(4, 3), tn.tensor([0, 1, 2, 3]))
    save(model, path, example_inputs=example, version=7, description="A line.")
    return load(path)


def test_answers_over_http(model, loaded):
    x, which = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32), [0, 1, 2, 3, 0]
    with tn.no_grad():
        wanted = model(tn.tensor(x), tn.tensor(which))["logits"].numpy()
    with start_in_thread([loaded]) as running:
        body = {"inputs": {"x": x.tolist(), "which": which}}
        answer = httpx.post(f"{running.url}/v1/models/m/versions/7:predict", json=body)
        assert answer.status_code == 200, answer.text
        came = np.array(answer.json()["outputs"]["logits"], np.float32)
        assert came.tobytes() == wanted.tobytes()
        body["inputs"]["which"] = [0, 1, 2, 3, 4]
        answer = httpx.post(f"{running.url}/v1/models/m:predict", json=body)
        assert answer.status_code == 400
        assert "4" in answer.json()["error"]
        body["inputs"]["which"] = [0]
        answer = httpx.post(f"{running.url}/v1/models/m:predict", json=body)
        assert answer.status_code == 400


def test_an_empty_batch(loaded):
    signature = choose(loaded, None)
    empty = {"x": np.zeros((0, 3), np.float32), "which": np.zeros(0, np.int64)}
    assert execute(loaded, signature, empty)["logits"].shape == (0, 2)


def test_a_batch_that_would_take_too_much_memory_is_the_clients_mistake(tmp_path):
    class Distances(nn.Module):
        def forward(self, x):
            return (x[:, None] - x[None, :]).abs()

    path = tmp_path / "m.tnr"
    save(Distances(), path, example_inputs=tn.rand(4))
    with start_in_thread([load(path)]) as running:
        body = {"instances": [0.0] * 50_000}  # ten gigabytes of distances
        answer = httpx.post(f"{running.url}/v1/models/m:predict", json=body, timeout=60)
        assert answer.status_code == 400
        assert "bytes" in answer.json()["error"]
        assert "fewer rows" in answer.json()["error"]


def test_a_quantised_model_answers_with_the_same_bits(tmp_path):
    tn.manual_seed(0)
    floats = nn.Sequential(nn.Linear(12, 40), nn.LayerNorm(40), nn.ReLU(), nn.Linear(40, 3)).eval()
    made = tn.quantization.quantize_dynamic(floats)
    save(made, tmp_path / "small.tnr", example_inputs=tn.randn(4, 12))
    x = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    with tn.no_grad():
        wanted = made(tn.tensor(x)).numpy()
    with start_in_thread([load(tmp_path / "small.tnr")]) as running:
        for rows in (1, 5):
            answer = httpx.post(
                f"{running.url}/v1/models/small:predict", json={"instances": x[:rows].tolist()}
            )
            assert answer.status_code == 200, answer.text
            came = np.array(answer.json()["predictions"], np.float32)
            assert came.tobytes() == wanted[:rows].tobytes()
