"""Find how large inputs are: said by the user, by the file, or asked for; never 1 in silence."""

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.graphs.input_shapes import parse_shapes, resolve_shapes
from fleetfront.runtimes.base import Port, native_words
from fleetfront.runtimes.catalogue import runtime_for_file
from fleetfront.runtimes.feeds import GivenInputs, load_arrays, make_feeds


def port(*shape: int | str, name: str = "x", defaults: tuple[int, ...] = ()) -> Port:
    return Port(name, shape, "float32", defaults)


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        (port("batch", 3, 8, 8), (1, 3, 8, 8)),
        (port("N", 3, 8, 8), (1, 3, 8, 8)),
        (port("?", 3, 8, 8), (1, 3, 8, 8)),
        (port("unk__12", 10), (1, 10)),
        (port("batch_size"), (1,)),
        (port("?", "?", "?", 3, defaults=(1, 224, 192, 3)), (1, 224, 192, 3)),
        (port("?", 16, defaults=(4, 16)), (4, 16)),
    ],
)
def test_the_batch_may_be_one_and_files_have_defaults(declared: Port, shape: tuple[int, ...]) -> None:
    assert resolve_shapes([declared]) == {"x": shape}


@pytest.mark.parametrize(
    ("declared", "example"),
    [
        (port("batch", 3, "height", "width"), "--shape x=1,3,640,640"),
        (port("batch", "seq"), "--shape x=1,128"),
        (port("seq", 8), "--shape x=128,8"),
        (port("T", "B", 8), "--shape x=128,1,8"),
        (port("?"), "--shape x=128"),
        (port("N"), "--shape x=128"),
        (port(1, "N", 3), "--shape x=1,128,3"),
        (port(1, "?", "?", 3, defaults=(1, 1, 1, 3)), "--shape x=1,640,640,3"),
    ],
)
def test_other_open_sizes_are_asked_for(declared: Port, example: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_shapes([declared])
    assert example in caught.value.remedy
    assert "--inputs x.npz" in caught.value.remedy
    assert str(declared) in caught.value.message


def test_names_carry_sizes_from_input_to_input() -> None:
    ports = [port("b", "s", name="ids"), port("b", "p", name="past"), port("b", "p + 2*s", name="mask")]
    shapes = resolve_shapes(ports, {"ids": (2, 5), "past": (2, 7)})
    assert shapes == {"ids": (2, 5), "past": (2, 7), "mask": (2, 17)}
    with pytest.raises(InputError, match="b would be both 2 and 3"):
        resolve_shapes(ports, {"ids": (2, 5), "past": (3, 7)})
    with pytest.raises(InputError, match="nothing says s and p") as caught:
        resolve_shapes(ports)
    assert "--shape ids=1,128 --shape past=1,128 --shape mask=1,384" in caught.value.remedy


def test_shapes_that_do_not_fit_are_refused() -> None:
    one = [port("b", 3, "h", "w")]
    for given_shape, said in (
        ({"x": (1, 4, 8, 8)}, "cannot be"),
        ({"x": (3, 8, 8)}, "cannot be"),
        ({"y": (1,)}, "no input 'y'"),
    ):
        with pytest.raises(InputError, match=said):
            resolve_shapes(one, given_shape)
    assert resolve_shapes(one, {"": (2, 3, 8, 9)}) == {"x": (2, 3, 8, 9)}
    with pytest.raises(InputError, match="2 inputs"):
        resolve_shapes([*one, port(1, name="y")], {"": (2, 3, 8, 9)})
    with pytest.raises(InputError, match="one of its sizes is 0"):
        resolve_shapes([port(0, 3)])
    assert parse_shapes(["x=1,3,8,8", "a=b=4"]) == {"x": (1, 3, 8, 8), "a=b": (4,)}
    for text in ("x=", "x=1,a", "x=-1", "x=\uff11", "x=1_0", "1e3", "x=1," + "9" * 400):
        with pytest.raises(InputError, match="not a shape"):
            parse_shapes([text])


def test_empty_inputs_are_no_shapes() -> None:
    with pytest.raises(InputError, match="sizes is 0") as caught:
        parse_shapes(["ids=1,0"])
    assert "--inputs" in caught.value.remedy


class Opened:
    """What a file wants, without the file."""

    def __init__(self, *ports: Port) -> None:
        self.inputs = ports


@pytest.mark.parametrize(
    ("dtype", "array", "said"),
    [
        ("float32", np.array([1.0, np.nan, np.inf], np.float32), "2 of the 3 numbers given for input 'x' are NaN"),
        ("float32", np.array([1e300, 0, 0]), "cannot hold, e.g. 1e+300"),
        ("int32", np.array([1 << 40, 0, 0]), "cannot hold, e.g. 1.09951e"),
        ("int32", np.array([1.5, 0, 0]), "was given as float64"),
        ("float32", np.zeros((0,), np.float32), "All inputs that were given are empty"),
        ("float32", np.array(["a", "b", "c"]), "given as str"),
    ],
)
def test_numbers_that_cannot_be_fed_as_they_are_given(dtype: str, array: np.ndarray, said: str) -> None:
    session = Opened(Port("x", ("?",), dtype))
    with pytest.raises(InputError) as caught:
        make_feeds(session, np.random.default_rng(0), GivenInputs(arrays={"x": array}))  # type: ignore[arg-type]
    assert said in caught.value.message


def test_what_is_not_fed_as_given_is_said() -> None:
    session = Opened(Port("x", (2,), "float32"), Port("ids", (2,), "int32"), Port("past", ("p",), "float32"))
    given = {"x": np.array([0.1, 0.2]), "ids": np.array([7, 8]), "past": np.zeros((0,), np.float32)}
    feeds, notes = make_feeds(session, np.random.default_rng(0), GivenInputs(arrays=given))  # type: ignore[arg-type]
    assert feeds["ids"].tolist() == [7, 8]
    assert notes == [
        "x: given as float64, fed as float32",
        "ids: given as int64, fed as int32",
        "past: empty, as it was given ([0])",
    ]


def test_what_looks_like_a_size_is_asked_for_where_nobody_looked_into_the_file() -> None:
    session = Opened(Port("x", (1, 50), "float32"), Port("k", (1,), "int64"), Port("flag", (), "bool"))
    feeds, _ = make_feeds(session, np.random.default_rng(0))  # type: ignore[arg-type]
    assert set(feeds) == {"x", "k", "flag"}
    with pytest.raises(InputError, match="depends on the values of k int64") as caught:
        make_feeds(session, np.random.default_rng(0), GivenInputs(may_steer=True))  # type: ignore[arg-type]
    assert "numpy.savez('x.npz', k=..., flag=...)" in caught.value.remedy


@given(st.text(max_size=40))
def test_names_of_sizes_may_be_anything(name: str) -> None:
    with contextlib.suppress(InputError):
        assert all(size >= 1 for size in resolve_shapes([port(1, name, name="x")])["x"])


CASES = {
    "onnx/a_static_640.onnx": {"x": (1, 3, 640, 640)},
    "onnx/e_topk_k.onnx": {"x": (1, 50), "k": (1,)},
    "onnx/m_paddle_b8.onnx": {"im_shape": (8, 2), "image": (8, 3, 64, 64), "scale_factor": (8, 2)},
    "onnx/v_dim_minus1.onnx": {"x": (1, 3, 32, 32)},
    "tflite/l_state_first_b4.tflite": {"state": (1, 16), "image": (4, 32, 32, 3)},
    "onnx/a_dynamic_hw.onnx": "--shape x=1,3,640,640",
    "onnx/b_dynamic_hw_gemm.onnx": "--shape x=1,3,640,640",
    "onnx/c_int64_ids.onnx": "--shape ids=1,128",
    "onnx/p_kv_cache.onnx": "--shape past=2,12,128,64",
    "onnx/q_lstm_state.onnx": "--shape x=128,1,8",
    "onnx/r_mask_len.onnx": "--shape ids=1,128 --shape past=1,128 --shape mask=1,256",
    "tflite/a_dyn_hw_default1.tflite": "--shape x=1,640,640,3",
    "onnx/v_dim_0.onnx": "one of its sizes is 0",
    "onnx/f_ir99.onnx": "Unsupported model IR version: 99, max supported IR version",
    "onnx/f_opset99.onnx": "Opset 99 is under development",
}


@pytest.mark.parametrize("name", CASES)
def test_strangers_files_get_a_size_or_a_sentence(name: str, shared_data: Path) -> None:
    path, want = shared_data / "cases" / name, CASES[name]
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    if isinstance(want, str):
        with pytest.raises(InputError) as caught:
            make_feeds(runtime_for_file(path).open(path), np.random.default_rng(0))
        assert want in str(caught.value)
        return
    session = runtime_for_file(path).open(path)
    feeds, _ = make_feeds(session, np.random.default_rng(0))
    assert {key: value.shape for key, value in feeds.items()} == want
    session.bind(feeds)()


GIVEN = {
    "onnx/a_dynamic_hw.onnx": {"x": (1, 3, 64, 48)},
    "onnx/b_dynamic_hw_gemm.onnx": {"x": (2, 3, 8, 8)},
    "onnx/c_int64_ids.onnx": {"ids": (1, 32)},
    "onnx/p_kv_cache.onnx": {"past": (2, 12, 7, 64)},
    "onnx/q_lstm_state.onnx": {"x": (9, 2, 8)},
    "onnx/r_mask_len.onnx": {"ids": (1, 4), "past": (1, 5)},
    "tflite/a_dyn_hw_default1.tflite": {"x": (1, 32, 48, 3)},
}


@pytest.mark.parametrize("name", GIVEN)
def test_given_shapes_run(name: str, shared_data: Path) -> None:
    path = shared_data / "cases" / name
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    session = runtime_for_file(path).open(path)
    feeds, notes = make_feeds(session, np.random.default_rng(0), GivenInputs(GIVEN[name]))
    assert all(feeds[key].shape == shape for key, shape in GIVEN[name].items())
    assert not any("other sizes" in note for note in notes if note.startswith(tuple(GIVEN[name])))
    session.bind(feeds)()


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("onnx/d_resize_sizes.onnx", {"sizes": np.array([1, 3, 16, 16])}),
        ("onnx/e_reshape_shape.onnx", {"s": np.array([5, 10], np.int32)}),
        ("tflite/f_resize_size_input.tflite", {"size": np.array([16, 16])}),
    ],
)
def test_given_arrays_run(name: str, arrays: dict[str, np.ndarray], shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "cases" / name
    if not path.is_file():
        pytest.skip("the shared data have no such case")
    np.savez(tmp_path / "x.npz", **arrays)
    session = runtime_for_file(path).open(path)
    feeds, notes = make_feeds(session, np.random.default_rng(0), GivenInputs(arrays=load_arrays(tmp_path / "x.npz")))
    session.bind(feeds)()
    assert not any("drawn" in note for note in notes)


def test_arrays_are_read_with_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1 << 20, np.uint8))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)})
    with zipfile.ZipFile(tmp_path / "boast.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    np.save(tmp_path / "x.npy", np.ones(3))
    monkeypatch.setattr("fleetfront.runtimes.feeds._ALLOWED_BYTES", 1 << 19)
    for name in ("objects", "text", "boast"):
        with pytest.raises(InputError, match="cannot be read"):
            load_arrays(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match="would unpack to"):
        load_arrays(tmp_path / "bomb.npz")
    for path, said in (
        (tmp_path, "is a folder, where a .npz file"),
        (tmp_path / "missing.npz", "is not there"),
        (tmp_path / "x.npy", "is one array without a name"),
    ):
        with pytest.raises(InputError) as caught:
            load_arrays(path)
        assert said in caught.value.message
        assert "numpy.savez('x.npz', NAME=array)" in caught.value.remedy


def test_sizes_that_fit_no_memory_are_refused() -> None:
    class Session:
        inputs = (port(1, 3, 1 << 20, 1 << 20),)

    with pytest.raises(InputError, match=r"hold 3\.3e\+12 numbers"):
        make_feeds(Session(), np.random.default_rng(0))  # type: ignore[arg-type]


def test_native_words_lose_their_places() -> None:
    text = (
        "[ONNXRuntimeError] : 1 : FAIL : Load model from a.onnx failed:/onnxruntime_src/onnxruntime/core/model.cc:256 "
        "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::Path&) Unsupported model IR version: 99\n"
    )
    assert native_words(RuntimeError(text)) == "Unsupported model IR version: 99"
    assert native_words(RuntimeError("")) == "RuntimeError"
    text = (
        "Error in execution: Non-zero status code returned while running Reshape node. Name:'' Status Message: "
        "/onnxruntime_src/cpu/tensor/reshape_helper.h:91 onnxruntime::ReshapeHelper::ReshapeHelper(const A&, B&, bool) "
        "input_shape_size == requested_shape_size was false."
    )
    assert native_words(RuntimeError(text)).endswith("Message: input_shape_size == requested_shape_size was false")
    assert native_words(RuntimeError("tflite/kernels/conv.cc:52 data[0] > 0 is not true.")) == "data[0] > 0 is not true"
