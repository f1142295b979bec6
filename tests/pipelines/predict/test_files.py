"""Predict files and modules: from the store by hash, by operator costs, by shipped estimates, or refused."""

from __future__ import annotations

import hashlib
import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fleetfront as ff
from fleetfront.deploy.formats import FORMATS
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.torch_export import OPSET
from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.cost_files import save_costs
from fleetfront.predictors.operators.costs import KindCosts, OperatorCosts
from fleetfront.predictors.operators.kernels import FEATURES
from fleetfront.predictors.operators.rules import Rules
from fleetfront.predictors.operators.samples import Sample
from fleetfront.predictors.operators.scales import NetworkScales
from fleetfront.profilers.file_facts import file_inputs
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, Tier
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.graphs.readers.files import node, write_onnx_nodes

#: 1 us and 10 us a million multiply-accumulates of 32 x 32 channels on 28 x 28 pixels.
CONV = "1x32x28x28|conv:32x1x1x1x1"


def costs_of(runtime: str, ms_per_mmac: float = 0.01) -> OperatorCosts:
    size = len(FEATURES)
    roofline = np.array([1.0, ms_per_mmac, 0.0, 0.0, 0.0, 0.0])
    kind = KindCosts("pointwise", roofline, None, np.zeros(size), np.full(size, 1e4), 50, 3.0, 0.04)
    scales = NetworkScales(np.ones(3), 0.0, 0.0, 0.002, 0.05, 12)
    allowance = np.array([1.0, 0.0, 0.0, 0.5, 0.5, 0.0])
    target = Target("board", runtime)
    return OperatorCosts(target, Clock.WALL, "min", 0.002, {"pointwise": kind}, allowance, Rules(), scales)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path / "home")
    save_costs(costs_of("onnxruntime"), place)
    save_costs(costs_of("litert", 1.0), place)
    return place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "conv.onnx"
    path.write_bytes(write_onnx(Sample.parse(CONV).graph()))
    return path


def test_costs_of_the_runtime_that_opens_the_file_answer(workspace: Workspace, file: Path) -> None:
    (row,) = ff.predict(file, devices="board", workspace=workspace)
    mmacs = 28 * 28 * 32 * 32 / 1e6
    assert row.latency_ms == pytest.approx(0.002 + 0.001 + 0.01 * mmacs)
    assert (row.tier, row.known_share, row.target.runtime) == (Tier.ESTIMATED, 1.0, "onnxruntime")
    assert [part.kind for part in row.operators] == ["pointwise"]
    assert row.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(row.to_json()) == {
        *("file", "sha256", "device", "target", "latency_ms", "latency_std_ms", "tier", "known_share", "operators"),
        "warnings",
        "rest_ms",
    }
    assert row.to_json()["rest_ms"] == pytest.approx(row.latency_ms - sum(part.ms for part in row.operators))


def test_a_device_is_narrowed_to_a_target(workspace: Workspace, file: Path) -> None:
    (row,) = ff.predict(file, devices=["board/litert"], workspace=workspace)
    assert row.target.runtime == "litert"
    assert "opens no .onnx files" in row.warnings[0]


def test_a_file_that_was_timed_is_answered_from_the_store(workspace: Workspace, file: Path) -> None:
    key = hashlib.sha256(file.read_bytes()).hexdigest()
    target = Target("board", "onnxruntime")
    rows = [
        Measurement(target, "", Role.FILE, key, Clock.WALL, (7_000_000 + turn * 1000,), "c", turn, 1 + turn)
        for turn in range(4)
    ]
    with Store(workspace.store) as store:
        store.append(rows)
    (row,) = ff.predict(file, devices="board/onnxruntime", workspace=workspace)
    assert row.tier is Tier.MEASURED
    assert row.latency_ms == pytest.approx(7.0, rel=1e-3)
    assert row.latency_std_ms > 0


