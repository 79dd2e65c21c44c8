"""The socket, the thread and the signals, over real HTTP on the loopback address."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tenor.errors import ArgumentError
from tenor.serve import Limits, start_in_thread

SLOW_SERVER = '''
"""Serve a model that takes its input in seconds to answer; print the address, then the outcome."""
import logging, sys, time
from types import SimpleNamespace
from tenor.ir.dtype import float32
from tenor.serve import serve

spec = SimpleNamespace(name="x", dtype=float32, shape=("batch",))

class Slow:
    name, version, description = "slow", "1", ""
    signatures = {"predict": SimpleNamespace(name="predict", inputs=(spec,), outputs=(spec,))}

    def run(self, signature, inputs):
        print("running", flush=True)
        time.sleep(float(inputs["x"][0]))
        return dict(inputs)

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
sys.exit(0 if serve([Slow()], port=0, drain_seconds=DRAIN, stop_seconds=STOP) else 3)
'''


class Process:
    """A server in a process of its own, which is ended with the test in any case."""

    def __init__(self, drain, stop):
        script = SLOW_SERVER.replace("DRAIN", str(drain)).replace("STOP", str(stop))
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        self.url = self.wait_for("serving").split()[-1]

    def wait_for(self, word):
        for line in self.process.stdout:
            if word in line:
                return line
        raise AssertionError(f"the process ended without saying {word!r}")

    def ask(self, seconds):
        path = f"{self.url}/v1/models/slow:predict"
        return httpx.post(path, json={"instances": [seconds]}, timeout=30)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def process():
    started = []

    def start(drain=0.0, stop=30):
        started.append(Process(drain, stop))
        return started[-1]

    yield start
    for server in started:
        server.end()


def test_a_server_in_a_thread_answers_over_http(zoo):
    with start_in_thread([zoo.half_plus_three(), zoo.linear()]) as running:
        assert running.url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=running.url) as client:
            one = client.post("/v1/models/half_plus_three:predict", json={"instances": [1, 2]})
            tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
            two = client.post("/v2/models/linear/infer", json={"inputs": [tensor]})
            wrong = client.post("/v2/models/linear/infer", json={"inputs": []})
            ready = client.get("/readyz")
    assert one.json() == {"predictions": [3.5, 4.0]}
    assert two.json()["outputs"][0]["data"] == [7.0, -1.0]
    assert (wrong.status_code, ready.status_code) == (400, 200)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.url}/healthz")


def test_many_clients_get_their_own_answers(zoo):
    def ask(number):
        answer = httpx.post(url, json={"instances": [number, number + 0.5]})
        return answer.json()["predictions"]

    with (
        start_in_thread([zoo.half_plus_three()], limits=Limits(concurrency=2)) as running,
        ThreadPoolExecutor(8) as pool,
    ):
        url = f"{running.url}/v1/models/half_plus_three:predict"
        answers = list(pool.map(ask, range(64)))
    assert answers == [[n / 2 + 3, n / 2 + 3.25] for n in range(64)]


def test_health_answers_while_a_model_runs(zoo):
    release, started = threading.Event(), threading.Event()

    def slow(x):
        started.set()
        assert release.wait(20)
        return {"y": x}

    with start_in_thread([zoo.calling(slow)]) as running, ThreadPoolExecutor(1) as pool:
        path = f"{running.url}/v1/models/calling:predict"
        answer = pool.submit(httpx.post, path, json={"instances": [1]}, timeout=30)
        assert started.wait(20)
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        assert not answer.done()
        release.set()
        assert answer.result().json() == {"predictions": [1.0]}


def test_a_model_may_be_added_while_the_server_runs(zoo):
    with start_in_thread([]) as running:
        path = f"{running.url}/v1/models/linear:predict"
        assert httpx.post(path, json={"instances": []}).status_code == 404
        running.service.repository.add(zoo.linear())
        assert httpx.post(path, json={"instances": []}).status_code == 200


def test_a_large_body_is_refused_over_http(zoo):
    with start_in_thread([zoo.linear()], limits=Limits(body_bytes=1000)) as running:
        path = f"{running.url}/v1/models/linear:predict"
        assert httpx.post(path, content=b" " * 5000).status_code == 413
        assert httpx.post(path, content=b'{"instances": []}').status_code == 200


def test_large_tensors_come_back_bit_for_bit_over_http(zoo):
    numbers = np.random.default_rng(0).normal(size=(500, 200)).astype(np.float32)
    model = zoo.identity(zoo.half_plus_three().signatures["predict"].inputs[0].dtype, ("b", 200))
    with start_in_thread([model]) as running:
        path = f"{running.url}/v1/models/echo:predict"
        answer = httpx.post(path, content=json.dumps({"instances": numbers.tolist()}))
    assert np.array(answer.json()["predictions"], np.float32).tobytes() == numbers.tobytes()


def test_half_a_request_does_not_hold_up_others(zoo):
    with start_in_thread([zoo.half_plus_three()], limits=Limits(body_seconds=0.1)) as running:
        port = int(running.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /v1/models/half_plus_three:predict HTTP/1.1\r\nHost: a\r\n")
            half.sendall(b"Content-Length: 100\r\n\r\n{")
            path = f"{running.url}/v1/models/half_plus_three:predict"
            assert httpx.post(path, json={"instances": [1]}).status_code == 200
            assert b" 408 " in half.recv(1000)


def test_bytes_that_are_not_http_are_refused(zoo):
    with start_in_thread([zoo.half_plus_three()]) as running:
        port = int(running.url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"\x16\x03\x01\x02\x00 what is this\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400")
        assert httpx.get(f"{running.url}/healthz").status_code == 200


@pytest.mark.parametrize("address", [("127.0.0.1", 70_000), ("203.0.113.1", 0)])
def test_an_address_that_cannot_be_had_is_the_callers_error(zoo, address):
    with pytest.raises(ArgumentError, match="free to listen"):
        start_in_thread([zoo.linear()], *address)


def test_a_port_that_is_taken_is_the_callers_error(zoo):
    with start_in_thread([zoo.linear()]) as running:
        port = int(running.url.rsplit(":", 1)[1])
        with pytest.raises(ArgumentError, match=f"port {port}"):
            start_in_thread([zoo.linear()], port=port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_finish_and_exits_0(process, number):
    server = process()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, 1.0)
        server.wait_for("running")
        server.process.send_signal(number)
        assert answer.result().json() == {"predictions": [1.0]}
    assert server.process.wait(10) == 0
    with pytest.raises(httpx.TransportError):
        server.ask(0)


def test_readiness_is_false_while_a_server_drains(process):
    server = process(drain=1.5)
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("stopping")
    assert httpx.get(f"{server.url}/readyz").status_code == 503
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert server.ask(0).status_code == 200
    assert server.process.wait(10) == 0


def test_a_request_that_outlasts_the_stop_is_cut_off_and_told_by_the_exit_code(process):
    server = process(stop=1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, 60)
        server.wait_for("running")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 3
        assert time.monotonic() - began < 8
        assert answer.result().status_code == 503
        assert answer.result().json() == {"error": "the server stopped before this was answered"}
    assert "Traceback" not in server.process.stdout.read()


def test_a_second_signal_stops_at_once(process):
    server = process(stop=60)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.ask, 60)
        server.wait_for("running")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 3
        assert answer.result().status_code == 503
    assert "Traceback" not in server.process.stdout.read()


def test_a_hundred_requests_at_once_are_all_answered(zoo):
    with (
        start_in_thread([zoo.half_plus_three()]) as running,
        ThreadPoolExecutor(100) as pool,
        httpx.Client(timeout=60, limits=httpx.Limits(max_connections=100)) as client,
    ):
        url = f"{running.url}/v1/models/half_plus_three:predict"
        answers = pool.map(lambda n: client.post(url, json={"instances": [n]}), range(100))
        assert [a.json()["predictions"] for a in answers] == [[n / 2 + 3] for n in range(100)]
