"""The Open Inference Protocol, version 2."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tenor.errors import RequestError
from tenor.ir import dtype as dt
from tenor.serve import v2


def tensor(name="x", shape=(2,), datatype="FP32", data=(1, 2), **more):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def ask(model, request):
    return json.loads(v2.infer(model, json.dumps(request).encode()))


def refused(model, request):
    with pytest.raises(RequestError) as caught:
        ask(model, request)
    return "; ".join(caught.value.came)


def test_an_answer_holds_flat_data_with_its_shape(zoo):
    request = {"id": "7", "inputs": [tensor(shape=[2, 3], data=[1, 2, 3, 4, 5, 6])]}
    assert ask(zoo.linear(), request) == {
        "model_name": "linear",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [7.0, -1.0, 16.0, -1.0]}
        ],
    }


def test_data_may_be_nested(zoo):
    flat = ask(zoo.linear(), {"inputs": [tensor(shape=[2, 3], data=[1, 2, 3, 4, 5, 6])]})
    nested = ask(zoo.linear(), {"inputs": [tensor(shape=[2, 3], data=[[1, 2, 3], [4, 5, 6]])]})
    assert nested == flat
    assert "id" not in flat


def test_several_inputs_come_in_any_order_and_outputs_in_the_order_asked(zoo):
    user = tensor("user", [1], "INT64", [3])
    features = tensor("features", [1, 2], "FP32", [0.5, 1])
    all_outputs = ask(zoo.recommend(), {"inputs": [features, user]})["outputs"]
    assert [output["name"] for output in all_outputs] == ["score", "good"]
    assert all_outputs[0]["data"] == [4.5]
    assert all_outputs[1] == {"name": "good", "datatype": "BOOL", "shape": [1, 1], "data": [True]}
    for names in (["good"], ["good", "score"]):
        asked = {"inputs": [user, features], "outputs": [{"name": name} for name in names]}
        answer = ask(zoo.recommend(), asked)
        assert [output["name"] for output in answer["outputs"]] == names


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_every_dtype_is_echoed_under_its_datatype(zoo, dtype):
    model = zoo.identity(dtype)
    datatype = v2.metadata(model, ["1"])["inputs"][0]["datatype"]
    data = {"float": [0.5, -2.0], "bool": [True, False]}.get(dtype.kind, [0, 100])
    output = ask(model, {"inputs": [tensor(datatype=datatype, data=data)]})["outputs"][0]
    assert output == {"name": "y", "datatype": datatype, "shape": [2], "data": data}
    assert model.runs[0][1]["x"].dtype == dtype.numpy


def test_a_scalar_has_the_shape_of_no_dims(zoo):
    output = ask(zoo.identity(dt.float64, ()), {"inputs": [tensor("x", [], "FP64", [2.5])]})
    assert output["outputs"][0] == {"name": "y", "datatype": "FP64", "shape": [], "data": [2.5]}


def test_an_empty_batch_keeps_its_shape(zoo):
    answer = ask(zoo.linear(), {"inputs": [tensor(shape=[0, 3], data=[])]})
    assert answer["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [0, 2], "data": []}


def test_a_parameter_chooses_the_signature(zoo):
    spec = (zoo.Spec("x", dt.float32, ("batch",)),)
    signatures = {n: zoo.Asked(n, spec, spec) for n in ("double", "negate")}
    functions = {"double": lambda x: {"x": 2 * x}, "negate": lambda x: {"x": -x}}
    model = zoo.NumpyModel("two", functions, signatures)
    request = {"inputs": [tensor()], "parameters": {"signature_name": "negate", "other": 1}}
    assert ask(model, request)["outputs"][0]["data"] == [-1, -2]
    assert "the number 1" in refused(model, {**request, "parameters": {"signature_name": 1}})
    assert "no signature name" in refused(model, {"inputs": [tensor()]})


def test_metadata_describes_the_default_signature(zoo):
    assert v2.metadata(zoo.recommend(), ["2", "1"]) == {
        "name": "recommend",
        "versions": ["2", "1"],
        "platform": "tenor",
        "description": "a test model",
        "inputs": [
            {"name": "user", "datatype": "INT64", "shape": [-1]},
            {"name": "features", "datatype": "FP32", "shape": [-1, 2]},
        ],
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "good", "datatype": "BOOL", "shape": [-1, 1]},
        ],
    }


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "missing ['x']"),
        ([tensor(), tensor()], "a second input 'x' in inputs[1]"),
        ([tensor("z")], "an unknown input 'z' in inputs[0]"),
        ([tensor(datatype="INT64")], "datatype 'INT64' in inputs[0]"),
        ([tensor(datatype="BYTES")], "datatype 'BYTES'"),
        ([tensor(datatype="float32")], "datatype 'float32'"),
        ([tensor(data=[1])], "1 elements of data for shape [2]"),
        ([tensor(shape=[1099511627776])], "shape [1099511627776]"),
        ([tensor(shape=[-2])], "-2 at dim 0"),
        ([tensor(shape=[2, 1])], "shape of 2 dims"),
        ([tensor(shape="2")], "$.inputs[0].shape"),
        ([tensor(shape=[2.5])], "$.inputs[0].shape[0]"),
        ([tensor(data=[1, "2"])], "the string '2' at inputs[0].data[1]"),
        ([tensor(data=None)], "null at inputs[0].data"),
        ([{"name": "x", "shape": [2], "datatype": "FP32"}], "no 'data' in inputs[0]"),
        ([{"name": "x"}], "missing required field `shape`"),
        ([3], "$.inputs[0]"),
        (3, "$.inputs"),
        ([tensor(parameters={"binary_data_size": 8})], "'binary_data_size' in inputs[0]"),
        ([tensor(parameters={"shared_memory_region": "a"})], "'shared_memory_region'"),
    ],
)
def test_a_wrong_input_is_told_what_and_where(zoo, inputs, said):
    assert said in refused(zoo.half_plus_three(), {"inputs": inputs})


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([{"name": "z"}], "an unknown output 'z' in outputs[0]"),
        ([{"name": "y"}, {"name": "y"}], "a second output 'y' in outputs[1]"),
        ([{}], "missing required field `name`"),
        ([{"name": "y", "parameters": {"classification": 3}}], "'classification' in outputs[0]"),
    ],
)
def test_a_wrong_output_is_told_what_and_where(zoo, outputs, said):
    request = {"inputs": [tensor()], "outputs": outputs}
    assert said in refused(zoo.half_plus_three(), request)


def test_asking_for_no_outputs_asks_for_all(zoo):
    answer = ask(zoo.half_plus_three(), {"inputs": [tensor()], "outputs": []})
    assert answer["outputs"][0]["data"] == [3.5, 4.0]


def test_bfloat16_travels_as_the_numbers_it_holds(zoo):
    model = zoo.identity(dt.bfloat16)
    answer = ask(model, {"inputs": [tensor(datatype="BF16", data=[1.5, 3.140625])]})
    assert answer["outputs"][0]["data"] == [1.5, 3.140625]
    assert model.runs[0][1]["x"].tolist() == [0x3FC0, 0x4049]
    assert model.runs[0][1]["x"].dtype == np.uint16
