"""See what TensorRT is asked for, with a stand-in that has the names of its bindings; nothing is built here."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetfront.errors import InputError, MissingDependency
from fleetfront.profilers.gpu.programs.tensorrt import PlanCache
from fleetfront.runtimes.tensorrt.engine import (
    BuildOptions,
    Engine,
    Plan,
    TimingCache,
    bound_to,
    build_plan,
    import_tensorrt,
)


class FakeTensorRt(SimpleNamespace):
    """Records what a builder is told. TF32 is on by default, as in TensorRT."""

    def loaded(self, data: bytes) -> str | None:
        self.said.update(loaded=data)
        return {b"damaged": None, b"of another GPU": "foreign"}.get(data, f"cache {data.decode()}".strip())

    def __init__(self, *, parses: bool = True, builds: bool = True, deserialises: bool = True) -> None:
        self.flags = {"TF32"}
        self.said: dict[str, Any] = {}
        self.config = SimpleNamespace(
            set_flag=self.flags.add,
            clear_flag=self.flags.discard,
            set_memory_pool_limit=lambda pool, limit: self.said.update({pool: limit}),
            create_timing_cache=self.loaded,
            set_timing_cache=lambda cache, ignore_mismatch: (
                self.said.update(mismatch=ignore_mismatch, set=cache) or cache != "foreign"
            ),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"timings"),
        )
        builder = SimpleNamespace(
            create_network=lambda flags: self.said.update(network=flags) or "network",
            create_builder_config=lambda: self.config,
            build_serialized_network=lambda *_: b"plan" if builds else None,
        )
        parser = SimpleNamespace(
            parse=lambda data: parses, num_errors=1, get_error=lambda i: "In node 3: UNSUPPORTED_NODE"
        )
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: None if not deserialises else object())
        super().__init__(
            __version__="11.4.0",
            Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda *_: None}),
            Builder=lambda logger: builder,
            OnnxParser=lambda network, logger: parser,
            Runtime=lambda logger: runtime,
            BuilderFlag=SimpleNamespace(TF32="TF32"),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        )


def test_a_build_is_strongly_typed_and_says_its_flags(tmp_path: Path) -> None:
    trt = FakeTensorRt()
    cache = TimingCache(tmp_path, "11.4.0", "NVIDIA H100 80GB HBM3")
    plan = build_plan(trt, b"onnx", BuildOptions(workspace_bytes=1 << 30), cache)
    assert plan.data == b"plan"
    assert plan.built_with == {
        "tensorrt": "11.4.0",
        "flags": ["STRONGLY_TYPED"],
        "optimization_level": 3,
        "workspace_bytes": 1 << 30,
    }
    assert trt.flags == set()
    assert (trt.said["network"], trt.said["workspace"], trt.said["mismatch"]) == (2, 1 << 30, False)
    assert trt.said["loaded"] == b""
    # The next build begins with the timings of this one.
    build_plan(trt, b"onnx", BuildOptions(allow_tf32=True), cache)
    assert trt.said["loaded"] == b"timings"
    assert trt.flags == {"TF32"}
    assert cache.path.name == "11.4.0-NVIDIA_H100_80GB_HBM3.timing"


@pytest.mark.parametrize("kept", [b"damaged", b"of another GPU"])
def test_timings_that_are_of_no_use_are_begun_anew(tmp_path: Path, kept: bytes) -> None:
    trt, cache = FakeTensorRt(), TimingCache(tmp_path, "11.4.0", "NVIDIA H100")
    cache.save(kept)
    build_plan(trt, b"onnx", BuildOptions(), cache)
    assert (trt.said["loaded"], trt.said["set"]) == (b"", "cache")
    assert cache.load() == b"timings"


def test_refusals_carry_what_tensorrt_said() -> None:
    with pytest.raises(InputError, match="UNSUPPORTED_NODE"):
        build_plan(FakeTensorRt(parses=False), b"", BuildOptions())
    with pytest.raises(InputError, match="built no engine"):
        build_plan(FakeTensorRt(builds=False), b"", BuildOptions())
    with pytest.raises(InputError, match="does not run this plan"):
        Engine(FakeTensorRt(deserialises=False), b"other gpu")


@pytest.mark.skipif("tensorrt" in sys.modules, reason="TensorRT is installed")
def test_without_tensorrt_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency) as refusal:
        import_tensorrt()
    assert refusal.value.remedy == "Run: pip install 'fleetfront[tensorrt]'"
    assert refusal.value.exit_code == 4
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(MissingDependency, match="older than 10"):
        import_tensorrt()


def test_plans_are_kept_by_file_and_by_what_they_are_bound_to(tmp_path: Path) -> None:
    here = PlanCache(tmp_path, {"gpu": "A", "tensorrt": "11.4.0"})
    assert here.find(b"onnx") is None
    assert here.keep(b"onnx", Plan(b"plan")) == b"plan"
    assert here.find(b"onnx") == b"plan"
    assert here.find(b"another") is None
    assert PlanCache(tmp_path, {"gpu": "B", "tensorrt": "11.4.0"}).find(b"onnx") is None
    (kept,) = tmp_path.glob("??/*.trt")
    kept.write_bytes(b"half")
    assert here.find(b"onnx") is None


def test_what_a_plan_is_bound_to_is_named_even_where_unknown() -> None:
    facts = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "driver": "570.86.15", "cuda": "12.8"}
    assert bound_to("11.4.0", facts) == {
        "tensorrt": "11.4.0",
        "gpu": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "driver": "570.86.15",
        "cuda": "12.8",
    }
    assert bound_to("11.4.0", {})["driver"] == ""
