"""TensorFlow Serving's REST format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tenor.errors import RequestError
from tenor.ir import dtype as dt
from tenor.serve import tfserving


def ask(model, request):
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return json.loads(tfserving.predict(model, body))


def test_rows_of_one_input_are_answered_as_a_bare_list(zoo):
    answer = ask(zoo.half_plus_three(), {"instances": [1.0, 2.0, 5.0]})
    assert answer == {"predictions": [3.5, 4.0, 5.5]}


def test_rows_of_one_input_may_name_it(zoo):
    answer = ask(zoo.half_plus_three(), {"instances": [{"x": 1}, {"x": 2}]})
    assert answer == {"predictions": [3.5, 4.0]}


def test_rows_of_lists_are_batched_along_dim_0(zoo):
    model = zoo.linear()
    assert ask(model, {"instances": [[1, 2, 3], [4, 5, 6]]}) == {"predictions": [[7, -1], [16, -1]]}
    assert model.runs[0][1]["x"].dtype == np.float32
    assert model.runs[0][1]["x"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_rows_of_several_inputs_are_answered_as_objects(zoo):
    rows = [{"user": 1, "features": [1, 2]}, {"user": 10, "features": [-1.5, 0]}]
    answer = ask(zoo.recommend(), {"instances": rows})
    wanted = [{"score": 4.0, "good": [True]}, {"score": 8.5, "good": [False]}]
    assert answer == {"predictions": wanted}


def test_columns_of_one_input_may_be_bare(zoo):
    bare = ask(zoo.half_plus_three(), {"inputs": [1.0, 2.0]})
    named = ask(zoo.half_plus_three(), {"inputs": {"x": [1.0, 2.0]}})
    assert bare == named == {"outputs": [3.5, 4.0]}


def test_columns_of_several_inputs_are_answered_by_name(zoo):
    request = {"inputs": {"user": [1, 10], "features": [[1, 2], [-1.5, 0]]}}
    wanted = {"score": [4.0, 8.5], "good": [[True], [False]]}
    assert ask(zoo.recommend(), request) == {"outputs": wanted}


def test_columns_hold_scalars(zoo):
    model = zoo.model(
        "area", [("r", dt.float32, ())], [("a", dt.float32, ())], lambda r: {"a": r * r}
    )
    assert ask(model, {"inputs": 3}) == {"outputs": 9.0}
    assert ask(model, {"inputs": {"r": 3}}) == {"outputs": 9.0}


def test_an_empty_batch_is_answered_without_running_the_model(zoo):
    for model in (zoo.half_plus_three(), zoo.linear(), zoo.recommend()):
        assert ask(model, {"instances": []}) == {"predictions": []}
        assert model.runs == []
    answer = ask(zoo.recommend(), {"inputs": {"user": [], "features": []}})
    assert answer == {"outputs": {"score": [], "good": []}}


def test_a_mean_over_an_empty_batch_is_the_models_to_answer(zoo):
    model = zoo.model(
        "count",
        [("x", dt.float32, ("batch",))],
        [("n", dt.int64, ())],
        lambda x: {"n": np.int64(len(x))},
    )
    assert ask(model, {"inputs": []}) == {"outputs": 0}
    assert len(model.runs) == 1


def test_a_signature_is_chosen_by_name(zoo):
    spec = (zoo.Spec("x", dt.float32, ("batch",)),)
    signatures = {n: zoo.Asked(n, spec, spec) for n in ("double", "negate")}
    functions = {"double": lambda x: {"x": 2 * x}, "negate": lambda x: {"x": -x}}
    model = zoo.NumpyModel("two", functions, signatures)
    assert ask(model, {"signature_name": "negate", "instances": [1]}) == {"predictions": [-1]}
    assert ask(model, {"signature_name": "double", "instances": [1]}) == {"predictions": [2]}
    with pytest.raises(RequestError, match=r"must name one") as caught:
        ask(model, {"instances": [1]})
    assert "double, negate" in caught.value.fix
    with pytest.raises(RequestError, match=r"must name one"):
        ask(model, {"signature_name": "triple", "instances": [1]})


def test_serving_default_is_the_default_signature_by_another_name(zoo):
    request = {"signature_name": "serving_default", "instances": [1]}
    assert ask(zoo.half_plus_three(), request) == {"predictions": [3.5]}


def test_floats_that_are_not_finite_become_tensorflow_servings_tokens(zoo):
    model = zoo.calling(lambda x: {"y": np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)})
    body = tfserving.predict(model, b'{"instances": [0, 0, 0, 0]}')
    assert body == b'{"predictions":[NaN,Infinity,-Infinity,1.5]}'


def test_metadata_has_tensorflow_servings_shape(zoo):
    definitions = tfserving.metadata(zoo.linear())["metadata"]["signature_def"]["signature_def"]
    assert tfserving.metadata(zoo.linear())["model_spec"] == {
        "name": "linear",
        "signature_name": "",
        "version": "1",
    }
    assert definitions["serving_default"] == definitions["predict"]
    assert definitions["predict"] == {
        "inputs": {
            "x": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": "batch"}, {"size": "3", "name": ""}],
                    "unknown_rank": False,
                },
                "name": "x",
            }
        },
        "outputs": {
            "y": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": "batch"}, {"size": "2", "name": ""}],
                    "unknown_rank": False,
                },
                "name": "y",
            }
        },
        "method_name": "tensorflow/serving/predict",
    }


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_every_dtype_has_a_tensorflow_name(zoo, dtype):
    found = tfserving.metadata(zoo.identity(dtype))["metadata"]["signature_def"]["signature_def"]
    assert found["predict"]["inputs"]["x"]["dtype"].startswith("DT_")


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        ({}, "neither"),
        ({"instance": []}, "['instance']"),
        ({"instances": [], "inputs": []}, "both"),
        ({"instances": [], "signature_name": 3}, "the number 3"),
        ({"instances": 3}, "the number 3"),
        ({"instances": None}, "null"),
        ({"instances": {"user": 1}}, "an object"),
        ({"instances": [1]}, "the number 1 in instances[0]"),
        ({"instances": [{"user": 1}]}, "missing ['features'] in instances[0]"),
        (
            {"instances": [{"user": 1, "features": [1, 2]}, {"user": 1}]},
            "missing ['features'] in instances[1]",
        ),
        (
            {"instances": [{"user": 1, "features": [1, 2], "age": 3}]},
            "unknown ['age'] in instances[0]",
        ),
        (
            {"instances": [{"user": 1, "features": [1]}]},
            "1 at dim 1, in instances[0].features",
        ),
        (
            {
                "instances": [
                    {"user": 1, "features": [1, 2]},
                    {"user": 1, "features": [1, "a"]},
                ]
            },
            "the string 'a' at instances[1].features[1]",
        ),
        ({"instances": [{"user": 1.0, "features": [1, 2]}]}, "the number 1.0 at instances[0].user"),
        ({"inputs": [1]}, "a list of 1"),
        ({"inputs": {"user": [1]}}, "missing ['features']"),
        ({"inputs": {"user": [1, 2], "features": [[1, 2]]}}, "2 in 'user', 1 in 'features'"),
    ],
)
def test_a_wrong_request_is_told_what_and_where(zoo, request_body, said):
    with pytest.raises(RequestError) as caught:
        ask(zoo.recommend(), request_body)
    assert said in "; ".join(caught.value.came)


def test_an_output_without_a_batch_does_not_fit_rows(zoo):
    model = zoo.model(
        "mean",
        [("x", dt.float32, ("batch",))],
        [("m", dt.float32, ())],
        lambda x: {"m": x.mean(dtype=np.float32)},
    )
    assert ask(model, {"inputs": [1, 2]}) == {"outputs": 1.5}
    with pytest.raises(RequestError, match="rows cannot hold it"):
        ask(model, {"instances": [1, 2]})


def test_an_input_without_a_batch_does_not_fit_rows(zoo):
    with pytest.raises(RequestError, match="has no batch dim"):
        ask(zoo.identity(dt.float32, ()), {"instances": [1]})
