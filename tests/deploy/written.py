"""Builder makes graphs with random weights for the writers' tests; ``agree`` runs both files against torch."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.graphs.graph import Graph, GraphBuilder

#: Of the outputs' range. Rounding of fp32 gives about 1e-7 an operator.
ROUNDING = 1e-5
#: Values are near one, so this is rounding even where the outputs hardly differ from each other.
ROUNDING_NEAR_ONE = 1e-6


class Builder(GraphBuilder):
    """Adds operators with random weights that keep values near one, where rounding is all that may differ."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__("graph")
        self.rng = np.random.default_rng(seed)

    def array(self, shape: Sequence[int], deviation: float = 1.0, mean: float = 0.0) -> str:
        values = self.rng.normal(mean, deviation, shape).astype(np.float32)
        return self.weight(f"w{len(self._weights)}", values)

    def conv(
        self,
        x: str,
        out: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (1, 1, 1, 1),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
    ) -> str:
        shape = (out, int(self.shape(x)[1]) // groups, *kernel)
        operands = [x, self.array(shape, 1 / np.sqrt(np.prod(shape[1:])))] + ([self.array((out,))] if bias else [])
        return self.add("conv2d", operands, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def linear(self, x: str, out: int, bias: bool = True) -> str:
        width = int(self.shape(x)[-1])
        operands = [x, self.array((out, width), 1 / np.sqrt(width))] + ([self.array((out,))] if bias else [])
        return self.add("linear", operands)

    def norm(self, x: str) -> str:
        channels = (int(self.shape(x)[1]),)
        parameters = [self.array(channels, 0.1, mean) for mean in (1.0, 0.0, 0.0)]
        variance = self.weight(f"v{len(self._weights)}", self.rng.uniform(0.5, 2, channels).astype(np.float32))
        return self.add("batch_norm", [x, *parameters, variance], epsilon=1e-5)

    def pool(self, x: str, family: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> str:
        return self.add(family, [x], kernel=tuple(kernel), stride=tuple(stride), padding=tuple(padding))


def agree(graph: Graph) -> tuple[bytes, bytes]:
    """Both files pass their checks, compute what torch does, and are the same every time."""
    onnx_file, tflite_file = write_onnx(graph), write_tflite(graph)
    onnx.checker.check_model(onnx.load_from_string(onnx_file), full_check=True)
    for file, runtime in ((onnx_file, "onnxruntime"), (tflite_file, "litert")):
        proof = prove(graph, file, runtime, 2, limit=ROUNDING)
        assert proof.passed or proof.max_abs_error <= ROUNDING_NEAR_ONE, f"{runtime}: {proof}"
    assert write_onnx(graph) == onnx_file
    assert write_tflite(graph) == tflite_file
    return onnx_file, tflite_file


Make = Callable[[Builder, str], str]


def image_or_not(b: Builder, name: str, shape: tuple[int, ...]) -> str:
    return b.input(name, shape, layout="NCHW" if len(shape) == 4 else "")