def test_what_a_hot_device_measured_is_no_answer(workspace: Workspace, file: Path) -> None:
    key = hashlib.sha256(file.read_bytes()).hexdigest()
    target = Target("board", "onnxruntime")
    hot = [
        Measurement(target, "", Role.FILE, key, Clock.WALL, (7_000_000,), "c", turn, 1 + turn, flags=("throttled",))
        for turn in range(4)
    ]
    with Store(workspace.store) as store:
        store.append(hot)
    (row,) = ff.predict(file, devices="board/onnxruntime", workspace=workspace)
    assert (row.tier, row.latency_ms < 6) == (Tier.ESTIMATED, True)


def test_estimates_that_are_shipped_answer_through_the_same_path(workspace: Workspace, file: Path) -> None:
    found = ff.predict(file, devices="all", workspace=workspace)
    names = {row.device for row in found}
    assert {"board", "pixel3", "2080ti_1", "raspi4"} <= names
    assert all(row.latency_ms > 0 and row.latency_std_ms > 0 for row in found)
    (pixel,) = (row for row in found if row.device == "pixel3")
    assert sum(part.ms for part in pixel.operators) == pytest.approx(pixel.latency_ms)
    assert any("gold_6226" in text for text in found.refusals)


def test_too_little_that_is_known_is_refused_unless_the_user_allows_it(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "tanh.onnx"
    path.write_bytes(write_onnx(Sample.parse(f"{CONV}|tanh").graph()))
    with pytest.raises(InputError, match=r"only \d+% of the time .* tanh"):
        ff.predict(path, devices="board", least_known=0.9, workspace=workspace)
    (row,) = ff.predict(path, devices="board", least_known=0.0, workspace=workspace)
    assert 0 < row.known_share < 0.9


def test_sizes_beyond_those_measured_are_told_from_kinds_that_are_unknown(workspace: Workspace, file: Path) -> None:
    small = costs_of("onnxruntime")
    kind = replace(small.kinds["pointwise"], highest=np.full(len(FEATURES), 0.02))
    save_costs(replace(small, kinds={"pointwise": kind}), workspace)
    with pytest.raises(InputError, match=r"\(beyond the sizes measured: pointwise\)"):
        ff.predict(file, devices="board/onnxruntime", workspace=workspace)


def test_a_file_with_an_operator_of_its_makers_is_refused_unless_the_user_allows_it(
    workspace: Workspace, tmp_path: Path
) -> None:
    from onnx import TensorProto, helper, save

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 64)) for name in "xy")
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Fancy", ["a"], ["y"], domain="mine")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    path = tmp_path / "custom.onnx"
    save(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=9), path)
    for device in ("board", "pixel3"):
        with pytest.raises(InputError, match=r"nobody can say what mine\.Fancy may take") as refused:
            ff.predict(path, devices=device, workspace=workspace)
        assert "profile" in refused.value.remedy
        (row, *_) = ff.predict(path, devices=device, least_known=0.0, workspace=workspace)
        assert row.known_share == 0.0
        assert any("mine.Fancy" in text for text in row.warnings)


def test_a_torch_module_is_predicted_without_a_file(workspace: Workspace) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Conv2d(32, 32, 1)
    found = ff.predict(module, torch.empty(1, 32, 28, 28), devices=["board"], workspace=workspace)
    assert {row.target.runtime for row in found} == {"onnxruntime", "litert"}
    assert "<table>" in found._repr_html_()
    with pytest.raises(InputError, match="without an input"):
        ff.predict(module, workspace=workspace)


def test_unknown_devices_are_told_with_the_nearest(workspace: Workspace, file: Path) -> None:
    with pytest.raises(InputError, match="pixel3"):
        ff.predict(file, devices="pixle3", workspace=workspace)


