"""The three runtimes on real files: what they report, run, bind, and how they refuse."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import InputError, MissingDependency
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.base import Runtime
from fleetfront.runtimes.catalogue import all_facts, load_runtime, runtime_for_file
from fleetfront.runtimes.feeds import random_feeds

WRITERS: dict[str, Callable[[Graph], bytes]] = {
    "litert": write_tflite,
    "onnxruntime": write_onnx,
    "torch": Graph.to_bytes,
}


def graph_of(size: int = 1, dtype: str = "float32") -> Graph:
    b = GraphBuilder("g")
    x, y = b.input("x", (size, 3), dtype), b.input("y", (1, 3), dtype)
    return b.build([b.add("add", [x, y], "sum"), b.add("concat", [x, x], "twice", axis=1)])


def feeds_of(value: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full((1, 3), value, np.float32), "y": np.arange(3, dtype=np.float32)[None]}


@pytest.fixture(params=sorted(WRITERS))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found = load_runtime(request.param)
    # Raises where its package is not installed, before a process of its own is begun.
    found.version()
    return found


def test_bound_calls_keep_their_inputs(runtime: Runtime) -> None:
    session = runtime.open(WRITERS[runtime.name](graph_of()))
    feeds = feeds_of(5.0)
    call = session.bind(feeds)
    feeds["x"][:] = -1.0
    for _ in range(3):
        assert call() is not NotImplemented
    if runtime.name == "torch":
        total = np.asarray(call()[0])  # type: ignore[index]
    elif runtime.name == "litert":
        total = session._interpreter.get_tensor(session._index["sum"])  # type: ignore[attr-defined]
    else:
        total = call.args[0].copy_outputs_to_cpu()[0]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(total, [[5, 6, 7]])


def test_wrong_feeds_are_refused(runtime: Runtime) -> None:
    session = runtime.open(WRITERS[runtime.name](graph_of()))
    with pytest.raises(InputError, match="Feed exactly its inputs: x, y"):
        session.run({"x": feeds_of()["x"]})
    with pytest.raises(InputError, match=r"'x' was fed float32\[2, 3\].*wants float32\[1, 3\]"):
        session.run({**feeds_of(), "x": np.zeros((2, 3), np.float32)})
    with pytest.raises(InputError, match=r"'y' was fed float64\[1, 3\]"):
        session.bind({**feeds_of(), "y": np.zeros((1, 3))})


def test_versions_are_those_of_the_packages(runtime: Runtime) -> None:
    from importlib.metadata import version

    package = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "torch": "torch"}[runtime.name]
    assert runtime.version().split("+")[0] == version(package).split("+")[0]


def test_a_missing_package_is_named(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    data = WRITERS[runtime.name](graph_of())
    module = {"litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime", "torch": "torch"}[runtime.name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match="pip install 'fleetfront"):
        runtime.open(data)
    with pytest.raises(MissingDependency):
        runtime.version()


def test_threads_are_honoured(runtime: Runtime) -> None:
    b = GraphBuilder("g")
    weight = b.weight("w", np.ones((32, 32, 3, 3), np.float32))
    graph = b.build([b.conv2d(b.input("x", (1, 32, 64, 64), layout="NCHW"), weight, padding=1)])
    script = (
        "import os, sys, numpy as np\n"
        "from fleetfront.runtimes.catalogue import load_runtime\n"
        "from fleetfront.runtimes.feeds import random_feeds\n"
        "runtime = load_runtime(sys.argv[1])\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "data = sys.stdin.buffer.read()\n"
        "def added(count):\n"
        "    before = threads()\n"
        "    session = runtime.open(data, threads=count)\n"
        "    call = session.bind(random_feeds(session, np.random.default_rng(0)))\n"
        "    call()\n"
        "    return threads() - before\n"
        "runtime.open(data)\n"
        "print(added(1), added(3))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, runtime.name],
        input=WRITERS[runtime.name](graph),
        capture_output=True,
        check=True,
    )
    one, three = (int(word) for word in done.stdout.split())
    assert (one, three) == (0, 2)
    if runtime.name == "litert":
        assert b"XNNPACK" not in done.stderr


def test_random_feeds_fit_any_port() -> None:
    ports = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4]),
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, 7]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, [None, 2]),
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, []),
    ]
    nodes = [helper.make_node("Identity", [port.name], [f"{port.name}_out"]) for port in ports]
    outs = [helper.make_tensor_value_info(f"{p.name}_out", p.type.tensor_type.elem_type, None) for p in ports]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports, outs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = load_runtime("onnxruntime").open(model.SerializeToString())
    feeds = random_feeds(session, np.random.default_rng(0))
    assert {name: (a.shape, a.dtype.name) for name, a in feeds.items()} == {
        "image": ((1, 3, 4), "float32"),
        "tokens": ((1, 7), "int64"),
        "mask": ((1, 2), "bool"),
        "half": ((), "float16"),
    }
    results = session.run(feeds)
    np.testing.assert_array_equal(results["tokens_out"], feeds["tokens"])
    assert set(np.unique(feeds["tokens"])) <= {0, 1}
    session.bind(feeds)()


def test_inputs_that_are_no_numbers_cannot_be_drawn() -> None:
    port = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    out = helper.make_tensor_value_info("out", TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["out"])], "g", [port], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = load_runtime("onnxruntime").open(model.SerializeToString())
    with pytest.raises(InputError, match="'text' of the file is string"):
        random_feeds(session, np.random.default_rng(0))


def test_a_tflite_file_without_signature_goes_by_tensor_names() -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(write_tflite(graph_of()))
    model.signatureDefs = None
    for tensor, name in zip(model.subgraphs[0].tensors, ("first", "second"), strict=False):
        tensor.name = name
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    session = load_runtime("litert").open(bytes(builder.Output()))
    assert [port.name for port in session.inputs] == ["first", "second"]


def test_the_catalogue_finds_runtimes_by_name_and_by_file() -> None:
    assert tuple(all_facts()) == ("litert", "torch", "onnxruntime", "tensorrt", "tflite-runtime", "tensorflow-lite")
    for name, facts in all_facts().items():
        assert load_runtime(name).name == facts.name == name
        for ending in facts.formats:
            serves = "litert" if ending == "tflite" else name
            assert runtime_for_file(Path(f"net.{ending.upper()}")).name == serves
    with pytest.raises(InputError, match="Did you mean 'onnxruntime'"):
        load_runtime("onnx-runtime")
    with pytest.raises(InputError, match=r"'\.pt' .*export --torch FILE\.py:FACTORY"):
        runtime_for_file(Path("net.pt"))


def test_the_catalogue_loads_nothing_heavy() -> None:
    script = (
        "import sys, fleetfront.runtimes.catalogue as c\n"
        "[c.load_runtime(name) for name in c.all_facts()]\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_ort_files_open_whatever_they_are_called(tmp_path: Path) -> None:
    from fleetfront.deploy.writers.ort.writer import write_ort

    graph = graph_of()
    data = write_ort(write_onnx(graph))
    for name in ("net.ort", "cached.onnx"):
        (tmp_path / name).write_bytes(data)
        assert [port.name for port in load_runtime("onnxruntime").open(tmp_path / name).inputs] == list(graph.inputs)
    assert runtime_for_file(tmp_path / "net.ort").open(data).inputs


def test_files_that_do_not_open_name_their_own_remedy(tmp_path: Path) -> None:
    def model(kind: str = "MatMul", ir: int = 8, opset: int = 17, domain: str = "") -> onnx.ModelProto:
        weight = onnx.numpy_helper.from_array(np.ones((40, 30), np.float32), "w")
        ports = [onnx.helper.make_tensor_value_info(name, 1, [1, size]) for name, size in (("x", 40), ("y", 30))]
        node = onnx.helper.make_node(kind, ["x", "w"], ["y"], domain=domain)
        graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], [weight])
        opsets = [
            onnx.helper.make_opsetid(name, version)
            for name, version in {"": opset, domain: 1 if domain else opset}.items()
        ]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir)

    remedies = {
        "newer": (model(ir=99), "Update onnxruntime"),
        "opset": (model(opset=99), "Update onnxruntime"),
        "custom": (model("Fancy", domain="com.example"), "operators of another package"),
        "split": (model(), "file of weights that it names beside it"),
    }
    for name, (made, remedy) in remedies.items():
        path = tmp_path / f"{name}.onnx"
        if name == "split":
            onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
            (tmp_path / "weights.bin").unlink()
        else:
            onnx.save(made, path)
        with pytest.raises(InputError) as caught:
            load_runtime("onnxruntime").open(path)
        assert remedy in caught.value.remedy, str(caught.value)
