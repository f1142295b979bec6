"""Files whose weights alone are narrow: which forms ONNX Runtime and LiteRT run, how large they are, and in what time.

The precisions w8 and w4 are chosen from them, and stand beside them as they are written. Weights are random, times are
the least of many runs on one thread (CPU time), forms in turns. Means are of networks that are drawn; the smallest of
two spaces stand alone, where a form may be slower. Of single operators LiteRT's hybrid kernel stands beside that of
float, which tells where w8 leaves it out.

    python benchmarks/weight_only.py
"""

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from machine import write
from onnx import TensorProto, helper, numpy_helper

from fleetfront.deploy.formats import FORMATS
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.subnets import smallest

SPACE, NETWORKS, TURNS = "ofa-mbv3-w1.0", 3, 30
#: Spaces whose smallest network stands alone.
SMALLEST = ("ofa-mbv3-mini", "ofa-mbv3-w1.0")
#: Products by name: channels in and out, kernel, side, stride; depthwise where the first two are None and channels.
OPERATORS: dict[str, tuple[int | None, int, int, int, int]] = {
    **{
        f"1x1 {a} to {b} @{side}": (a, b, 1, side, 1)
        for a, b, side in (
            (16, 64, 64),
            (64, 24, 64),
            (24, 96, 8),
            (96, 24, 8),
            (32, 192, 4),
            (192, 32, 4),
            (40, 160, 28),
            (160, 40, 28),
            (112, 672, 14),
            (960, 160, 7),
            (64, 16, 1),
            (240, 64, 1),
            (960, 240, 1),
        )
    },
    "3x3 3 to 16 @32/2": (3, 16, 3, 32, 2),
    "3x3 3 to 16 @224/2": (3, 16, 3, 224, 2),
    "3x3 16 to 16 @32": (16, 16, 3, 32, 1),
    "3x3 64 to 64 @56": (64, 64, 3, 56, 1),
    **{
        f"depthwise {k}x{k} {channels} @{side}": (None, channels, k, side, 1)
        for channels, side in (
            (16, 16),
            (96, 8),
            (160, 28),
            (960, 7),
        )
        for k in (3, 5, 7)
    },
}
OPERATOR_TURNS = 200
#: Operators whose second operand are weights, and the largest value of an int8 and an int4.
_WEIGHTED, _LARGEST = ("Conv", "Gemm", "MatMul"), {8: 127, 4: 7}
_Run = Callable[[], tuple[float, Any]]


def onnx_form(data: bytes, bits: int, widen: str) -> bytes:
    """A float file with narrow weights, a scale a channel, which ``widen`` makes float again."""
    model = onnx.load_from_string(data)
    graph, made = model.graph, []
    kinds = {node.input[1]: node.op_type for node in graph.node if node.op_type in _WEIGHTED}
    for weight in list(graph.initializer):
        array = numpy_helper.to_array(weight)
        if weight.name not in kinds or array.dtype != np.float32:
            continue
        axis = array.ndim - 1 if kinds[weight.name] == "MatMul" else 0
        others = tuple(i for i in range(array.ndim) if i != axis)
        scale = np.maximum(np.abs(array).max(axis=others, keepdims=True), 1e-12) / _LARGEST[bits]
        narrow = np.clip(np.round(array / scale), -_LARGEST[bits], _LARGEST[bits]).astype(np.int8)
        if bits == 4:
            weight.CopyFrom(helper.make_tensor(weight.name, TensorProto.INT4, narrow.shape, narrow.ravel().tolist()))
        else:
            weight.CopyFrom(numpy_helper.from_array(narrow, weight.name))
        scaled = scale.ravel() if widen == "DequantizeLinear" else scale
        names = [f"{weight.name}/{part}" for part in ("scale", "cast", "wide")]
        graph.initializer.append(numpy_helper.from_array(scaled.astype(np.float32), names[0]))
        if widen == "DequantizeLinear":
            made.append(helper.make_node(widen, [weight.name, names[0]], names[2:], axis=axis))
        else:
            made.append(helper.make_node("Cast", [weight.name], names[1:2], to=TensorProto.FLOAT))
            made.append(helper.make_node("Mul", names[1::-1], names[2:]))
        for node in graph.node:
            node.input[:] = [names[2] if name == weight.name else name for name in node.input]
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    if bits == 4:
        # The first operator set with int4.
        for opset in model.opset_import:
            opset.version = 21 if not opset.domain else opset.version
        model.ir_version = 10
    result: bytes = model.SerializeToString()
    return result