def test_int8_files_are_not_answered_by_costs_of_floats(workspace: Workspace, tmp_path: Path) -> None:
    builder = GraphBuilder("int8")
    made = builder.add("relu", (builder.input("x", (1, 64), dtype="int8"),))
    path = tmp_path / "int8.onnx"
    path.write_bytes(write_onnx(builder.build([made])))
    with pytest.raises(InputError, match="relu int8"):
        ff.predict(path, devices="board", workspace=workspace)


def test_files_of_narrow_weights_beside_floats_are_told_apart_and_timed(workspace: Workspace, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_quantizer")
    path = tmp_path / "w8.tflite"
    lite = FORMATS["tflite"]
    path.write_bytes(lite.weights_alone(lite.write(Sample.parse("1x64x8x8|conv:64x1x1x1x1").graph()), 8))
    found = r"multiplies floats by narrow weights \(pointwise\), as files in w8 and w4 do.* so the file has to be timed"
    with pytest.raises(InputError, match=found) as raised:
        ff.predict(path, devices="board/litert", workspace=workspace)
    assert "--file" in raised.value.remedy


def test_files_that_compute_in_float64_are_not_answered_by_costs_of_float32(
    workspace: Workspace, tmp_path: Path
) -> None:
    onnx, path = pytest.importorskip("onnx"), tmp_path / "double.onnx"
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    weight = onnx.numpy_helper.from_array(np.ones((64, 8)), "w")
    ports = [helper.make_tensor_value_info("x", double, [1, 64]), helper.make_tensor_value_info("y", double, [1, 8])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    for device in ("board", "pixel3"):
        with pytest.raises(InputError, match="the file computes in float64"):
            ff.predict(path, devices=device, workspace=workspace, least_known=0.0)


@pytest.mark.parametrize(
    ("runtime", "name", "kind"),
    [
        ("litert", "f_resize_size_input", "RESIZE_BILINEAR"),
        ("litert", "g_reshape_shape_input", "RESHAPE"),
        ("onnxruntime", "d_resize_sizes", "Resize"),
        ("onnxruntime", "e_reshape_shape", "Reshape"),
        ("onnxruntime", "e_topk_k", "TopK"),
    ],
)
def test_a_size_that_only_shows_in_a_run_is_refused_by_name(
    workspace: Workspace, shared_data: Path, runtime: str, name: str, kind: str
) -> None:
    suffix = {"litert": "tflite", "onnxruntime": "onnx"}[runtime]
    path = shared_data / "cases" / suffix / f"{name}.{suffix}"
    save_costs(replace(costs_of(runtime), target=Target("cpu", runtime)), workspace)
    with pytest.raises(InputError, match=f"{name}.*{kind}") as told:
        ff.predict(path, devices="cpu", workspace=workspace)
    assert told.value.remedy.endswith(f"fleetfront profile --device cpu --file {path} --inputs x.npz")


def test_a_file_without_its_weights_is_predicted_and_told(workspace: Workspace, file: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (row,) = ff.predict(file, devices="board", workspace=workspace)
    assert row.warnings == ()
    (file.parent / "weights.bin").unlink()
    (row,) = ff.predict(file, devices="board", workspace=workspace)
    assert row.latency_ms > 0
    assert "cannot run" in row.warnings[0]
    assert "weights.bin" in row.warnings[0]


def test_files_that_are_not_read_are_named(workspace: Workspace, tmp_path: Path) -> None:
    builder = GraphBuilder("open")
    made = builder.add("relu", (builder.input("x", ("n", 8, "length")),))
    path = tmp_path / "open.onnx"
    path.write_bytes(write_onnx(builder.build([made])))
    with pytest.raises(InputError, match=r"open\.onnx: .*nothing says length"):
        ff.predict(path, devices="board", workspace=workspace)


def test_all_of_a_runtime_are_those_that_know_it(workspace: Workspace, file: Path) -> None:
    (row,) = ff.predict(file, devices="all/onnxruntime", workspace=workspace)
    assert (row.device, row.target.runtime) == ("board", "onnxruntime")
    with pytest.raises(InputError, match="pixel3/onnxruntime: nothing is known"):
        ff.predict(file, devices="pixel3/onnxruntime", workspace=workspace)


def open_file(path: Path) -> Path:
    """A convolution of 32 channels whose batch and sides are open."""
    import onnx

    model = onnx.load_from_string(write_onnx(Sample.parse(CONV).graph()))
    for port in (*model.graph.input, *model.graph.output):
        for place, name in ((0, "batch"), (2, "height"), (3, "width")):
            port.type.tensor_type.shape.dim[place].dim_param = name
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())
    return path


def keep_times(store: Path, file: Path, ms: float, after: dict[str, Any], batch: int = 1) -> None:
    key, target = hashlib.sha256(file.read_bytes()).hexdigest(), Target("board", "onnxruntime", batch=batch)
    with Store(store) as kept:
        kept.append(
            Measurement(target, "", Role.FILE, key, Clock.WALL, (int(ms * 1e6),), f"c{ms}", turn, turn, after=after)
            for turn in range(4)
        )


def test_a_time_answers_for_the_shapes_that_it_was_taken_at_alone(workspace: Workspace, tmp_path: Path) -> None:
    file = open_file(tmp_path / "open.onnx")
    (name,) = (port.name for port in file_inputs(file) or ())

    def ask(*shape: int) -> ff.FilePrediction:
        (row,) = ff.predict(file, devices="board/onnxruntime", shapes={"": shape}, workspace=workspace)
        return row

    keep_times(workspace.store, file, 3.0, {})
    assert ask(1, 32, 28, 28).tier is Tier.ESTIMATED
    keep_times(workspace.store, file, 5.0, {"inputs": [[name, [1, 32, 14, 14], "float32"]]})
    keep_times(workspace.store, file, 9.0, {"inputs": [[name, [8, 32, 28, 28], "float32"]]}, batch=8)
    assert ask(1, 32, 28, 28).tier is Tier.ESTIMATED
    small, many = ask(1, 32, 14, 14), ask(8, 32, 28, 28)
    assert (small.tier, many.tier) == (Tier.MEASURED, Tier.MEASURED)
    assert (small.latency_ms, many.latency_ms) == (pytest.approx(5.0), pytest.approx(9.0))
    assert (small.target.batch, many.target.batch) == (1, 8)
    with pytest.raises(InputError, match=f"timed there with {name}=8,32,28,28 and with {name}=1,32,14,14"):
        ff.predict(file, devices="board/tflite-gpu", shapes={"": (2, 32, 28, 28)}, workspace=workspace)


def test_a_batch_is_as_many_times_the_work(workspace: Workspace, tmp_path: Path) -> None:
    file = open_file(tmp_path / "open.onnx")
    (row,) = ff.predict(file, devices="board/onnxruntime", shapes={"": (8, 32, 28, 28)}, workspace=workspace)
    assert row.latency_ms == pytest.approx(0.002 + 0.001 + 0.01 * 8 * 28 * 28 * 32 * 32 / 1e6)
    assert str(row.target) == "board/onnxruntime/fp32/t1/b8"
    with pytest.raises(InputError, match=r"only 0% of the time .*beyond the sizes measured: pointwise") as refused:
        ff.predict(file, devices="board/onnxruntime", shapes={"": (100_000, 32, 28, 28)}, workspace=workspace)
    assert refused.value.remedy.endswith("--shape 100000,32,28,28")


def test_shipped_estimates_are_of_the_batch_that_is_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    file = open_file(tmp_path / "open.onnx")
    asked = {"shapes": {"": (32, 32, 28, 28)}, "workspace": workspace}
    one, many = ff.predict(file, devices=["2080ti_1", "2080ti_32"], **asked)
    assert one.latency_ms == pytest.approx(many.latency_ms)
    assert (one.target.batch, many.target.batch) == (32, 32)
    with pytest.raises(InputError, match="of a batch of 64, the inputs hold a batch of 32"):
        ff.predict(file, devices="2080ti_64", **asked)


def test_numbers_are_of_the_clock_that_is_asked_for(workspace: Workspace, file: Path) -> None:
    (row,) = ff.predict(file, devices="board/onnxruntime", clock=Clock.WALL, workspace=workspace)
    assert row.tier is Tier.ESTIMATED
    keep_times(workspace.store, file, 7.0, {})
    with pytest.raises(InputError, match="nothing is known of it under the thread-cpu clock"):
        ff.predict(file, devices="board", clock=Clock.THREAD_CPU, workspace=workspace)
    with pytest.raises(InputError, match="estimate is of no clock"):
        ff.predict(file, devices="pixel3", clock=Clock.WALL, workspace=workspace)


def test_a_target_has_the_precision_of_the_file(workspace: Workspace, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    made = onnx.load_from_string(write_onnx(Sample.parse(CONV).graph()))
    made.graph.node.insert(0, helper.make_node("QuantizeLinear", [made.graph.input[0].name, "scale", "zero"], ["q"]))
    made.graph.node.insert(1, helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]))
    made.graph.node[2].input[0] = "d"
    weight = next(one for one in made.graph.initializer if len(one.dims) == 4)
    weight.CopyFrom(
        helper.make_tensor(weight.name, TensorProto.INT8, list(weight.dims), bytes(32 * 32), raw=True),
    )
    made.graph.node.insert(2, helper.make_node("DequantizeLinear", [weight.name, "scale", "zero"], ["w"]))
    made.graph.node[3].input[1] = "w"
    made.graph.initializer.extend(
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("zero", TensorProto.INT8, [], [0]),
        ]
    )
    path = tmp_path / "int8.onnx"
    path.write_bytes(made.SerializeToString())
    (row,) = ff.predict(path, devices="board/onnxruntime", least_known=0, workspace=workspace)
    assert str(row.target) == "board/onnxruntime/int8/t1/b1"


