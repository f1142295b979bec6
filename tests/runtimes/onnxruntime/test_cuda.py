"""Options of ONNX Runtime's GPU providers, and that a file which would fall back to the CPU is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fleetfront.errors import InputError, MissingDependency
from fleetfront.profilers.gpu.programs.onnxruntime import OnnxRuntimeOpener, OnnxRuntimeProgram
from fleetfront.runtimes.onnxruntime.cuda import (
    CUDA,
    NO_FALLBACK,
    TENSORRT,
    cuda_options,
    open_session,
    require_provider,
    require_start,
    tensorrt_options,
)
from tests.conftest import tiny_onnx

ort = pytest.importorskip("onnxruntime")


def test_options_are_strings_and_say_the_precision() -> None:
    assert [cuda_options(1, precision)["use_tf32"] for precision in ("fp32", "tf32", "fp16")] == ["0", "1", "0"]
    assert cuda_options(1, "fp32")["device_id"] == "1"
    options = tensorrt_options(2, "fp16", Path("/caches"))
    assert options["trt_timing_cache_enable"] == options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == "/caches"
    assert all(isinstance(value, str) for value in {**options, **cuda_options(0, "fp32")}.values())


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="ONNX Runtime is built with CUDA here")
def test_a_build_without_the_provider_is_refused_with_the_pip_line(tmp_path: Path) -> None:
    for delegate, provider in (("", CUDA), ("tensorrt", TENSORRT)):
        with pytest.raises(MissingDependency, match=provider) as refusal:
            OnnxRuntimeOpener(0, "fp32", delegate, tmp_path)
        assert "pip install onnxruntime-gpu" in refusal.value.remedy
    require_provider(ort, "CPUExecutionProvider")


def test_an_unknown_delegate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nnapi"):
        OnnxRuntimeOpener(0, "fp32", "nnapi", tmp_path)


def test_files_that_would_run_on_the_cpu_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_onnx())
    # Without a GPU, every node would fall back: this is the very check that the CUDA provider is held to.
    with pytest.raises(InputError, match="alone"):
        open_session(ort, path, [("CPUExecutionProvider", {})])
    options = ort.SessionOptions()
    options.add_session_config_entry(*NO_FALLBACK)
    assert options.get_session_config_entry(NO_FALLBACK[0]) == "1"


def test_a_provider_that_does_not_start_is_told_from_a_file_that_does_not_run() -> None:
    require_start(ort, [("CPUExecutionProvider", {})])

    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    class Fails(Session):
        def __init__(self, *_: object, **__: object) -> None:
            place = "/src/onnxruntime/python/x.cc:729 void Register(Options&, const Options&)"
            raise RuntimeError(f"{place} Please install TensorRT libraries\nas mentioned")

    for session, provider, said in ((Session, CUDA, "library"), (Fails, TENSORRT, "Please install TensorRT")):
        stand_in = SimpleNamespace(
            SessionOptions=ort.SessionOptions, InferenceSession=session, __version__="1.31.1", cuda_version="13.0"
        )
        with pytest.raises(MissingDependency, match=rf"does not start \((a )?{said}") as refusal:
            require_start(stand_in, [(provider, {})])
        assert "CUDA 13.0" in refusal.value.remedy
        assert ("TensorRT 10" in refusal.value.remedy) == (provider == TENSORRT)


def test_bindings_rotate_over_their_own_inputs(tmp_path: Path) -> None:
    session = ort.InferenceSession(tiny_onnx(), providers=["CPUExecutionProvider"])
    program = OnnxRuntimeProgram(ort, session, "cpu", 0, 3)
    results = []
    for index in range(3):
        program.enqueue(index)
        results.append(program._bindings[index].copy_outputs_to_cpu()[0])
    assert program.buffers == 3
    assert not (results[0] == results[1]).all()
    assert not (results[1] == results[2]).all()
    program.close()


def test_an_open_side_is_asked_for_and_never_one_pixel() -> None:
    from onnx import TensorProto, helper

    shape = ["n", 3, "height", "width"]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with pytest.raises(InputError, match="height and width"):
        OnnxRuntimeProgram(ort, session, "cpu", 0, 1)