def tflite_form(data: bytes, name: str) -> bytes:
    """A float file by one of ai-edge-quantizer's recipes."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        made = quantizer.Quantizer(data, getattr(recipe, name)())
        return bytes(made.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def onnx_run(data: bytes, image: np.ndarray[Any, Any]) -> _Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> tuple[float, Any]:
        started = time.process_time()
        (outputs,) = session.run(None, {name: image})
        return time.process_time() - started, outputs

    return run


def tflite_run(data: bytes, image: np.ndarray[Any, Any]) -> _Run:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    fed, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    turned = np.ascontiguousarray(image.transpose(0, 2, 3, 1))

    def run() -> tuple[float, Any]:
        interpreter.set_tensor(fed, turned)
        started = time.process_time()
        interpreter.invoke()
        return time.process_time() - started, interpreter.get_tensor(given)

    return run


FORMS: dict[str, dict[str, Callable[[bytes], bytes]]] = {
    "onnx": {
        "fp32": lambda data: data,
        "int8 weights, DequantizeLinear": lambda data: onnx_form(data, 8, "DequantizeLinear"),
        "int8 weights, Cast and Mul": lambda data: onnx_form(data, 8, "Cast"),
        "int4 weights, DequantizeLinear": lambda data: onnx_form(data, 4, "DequantizeLinear"),
        "w8": lambda data: FORMATS["onnx"].weights_alone(data, 8),
        "w4": lambda data: FORMATS["onnx"].weights_alone(data, 4),
    },
    "tflite": {
        "fp32": lambda data: data,
        "int8 weights": lambda data: tflite_form(data, "weight_only_wi8_afp32"),
        "int8 weights, activations int8 as they come": lambda data: tflite_form(data, "dynamic_wi8_afp32"),
        "int4 weights": lambda data: tflite_form(data, "weight_only_wi4_afp32"),
        "int4 weights, activations int8 as they come": lambda data: tflite_form(data, "dynamic_wi4_afp32"),
        "w8": lambda data: FORMATS["tflite"].weights_alone(data, 8),
        "w4": lambda data: FORMATS["tflite"].weights_alone(data, 4),
    },
}
#: Of single operators.
OPERATOR_FORMS = ("int8 weights, activations int8 as they come", "int8 weights")
RUNS = {"onnx": onnx_run, "tflite": tflite_run}


def product(given: int | None, made: int, kernel: int, side: int, stride: int) -> Graph:
    """One convolution and a ReLU; depthwise if ``given`` is None."""
    builder, rng = GraphBuilder("product"), np.random.default_rng(0)
    data = builder.input("input", (1, given or made, side, side), layout=IMAGE)
    weight = builder.weight("weight", rng.normal(size=(made, given or 1, kernel, kernel)).astype(np.float32))
    bias = builder.weight("bias", rng.normal(size=made).astype(np.float32))
    groups = 1 if given else made
    made_by = builder.conv2d(data, weight, bias, stride=stride, padding=kernel // 2, groups=groups)
    return builder.build([builder.add("relu", [made_by])])


def measure_operators() -> list[dict[str, Any]]:
    """Times of single products in LiteRT: hybrid, and with weights that are widened when the file is opened."""
    rows = []
    for name, settings in OPERATORS.items():
        graph = product(*settings)
        written = {form: FORMS["tflite"][form](FORMATS["tflite"].write(graph)) for form in ("fp32", *OPERATOR_FORMS)}
        times, _ = timed("tflite", written, graph, OPERATOR_TURNS)
        rows.append({"operator": name, "us": 1e6 * times["fp32"]})
        rows[-1] |= {form: times[form] / times["fp32"] for form in OPERATOR_FORMS}
        print(f"{name:22}", *(f"{form} {rows[-1][form]:.2f}" for form in OPERATOR_FORMS))
    return rows


def timed(kind: str, written: dict[str, bytes], graph: Graph, turns: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Least seconds, and the outputs, of files by form."""
    image = np.random.default_rng(0).normal(size=graph.tensors[graph.inputs[0]].shape).astype(np.float32)
    runs = {name: RUNS[kind](data, image) for name, data in written.items()}
    times: dict[str, float] = {}
    outputs = {}
    for turn in range(turns + 1):
        for name, run in runs.items():
            seconds, outputs[name] = run()
            times[name] = seconds if turn < 2 else min(times[name], seconds)
    return times, outputs


def measure_network(label: str, graph: Graph) -> list[dict[str, Any]]:
    """Bytes, time and change of every form of one network, as shares of its float file."""
    rows = []
    for kind, forms in FORMS.items():
        written = {name: make(FORMATS[kind].write(graph)) for name, make in forms.items()}
        times, outputs = timed(kind, written, graph, TURNS)
        spread = float(outputs["fp32"].std())
        for name, data in written.items():
            rows.append(
                {
                    "network": label,
                    "format": kind,
                    "form": name,
                    "bytes_of_fp32": len(data) / len(written["fp32"]),
                    "time_of_fp32": times[name] / times["fp32"],
                    "off_of_spread": float(np.abs(outputs[name] - outputs["fp32"]).max()) / spread,
                }
            )
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")
    space, rows, small = load_space(SPACE), [], []
    for genotype in space.canonical(space.sample(NETWORKS, np.random.default_rng(0))):
        ((graph, _),) = space.subnet_graphs(genotype).values()
        rows += measure_network(space.arch_id(genotype), graph)
    for name in SMALLEST:
        one = load_space(name)
        ((graph, _),) = one.subnet_graphs(smallest(one)).values()  # type: ignore[arg-type]
        small += measure_network(name, graph)
    means: list[dict[str, Any]] = []
    for kind, forms in FORMS.items():
        for name in forms:
            of = [row for row in rows if (row["format"], row["form"]) == (kind, name)]
            figures = ("bytes_of_fp32", "time_of_fp32", "off_of_spread")
            means.append(
                {"format": kind, "form": name, **{key: float(np.mean([row[key] for row in of])) for key in figures}}
            )
            print(f"{kind:7} {name:45}", *(f"{key} {means[-1][key]:.3f}" for key in figures))
    for row in small:
        print(f"smallest of {row['network']:14} {row['format']:7} {row['form']:45} time {row['time_of_fp32']:.2f}")
    found = {"means": means, "rows": rows, "smallest": small, "operators": measure_operators()}
    write("weight_only", {"space": SPACE, "networks": NETWORKS, "turns": TURNS, **found})


if __name__ == "__main__":
    main()
