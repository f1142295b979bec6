"""Files whose sizes are open: asked for, given by shape or by arrays, also where files run as they are."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.measure.file_inputs import size_inputs
from fleetfront.pipelines.measure.single_file import profile_file
from fleetfront.profilers.base import FileInputs, VisitBatch, batch_from_json, batch_to_json
from fleetfront.profilers.file_facts import file_inputs
from fleetfront.runtimes.catalogue import runtime_for_file
from fleetfront.targets import Target

CPU = Target("cpu", "onnxruntime")


def convolution(*shape: int | str) -> bytes:
    """A convolution over float32 images of ``shape`` [batch, 3, height, width], and a mean over the image."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    ports = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape),
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
    ]
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def test_an_open_height_is_asked_for_and_given(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(convolution("batch", 3, "height", "width"))
    with pytest.raises(InputError, match="nothing says height and width") as caught:
        profile_file(path)
    assert "--shape x=1,3,640,640" in caught.value.remedy
    small = profile_file(path, shapes={"x": (2, 3, 8, 9)}, seconds=0.1)
    assert small.inputs == (("x", (2, 3, 8, 9), "float32"),)
    assert small.target.batch == 2
    assert small.notes == ()
    np.savez(tmp_path / "x.npz", x=np.ones((1, 3, 16, 16), np.float32))
    assert profile_file(path, arrays=tmp_path / "x.npz", seconds=0.1).inputs == (("x", (1, 3, 16, 16), "float32"),)


def test_an_input_whose_number_of_sizes_is_open_is_asked_for_and_no_scalar(tmp_path: Path) -> None:
    onnx, path = pytest.importorskip("onnx"), tmp_path / "net.onnx"
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = onnx.helper.make_graph([relu], "g", ports[:1], ports[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), str(path))
    with pytest.raises(InputError, match="leaves open how large its input is: x"):
        profile_file(path)
    found = profile_file(path, shapes={"x": (1, 3, 8, 9)}, seconds=0.1)
    assert (found.inputs, found.target.batch) == ((("x", (1, 3, 8, 9), "float32"),), 1)
    np.savez(tmp_path / "x.npz", x=np.ones((5, 2), np.float32))
    assert profile_file(path, arrays=tmp_path / "x.npz", seconds=0.1).inputs == (("x", (5, 2), "float32"),)


def test_an_open_batch_is_one_and_said(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(convolution("batch", 3, 8, 8))
    found = profile_file(path, seconds=0.1)
    assert found.inputs == (("x", (1, 3, 8, 8), "float32"),)
    assert found.notes == ("x float32[batch, 3, 8, 8] was fed [1, 3, 8, 8]: other sizes take --shape x=...",)
    assert found.to_json()["notes"] == list(found.notes)


def test_a_shape_that_the_file_cannot_run_is_told_in_its_runtimes_words(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(convolution("batch", 3, "height", "width"))
    with pytest.raises(InputError, match=r"does not run it with x float32\[1, 3, 1, 1\]: .*Conv") as caught:
        profile_file(path, shapes={"x": (1, 3, 1, 1)}, seconds=0.1)
    assert "--shape" in caught.value.remedy
    assert "check the file" not in str(caught.value).casefold()


@pytest.mark.parametrize("name", ["onnx/r_mask_len.onnx", "tflite/l_state_first_b4.tflite", "onnx/v_dim_minus1.onnx"])
def test_files_tell_their_inputs_as_their_runtime_does(name: str, shared_data: Path) -> None:
    path = shared_data / "cases" / name
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    told = file_inputs(path)
    assert told is not None
    assert list(told) == list(runtime_for_file(path).open(path).inputs)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("onnx/e_topk_k.onnx", "k"),
        ("onnx/d_resize_sizes.onnx", "sizes"),
        ("onnx/e_reshape_shape.onnx", "s"),
        ("tflite/f_resize_size_input.tflite", "size"),
        ("tflite/g_reshape_shape_input.tflite", "shape"),
    ],
)
def test_values_that_decide_the_time_are_asked_for(name: str, wanted: str, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cases" / name
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    with pytest.raises(InputError, match="depends on the values of") as caught:
        profile_file(path)
    assert f"numpy.savez('x.npz', {wanted}=...)" in caught.value.remedy


def test_a_chosen_k_is_timed_as_such(shared_data: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", k=np.array([40]))
    found = profile_file(shared_data / "cases" / "onnx" / "e_topk_k.onnx", arrays=tmp_path / "x.npz", seconds=0.1)
    assert found.inputs == (("x", (1, 50), "float32"), ("k", (1,), "int64"))
    assert found.target.batch == 1


def test_devices_that_run_files_as_they_are_get_a_copy_of_that_size(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cases" / "tflite" / "a_dyn_hw_default1.tflite"
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    target = Target("adb:SERIAL", "tflite-cpu")
    with pytest.raises(InputError, match="--shape x=1,640,640,3"):
        size_inputs(path, target, tmp_path, {}, None)
    sized = size_inputs(path, target, tmp_path, {"x": (1, 32, 48, 3)}, None)
    session = runtime_for_file(path).open(sized.path)
    assert [port.shape for port in session.inputs] == [(1, 32, 48, 3)]
    fed = {"x": np.random.default_rng(0).standard_normal((1, 32, 48, 3)).astype(np.float32)}
    want = runtime_for_file(path).open(path).run(fed)
    assert all(np.allclose(value, want[name], atol=1e-5) for name, value in session.run(fed).items())
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 8, 8, 3), np.int64))
    with pytest.raises(InputError, match="random numbers"):
        size_inputs(path, target, tmp_path, {}, tmp_path / "x.npz")


def test_inputs_travel_with_a_batch() -> None:
    inputs = FileInputs((("x", (1, 3, 8, 8)),), "ab" * 32)
    for batch in (VisitBatch(CPU, "", "c", 0, (), inputs=inputs), VisitBatch(CPU, "", "c", 0, ())):
        assert batch_from_json(batch_to_json(batch)) == batch


def test_an_onnx_file_of_a_size_is_written_for_gpus(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(convolution("batch", 3, "height", "width"))
    (tmp_path / "copies").mkdir()
    sized = size_inputs(path, Target("cuda:0", "onnxruntime"), tmp_path / "copies", {"": (2, 3, 8, 9)}, None)
    assert [port.shape for port in runtime_for_file(path).open(sized.path).inputs] == [(2, 3, 8, 9)]
    assert sized.target.batch == 2
