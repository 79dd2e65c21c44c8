"""Routes, limits and what becomes of every error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenor.errors import ArgumentError, IndexRangeError, RequestError, ShapeError
from tenor.ir import dtype as dt
from tenor.serve import Limits, tfserving, v2

PREDICT = "/v1/models/half_plus_three:predict"
INFER = "/v2/models/half_plus_three/infer"


def test_both_protocols_answer_with_and_without_a_version(client_of, zoo):
    client = client_of(zoo.half_plus_three())
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    for version in ("", "/versions/123"):
        path = f"/models/half_plus_three{version}"
        one = client.post(f"/v1{path}:predict", json={"instances": [1]})
        two = client.post(f"/v2{path}/infer", json={"inputs": [tensor]})
        assert (one.status_code, one.json()) == (200, {"predictions": [3.5]})
        assert (two.status_code, two.json()["outputs"][0]["data"]) == (200, [3.5])
        assert one.headers["content-type"] == "application/json"


def test_status_lists_every_version_or_the_one_asked_for(client_of, zoo):
    client = client_of(zoo.half_plus_three("1"), zoo.half_plus_three("2"))
    healthy = {"error_code": "OK", "error_message": ""}
    every = client.get("/v1/models/half_plus_three").json()
    one = client.get("/v1/models/half_plus_three/versions/1").json()
    row = {"version": "1", "state": "AVAILABLE", "status": healthy}
    assert one == {"model_version_status": [row]}
    assert every == {"model_version_status": [{**row, "version": "2"}, row]}


def test_metadata_of_both_protocols(client_of, zoo):
    client = client_of(zoo.half_plus_three())
    one = client.get("/v1/models/half_plus_three/metadata").json()
    assert one == tfserving.metadata(zoo.half_plus_three())
    two = client.get("/v2/models/half_plus_three/versions/123").json()
    assert two == v2.metadata(zoo.half_plus_three(), ["123"])
    assert client.get("/v2").json()["name"] == "tenor"


@pytest.mark.parametrize("path", ["/healthz", "/v2/health/live"])
def test_a_server_that_stops_is_alive(client_of, zoo, path):
    client = client_of(zoo.linear())
    client.service.ready = False
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready", "/v2/models/linear/ready"])
def test_readiness_turns_false_with_a_stop(client_of, zoo, path):
    client = client_of(zoo.linear())
    assert (client.get(path).status_code, client.get(path).json()["ready"]) == (200, True)
    client.service.ready = False
    assert (client.get(path).status_code, client.get(path).json()["ready"]) == (503, False)


def test_a_server_without_models_is_not_ready(client_of):
    assert client_of().get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/v1/models/cat", 404),
        ("POST", "/v1/models/cat:predict", 404),
        ("POST", "/v1/models/half_plus_three/versions/7:predict", 404),
        ("POST", "/v1/models/half_plus_three:classify", 404),
        ("POST", "/v1/models/half_plus_three:regress", 404),
        ("GET", "/v2/models/cat", 404),
        ("GET", "/v2/models/cat/ready", 404),
        ("POST", "/v2/models/half_plus_three/versions/7/infer", 404),
        ("GET", PREDICT, 405),
        ("DELETE", PREDICT, 405),
        ("HEAD", PREDICT, 405),
        ("GET", INFER, 405),
        ("POST", "/v1/models/half_plus_three", 405),
        ("POST", "/healthz", 405),
        ("PUT", "/v2", 405),
    ],
)
def test_wrong_paths_and_methods_are_refused_in_json(client_of, zoo, method, path, status):
    answer = client_of(zoo.half_plus_three()).request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert status != 405 or answer.headers["allow"]
    assert method == "HEAD" or answer.json()["error"]


def test_classify_and_regress_say_why_they_are_not_offered(client_of, zoo):
    answer = client_of(zoo.half_plus_three()).post("/v1/models/half_plus_three:classify", json={})
    assert "tf.Example" in answer.json()["error"]


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body"),
        (b"instances: 3", "must be JSON"),
        (b'{"instances": [NaN]}', "no NaN"),
        (b'{"instances": [Infinity]}', "no NaN"),
        (b'{"instances": [1e999]}', "numbers must be finite"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "whole ones of usable size"),
        (b"[" * 100_000, "array"),
        (b'{"inputs": ' + b"[" * 100_000, "deep"),
        (b'{"a": ' * 100_000, "deep"),
        (b'{"instances": ["\xff"]}', "must be JSON"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"inputs": [1]} and more', "trailing"),
    ],
)
def test_what_is_not_a_json_object_is_refused(client_of, zoo, path, body, said):
    answer = client_of(zoo.half_plus_three()).post(path, content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/models/linear/", "/v2/", "/v2/models/linear/"])
def test_a_slash_too_many_is_no_path(client_of, zoo, path):
    answer = client_of(zoo.linear()).get(path)
    assert answer.status_code == 404
    assert f"nothing is at {path}" in answer.json()["error"]


def test_a_wrong_method_is_told_the_right_one(client_of, zoo):
    client = client_of(zoo.linear())
    assert "takes POST" in client.get("/v1/models/linear:predict").json()["error"]
    assert "takes POST" in client.get("/v2/models/linear/infer").json()["error"]
    assert "GET" in client.post("/v2/models/linear").json()["error"].partition("takes")[2]


def test_an_error_says_what_was_wanted_what_came_and_what_to_do(client_of, zoo):
    body = {"instances": [[1, 2, 3], [1, 2]]}
    error = client_of(zoo.linear()).post("/v1/models/linear:predict", json=body).json()["error"]
    assert error == (
        "input 'x' must be float32 [batch, 3]. Got: ragged lists: 3 in instances[0], 2 in "
        "instances[1]. Fix: lists side by side must be of one length; pad the short ones."
    )


def test_any_content_type_is_taken_for_json(client_of, zoo):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "nonsense"):
        answer = client_of(zoo.half_plus_three()).post(
            PREDICT, content=b'{"instances": [1]}', headers={"content-type": kind}
        )
        assert answer.json() == {"predictions": [3.5]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-encoding": "gzip"}, 415), ({"inference-header-content-length": "10"}, 400)],
)
def test_encodings_that_are_not_offered_are_refused(client_of, zoo, headers, status):
    answer = client_of(zoo.half_plus_three()).post(PREDICT, content=b"{}", headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("coding", ["identity", "Identity"])
def test_no_encoding_may_be_named(client_of, zoo, coding):
    answer = client_of(zoo.half_plus_three()).post(
        PREDICT, content=b'{"instances": [1]}', headers={"content-encoding": coding}
    )
    assert answer.json() == {"predictions": [3.5]}


def test_a_body_over_the_limit_is_refused_stated_or_streamed(client_of, zoo):
    client = client_of(zoo.half_plus_three(), body_bytes=100)

    async def streamed():
        for _ in range(20):
            yield b'{"instances": '

    small = client.post(PREDICT, content=b'{"instances": [1]}'.ljust(100))
    stated = client.post(PREDICT, content=b'{"instances": [1]}'.ljust(101))
    chunked = client.post(PREDICT, content=streamed())
    lying = client.post(PREDICT, content=b"{}", headers={"content-length": "9" * 5000})
    assert small.status_code == 200
    assert [a.status_code for a in (stated, chunked, lying)] == [413, 413, 413]
    assert "100 bytes" in chunked.json()["error"]


def test_a_body_that_does_not_arrive_is_refused(client_of, zoo):
    async def slow():
        yield b'{"instances": '
        await asyncio.sleep(5)

    client = client_of(zoo.half_plus_three(), body_seconds=0.05)
    assert client.post(PREDICT, content=slow()).status_code == 408


@pytest.mark.parametrize("error", [RequestError, ShapeError, IndexRangeError])
def test_what_a_model_says_about_its_values_reaches_the_client(client_of, zoo, error):
    def fail(x):
        raise error("index 9 is outside the table.", came="9 of 4 rows", fix="send 0 to 3")

    answer = client_of(zoo.calling(fail)).post(
        "/v1/models/calling:predict", json={"instances": [9]}
    )
    assert answer.status_code == 400
    wanted = "index 9 is outside the table. Got: 9 of 4 rows. Fix: send 0 to 3."
    assert answer.json() == {"error": wanted}


def test_a_body_there_is_no_memory_for_is_too_large(client_of, zoo):
    def fail(x):
        raise MemoryError

    answer = client_of(zoo.calling(fail)).post(
        "/v1/models/calling:predict", json={"instances": [9]}
    )
    assert answer.status_code == 413
    assert "memory" in answer.json()["error"]


@pytest.mark.parametrize("error", [ValueError, KeyError, LookupError, SystemExit, StopIteration])
def test_a_model_that_fails_is_a_500_with_the_traceback_in_the_log(client_of, zoo, caplog, error):
    def fail(x):
        if x[0] == 0:
            raise error("secret")
        return {"y": x}

    client = client_of(zoo.calling(fail))
    with caplog.at_level(logging.ERROR, "tenor.serve"):
        answer = client.post("/v1/models/calling:predict", json={"instances": [0]})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert "Traceback" in caplog.text
    again = client.post("/v1/models/calling:predict", json={"instances": [1]})
    assert again.json() == {"predictions": [1.0]}


@pytest.mark.parametrize(
    "outputs", [{}, {"y": np.zeros(1)}, {"y": np.zeros((1, 1), np.float32)}, {"y": "text"}, None]
)
def test_a_model_that_breaks_its_signature_is_a_500(client_of, zoo, caplog, outputs):
    client = client_of(zoo.calling(lambda x: outputs))
    answer = client.post("/v1/models/calling:predict", json={"instances": [0]})
    assert answer.status_code == 500
    assert caplog.records


def test_a_timeout_around_the_application_is_the_applications_own(client_of, zoo):
    release, started = threading.Event(), threading.Event()

    def slow(x):
        started.set()
        assert release.wait(20)
        return {"y": x}

    client = client_of(zoo.calling(slow))

    async def impatient(http):
        asked = http.post("/v1/models/calling:predict", json={"instances": [1]})
        try:
            async with asyncio.timeout(0.2):
                return await asked
        finally:
            release.set()

    with pytest.raises(TimeoutError):
        client.gather(impatient)
    assert started.is_set()


def test_overload_is_answered_at_once_with_503_and_when_to_come_back(client_of, zoo):
    release, started = threading.Event(), threading.Event()

    def slow(x):
        started.set()
        assert release.wait(20)
        return {"y": x}

    client = client_of(zoo.calling(slow), concurrency=1, queue=1, retry_seconds=7)

    async def overload(http):
        path, body = "/v1/models/calling:predict", {"instances": [1]}
        admitted = [asyncio.ensure_future(http.post(path, json=body)) for _ in range(2)]
        while client.service.workers.taken < 2 or not started.is_set():
            await asyncio.sleep(0.001)
        refused = await http.post(path, json=body)
        health = await http.get("/healthz")
        release.set()
        return refused, health, await asyncio.gather(*admitted)

    refused, health, admitted = client.gather(overload)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "7"
    assert health.status_code == 200
    assert [answer.json() for answer in admitted] == [{"predictions": [1.0]}] * 2


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"queue": -1}, {"body_bytes": 0}, {"body_seconds": -1.0}]
)
def test_limits_that_answer_nothing_are_refused(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Limits(**wrong)


WORDS = st.sampled_from(
    ["instances", "inputs", "signature_name", "x", "user", "features", "name", "shape", "datatype",
     "data", "outputs", "parameters", "id", "FP32", "INT64", "predict", "b64", "binary_data_size"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70) | st.integers(-2, 3) | WORDS | st.text(max_size=5)
)  # fmt: skip
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=25,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": WORDS,
        "shape": st.lists(st.integers(-1, 3) | st.integers(0, 2**70), max_size=3) | DOCUMENTS,
        "datatype": st.sampled_from(["FP32", "INT64", "BOOL"]) | WORDS,
        "data": st.lists(SCALARS, max_size=4) | DOCUMENTS,
    }
)
REQUESTS = st.one_of(
    DOCUMENTS,
    st.fixed_dictionaries({"instances": DOCUMENTS}),
    st.fixed_dictionaries({"inputs": DOCUMENTS}),
    st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=3)}, optional={"id": SCALARS}),
)
VALID = [
    b'{"instances": [{"user": 1, "features": [1.5, 2]}, {"user": -7, "features": [0, 1e3]}]}',
    b'{"inputs": {"user": [1], "features": [[1, 2]]}, "signature_name": "predict"}',
    b'{"id": "1", "inputs": [{"name": "user", "shape": [1], "datatype": "INT64", "data": [1]},'
    b'{"name": "features", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]]}]}',
]


@st.composite
def mutations(draw):
    body = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        stop = at + draw(st.integers(0, 4))
        body[at:stop] = draw(
            st.binary(max_size=3) | st.sampled_from([b"[", b"]", b"1e", b"-", b"0"])
        )
    return bytes(body)


BODIES = st.binary(max_size=60) | mutations() | REQUESTS.map(lambda d: json.dumps(d).encode())


@pytest.mark.parametrize("answer", [tfserving.predict, v2.infer], ids=["v1", "v2"])
@settings(max_examples=400, deadline=None)
@given(body=BODIES)
def test_any_body_is_answered_in_json_or_refused(zoo, answer, body):
    with contextlib.suppress(RequestError):
        json.loads(answer(zoo.recommend(), body))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=BODIES)
def test_any_body_over_http_is_less_than_500(client_of, zoo, fuzzed, body):
    for path in ("/v1/models/recommend:predict", "/v2/models/recommend/infer"):
        answer = fuzzed.post(path, content=body)
        assert answer.status_code in (200, 400)
        assert answer.status_code == 200 or answer.json()["error"]


@pytest.fixture
def fuzzed(client_of, zoo):
    return client_of(zoo.recommend())


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_what_a_model_returns_reaches_the_client_bit_for_bit(client_of, zoo, dtype):
    bits = np.random.default_rng(1).integers(0, 256, (64, dtype.itemsize), np.uint8)
    array = bits.view(dtype.numpy)[:, 0] if dtype.kind != "bool" else bits[:, 0] > 100
    if dtype.kind == "float" and dtype is not dt.bfloat16:
        array = array[np.isfinite(array)]
    if dtype is dt.bfloat16:
        array = array[(array & 0x7F80) != 0x7F80]
    model = zoo.model("bits", [("x", dt.int8, ())], [("y", dtype, ("n",))], lambda x: {"y": array})
    answer = client_of(model).post("/v1/models/bits:predict", content=b'{"inputs": 0}').json()
    if dtype is dt.bfloat16:
        back = (np.array(answer["outputs"], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        back = np.array(answer["outputs"], dtype.numpy)
    assert back.tobytes() == array.tobytes()