def test_a_batch_that_gets_lost_inside_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    nodes = [node("NonZero", ["x"], ["places"]), node("Transpose", ["places"], ["rows"], perm=[1, 0])]
    nodes += [node("Cast", ["rows"], ["floats"], to=1), node("Relu", ["floats"], ["y"])]
    path = write_onnx_nodes(tmp_path / "lost.onnx", nodes, {"x": ("batch", 3, 8, 8)})
    for devices in ("board/onnxruntime", "pixel3"):
        with pytest.raises(InputError, match="nothing says before it runs how large"):
            ff.predict(path, devices=devices, shapes={"x": (4, 3, 8, 8)}, least_known=0, workspace=workspace)


def test_a_file_that_computes_nothing_has_no_price(workspace: Workspace, tmp_path: Path) -> None:
    path = write_onnx_nodes(tmp_path / "same.onnx", [node("Identity", ["x"], ["y"])], {"x": (1, 3)})
    with pytest.raises(InputError, match="nothing that it computes can be counted"):
        ff.predict(path, devices="board/onnxruntime", workspace=workspace)


def test_a_module_asks_for_the_operators_of_its_file(workspace: Workspace, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Attends(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            query, key, value = x.reshape(1, 3, 2, 16, 8).unbind(1)
            return torch.nn.functional.scaled_dot_product_attention(query, key, value)

    module, path = torch.nn.Sequential(Attends(), torch.nn.GELU()).eval(), tmp_path / "attends.onnx"
    sample = torch.empty(1, 96, 8)
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(module, (sample,), path, opset_version=OPSET, dynamo=True, verbose=False)
    asked = {"devices": "board/onnxruntime", "least_known": 0, "workspace": workspace}
    ((made,), (written,)) = ff.predict(module, sample, **asked), ff.predict(path, **asked)
    kinds = [sorted(part.kind for part in row.operators) for row in (made, written)]
    assert kinds[0] == kinds[1]
    assert {"softmax rows", "gelu halved"} < set(kinds[0])
