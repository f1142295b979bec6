"""Both writers against torch: the families of image networks by hand, then random graphs of all of them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.catalogue import FAMILIES
from tests.deploy.test_writers_more_families import CASES as MORE_CASES
from tests.deploy.test_writers_more_families import one_operator
from tests.deploy.test_writers_quantised import FAMILIES as QUANTISED
from tests.deploy.test_writers_quantised import one_operator as quantised
from tests.deploy.written import Builder, Make, agree, image_or_not

IMAGE = (2, 6, 9, 8)

CASES: dict[str, tuple[tuple[int, ...], Make]] = {
    "conv2d": (IMAGE, lambda b, x: b.conv(x, 5)),
    "conv2d without bias": (IMAGE, lambda b, x: b.conv(x, 5, bias=False)),
    "conv2d stride 2": (IMAGE, lambda b, x: b.conv(x, 5, stride=(2, 2))),
    "conv2d valid": (IMAGE, lambda b, x: b.conv(x, 5, padding=(0, 0, 0, 0))),
    "conv2d lopsided": (IMAGE, lambda b, x: b.conv(x, 5, (2, 3), (1, 2), (1, 0, 0, 2))),
    "conv2d dilated": (IMAGE, lambda b, x: b.conv(x, 5, dilation=(2, 2), padding=(2, 2, 2, 2))),
    "conv2d in groups": (IMAGE, lambda b, x: b.conv(x, 9, groups=3)),
    "conv2d pointwise": (IMAGE, lambda b, x: b.conv(x, 5, (1, 1), padding=(0, 0, 0, 0))),
    "conv2d depthwise": (IMAGE, lambda b, x: b.conv(x, 6, (5, 5), padding=(2, 2, 2, 2), groups=6)),
    "conv2d depthwise stride 2": (IMAGE, lambda b, x: b.conv(x, 6, stride=(2, 2), groups=6)),
    "conv2d depthwise dilated": (IMAGE, lambda b, x: b.conv(x, 6, dilation=(2, 2), padding=(2,) * 4, groups=6)),
    "conv2d depthwise times 3": (IMAGE, lambda b, x: b.conv(x, 18, groups=6)),
    "conv2d of one channel": ((1, 1, 5, 5), lambda b, x: b.conv(x, 4)),
    "linear": ((3, 7), lambda b, x: b.linear(x, 4)),
    "linear without bias": ((3, 7), lambda b, x: b.linear(x, 4, bias=False)),
    "linear of a sequence": ((2, 5, 7), lambda b, x: b.linear(x, 4)),
    "linear of an image": (IMAGE, lambda b, x: b.linear(x, 4)),
    "linear of an image without bias": (IMAGE, lambda b, x: b.linear(x, 4, bias=False)),
    "batch_norm": (IMAGE, lambda b, x: b.norm(x)),
    "batch_norm after conv2d": (IMAGE, lambda b, x: b.norm(b.conv(x, 5, bias=False))),
    "batch_norm of a vector": ((3, 7), lambda b, x: b.norm(x)),
    "batch_norm of a sequence": ((2, 5, 7), lambda b, x: b.norm(b.linear(x, 4))),
    "relu": (IMAGE, lambda b, x: b.add("relu", [x])),
    "relu6": (IMAGE, lambda b, x: b.add("relu6", [b.add("add", [x, b.array((6, 1, 1), 4.0)])])),
    "relu6 of an input": (IMAGE, lambda b, x: b.add("relu6", [x])),
    "hard_swish": (IMAGE, lambda b, x: b.add("hard_swish", [b.add("multiply", [x, b.array((1,), 0.0, 3.0)])])),
    "hard_sigmoid": (IMAGE, lambda b, x: b.add("hard_sigmoid", [b.add("multiply", [x, b.array((), 0.0, 3.0)])])),
    "sigmoid": (IMAGE, lambda b, x: b.add("sigmoid", [x])),
    "add": (IMAGE, lambda b, x: b.add("add", [x, b.add("sigmoid", [x])])),
    "add to itself": (IMAGE, lambda b, x: b.add("add", [x, x])),
    "add a matrix": (IMAGE, lambda b, x: b.add("add", [x, b.array((9, 8))])),
    "add a computed matrix": (IMAGE, lambda b, x: b.add("add", [x, b.add("relu", [b.array((9, 8))])])),
    "add a computed column": (IMAGE, lambda b, x: b.add("add", [b.add("relu", [b.array((6, 1, 1))]), x])),
    "add to a sequence": ((2, 5, 7), lambda b, x: b.add("add", [b.array((5, 1)), x])),
    "add in five dimensions": ((2, 3, 2, 4, 5), lambda b, x: b.add("add", [x, b.add("relu", [b.array((1, 2, 4, 5))])])),
    "multiply": (IMAGE, lambda b, x: b.add("multiply", [x, b.add("sigmoid", [b.add("global_average_pool", [x])])])),
    "multiply by a constant first": (IMAGE, lambda b, x: b.add("multiply", [b.array((1, 6, 1, 1)), x])),
    "max_pool2d": (IMAGE, lambda b, x: b.pool(x, "max_pool2d", (2, 2), (2, 2), (0, 0, 0, 0))),
    "max_pool2d same": (IMAGE, lambda b, x: b.pool(x, "max_pool2d", (3, 3), (1, 1), (1, 1, 1, 1))),
    "max_pool2d padded": (IMAGE, lambda b, x: b.pool(x, "max_pool2d", (3, 3), (2, 2), (1, 1, 1, 1))),
    "max_pool2d of negatives": (
        IMAGE,
        lambda b, x: b.pool(
            b.add("add", [b.add("sigmoid", [x]), b.array((1,), 0.0, -5.0)]), "max_pool2d", (3, 3), (2, 2), (1, 1, 1, 1)
        ),
    ),
    "average_pool2d": (IMAGE, lambda b, x: b.pool(x, "average_pool2d", (2, 3), (2, 1), (0, 0, 0, 0))),
    "average_pool2d same": (IMAGE, lambda b, x: b.pool(x, "average_pool2d", (3, 3), (1, 1), (1, 1, 1, 1))),
    "average_pool2d padded": (IMAGE, lambda b, x: b.pool(x, "average_pool2d", (3, 3), (2, 2), (1, 1, 1, 1))),
    "average_pool2d lopsided": (IMAGE, lambda b, x: b.pool(x, "average_pool2d", (3, 2), (2, 1), (2, 0, 0, 1))),
    "global_average_pool": (IMAGE, lambda b, x: b.add("global_average_pool", [x])),
    "softmax of channels": (IMAGE, lambda b, x: b.add("softmax", [x], axis=1)),
    "softmax of columns": (IMAGE, lambda b, x: b.add("softmax", [x], axis=3)),
    "softmax of rows": (IMAGE, lambda b, x: b.add("softmax", [x], axis=2)),
    "softmax of a batch": ((3, 7), lambda b, x: b.add("softmax", [x], axis=0)),
    "softmax of logits": ((3, 7), lambda b, x: b.add("softmax", [x], axis=-1)),
    "concat of channels": (IMAGE, lambda b, x: b.add("concat", [x, b.conv(x, 2), x], axis=1)),
    "concat of rows": (IMAGE, lambda b, x: b.add("concat", [x, b.array((2, 6, 1, 8))], axis=2)),
    "concat of sequences": ((2, 5, 7), lambda b, x: b.add("concat", [x, x], axis=1)),
    "concat from behind": (IMAGE, lambda b, x: b.add("concat", [x, x], axis=-1)),
    "reshape of an image": (IMAGE, lambda b, x: b.add("reshape", [x], shape=(2, 6, 72))),
    "reshape to an image": ((2, 12), lambda b, x: b.add("reshape", [x], shape=(2, 3, 2, 2), layout="NCHW")),
    "reshape to four dimensions": ((2, 12), lambda b, x: b.add("reshape", [x], shape=(2, 3, 2, 2))),
    "reshape between images": (IMAGE, lambda b, x: b.add("reshape", [x], shape=(2, 3, 18, 8), layout="NCHW")),
    "reshape of an image to four dimensions": (IMAGE, lambda b, x: b.add("reshape", [x], shape=(2, 3, 18, 8))),
    "attention heads": ((2, 5, 6), lambda b, x: heads(b, x)),
    "add four dimensions to an image": (
        IMAGE,
        lambda b, x: b.add("add", [x, b.add("reshape", [b.add("sigmoid", [x])], shape=IMAGE)]),
    ),
    "split of channels": (
        IMAGE,
        lambda b, x: b.add("concat", b.add_all("split", [x], axis=1, sizes=(4, 2))[::-1], axis=1),
    ),
    "split of columns": (IMAGE, lambda b, x: b.add_all("split", [x], axis=-1, sizes=(3, 3, 2))[1]),
    "split of a sequence": ((2, 5, 7), lambda b, x: b.add_all("split", [x], axis=1, sizes=(1, 4))[1]),
    "reshape of a column": ((2, 6, 1, 1), lambda b, x: b.add("reshape", [x], shape=(1, 2, 6))),
    "reshape to a column": ((2, 6), lambda b, x: b.add("reshape", [x], shape=(2, 6, 1, 1))),
    "channel shuffle": (
        IMAGE,
        lambda b, x: b.add(
            "reshape",
            [b.add("transpose", [b.add("reshape", [x], shape=(2, 2, 3, 9, 8))], permutation=(0, 2, 1, 3, 4))],
            shape=IMAGE,
            layout="NCHW",
        ),
    ),
    "flatten": (IMAGE, lambda b, x: b.linear(b.add("flatten", [x]), 3)),
    "flatten of a column": ((2, 6, 1, 1), lambda b, x: b.add("flatten", [x])),
    "flatten of a sequence": ((2, 5, 7), lambda b, x: b.add("flatten", [x])),
    "transpose": (IMAGE, lambda b, x: b.add("transpose", [x], permutation=(0, 3, 1, 2))),
    "transpose to channels last": (IMAGE, lambda b, x: b.add("transpose", [x], permutation=(0, 2, 3, 1))),
    "transpose of the batch": (IMAGE, lambda b, x: b.add("transpose", [x], permutation=(1, 0, 3, 2))),
    "transpose of nothing": (IMAGE, lambda b, x: b.add("transpose", [x], permutation=(0, 1, 2, 3))),
    "transpose of a matrix": ((3, 7), lambda b, x: b.add("transpose", [x], permutation=(1, 0))),
    "transpose of six dimensions": (
        (1, 2, 3, 2, 3, 2),
        lambda b, x: b.add("transpose", [x], permutation=(0, 3, 5, 1, 4, 2)),
    ),
    "cast to integers and back": (
        IMAGE,
        lambda b, x: b.add("cast", [b.add("cast", [x], dtype="int32")], dtype="float32"),
    ),
    "cast of weights kept in half": (IMAGE, lambda b, x: half_weights(b, x)),
}


def heads(b: Builder, x: str) -> str:
    """The queries of an attention: four dimensions that are no image."""
    y = b.add("transpose", [b.add("reshape", [x], shape=(2, 5, 3, 2))], permutation=(0, 2, 1, 3))
    return b.add("softmax", [b.linear(b.add("multiply", [y, b.array((3, 1, 1))]), 4)], axis=2)


def half_weights(b: Builder, x: str) -> str:
    """Every kind of operator that reads weights, of float16 weights, also one that two operators read."""

    def half(shape: Sequence[int]) -> str:
        weight = b.weight(f"h{len(b._weights)}", b.rng.normal(0, 0.3, shape).astype(np.float16))
        return b.add("cast", [weight], dtype="float32")

    shared = half((6, 1, 1))
    x = b.conv2d(x, half((6, 6, 3, 3)), half((6,)), padding=1)
    x = b.conv2d(x, half((6, 1, 3, 3)), padding=1, groups=6)
    x = b.add("multiply", [b.add("add", [x, shared]), shared])
    x = b.add("flatten", [b.add("global_average_pool", [x])])
    return b.add("linear", [x, half((4, 6)), half((4,))])


def make(name: str) -> Graph:
    shape, build = CASES[name]
    builder = Builder()
    return builder.build([build(builder, image_or_not(builder, "x", shape))], {"case": name})


@pytest.mark.parametrize("name", CASES)
def test_a_family_computes_the_same_in_every_runtime(name: str) -> None:
    agree(make(name))


def test_every_family_has_a_case() -> None:
    graphs = [*map(make, CASES), *map(one_operator, MORE_CASES), *map(quantised, QUANTISED)]
    used = {operator.family for graph in graphs for operator in graph.operators}
    written = {name for name, family in FAMILIES.items() if family.onnx is not None}
    assert used == written - {"opaque"} | {"batch_norm"}


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    """A few operators on whatever earlier ones made, weighted towards what convolutional networks hold."""
    b = Builder(draw(st.integers(0, 2**16)))
    image = (draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    pool = [image_or_not(b, "x", image)]
    if draw(st.booleans()):
        pool.append(image_or_not(b, "y", draw(st.sampled_from([image, image[1:], (image[0], 4), (1,)]))))
    for _ in range(draw(st.integers(1, 9))):
        x = draw(st.sampled_from(pool[-3:]))
        steps = IMAGE_STEPS if b.value(x).layout == "NCHW" else VECTOR_STEPS if len(b.shape(x)) > 1 else SCALAR_STEPS
        pool.append(draw(st.sampled_from(steps))(draw, b, x, pool))
    extra = draw(st.sampled_from(pool))
    outputs = [pool[-1]] + ([extra] if extra not in ("x", "y", pool[-1]) else [])
    return b.build(outputs, {"made": "by hypothesis"})


Step = Callable[[st.DrawFn, Builder, str, list[str]], str]


def conv_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    channels, *size = (int(d) for d in b.shape(x)[1:])
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    kernel = [draw(st.sampled_from([k for k in (1, 2, 3, 5) if k <= s + 2])) for s in size]
    top, left, bottom, right = (draw(st.integers(1, 2)) for _ in range(4))
    padding = draw(st.sampled_from([(1, 1, 1, 1), (top, left, bottom, right)]))
    if draw(st.booleans()) and all(k <= s for k, s in zip(kernel, size, strict=True)):
        padding = (0, 0, 0, 0)
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))
    out = groups * draw(st.integers(1, 3))
    return b.conv(x, out, (kernel[0], kernel[1]), stride, padding, groups=groups, bias=draw(st.booleans()))


def pool_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    kernel = [draw(st.integers(1, min(3, int(s)))) for s in b.shape(x)[2:]]
    padding = [draw(st.integers(0, k - 1)) for k in kernel] * 2
    stride = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
    return b.pool(x, draw(st.sampled_from(["max_pool2d", "average_pool2d"])), kernel, stride, padding)


def gate_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    """Squeeze and excitation, as in MobileNetV3."""
    y = b.add("global_average_pool", [x])
    for out, family in ((3, "relu"), (int(b.shape(x)[1]), "hard_sigmoid")):
        y = b.add(family, [b.conv(y, out, (1, 1), padding=(0, 0, 0, 0))])
    return b.add("multiply", [x, y] if draw(st.booleans()) else [y, x])


def unary_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    return b.add(draw(st.sampled_from(["relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid"])), [x])


def binary_step(draw: st.DrawFn, b: Builder, x: str, pool: list[str]) -> str:
    """With an earlier tensor where one fits, else with a constant; factors lie between 0 and 1."""
    shape = b.shape(x)
    fitting = [name for name in pool if _broadcasts(b.shape(name), shape)]
    other = draw(st.sampled_from(fitting))
    if draw(st.booleans()):
        other = b.array(
            tuple(draw(st.sampled_from([1, int(d)])) for d in shape[draw(st.integers(0, len(shape) - 1)) :])
        )
    operands = draw(st.permutations([x, other]))
    if draw(st.booleans()):
        return b.add("add", operands)
    return b.add("multiply", [operands[0], b.add("sigmoid", [operands[1]])])


def _broadcasts(shape: Sequence[int | str], target: Sequence[int | str]) -> bool:
    tail = target[len(target) - len(shape) :]
    return len(shape) <= len(target) and all(a in (1, b) for a, b in zip(shape, tail, strict=True))


def shape_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    shape = tuple(int(d) for d in b.shape(x))
    rank, size = len(shape), int(np.prod(shape[1:]))
    kind = draw(st.sampled_from(["flatten", "reshape", "transpose", "softmax", "concat", "split"]))
    if kind == "flatten":
        return b.add("flatten", [x])
    if kind == "reshape":
        split = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        targets = [
            (shape[0], split, size // split, 1),
            (shape[0], split, size // split),
            (split, size // split, shape[0]),
        ]
        target = draw(st.sampled_from(targets))
        layout = "NCHW" if len(target) == 4 and draw(st.booleans()) else ""
        return b.add("reshape", [x], shape=target, layout=layout)
    if kind == "transpose":
        return b.add("transpose", [x], permutation=tuple(draw(st.permutations(range(rank)))))
    axis = draw(st.integers(-rank, rank - 1))
    if kind == "split":
        first = draw(st.integers(1, max(1, shape[axis] - 1)))
        sizes = (first, shape[axis] - first) if shape[axis] > first else (first,)
        return draw(st.sampled_from(b.add_all("split", [x], axis=axis, sizes=sizes)))
    if kind == "softmax":
        return b.add("softmax", [x], axis=axis)
    return b.add("concat", [x, b.add("relu", [x])], axis=axis)


def linear_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    return b.linear(x, draw(st.integers(1, 4)), draw(st.booleans()))


def norm_step(draw: st.DrawFn, b: Builder, x: str, _: list[str]) -> str:
    return b.norm(x)


SCALAR_STEPS: list[Step] = [unary_step]
VECTOR_STEPS: list[Step] = [unary_step, binary_step, shape_step, linear_step, norm_step]
IMAGE_STEPS: list[Step] = [conv_step, conv_step, pool_step, gate_step, *VECTOR_STEPS]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_graphs())
def test_random_graphs_compute_the_same_in_every_runtime(graph: Graph) -> None:
    agree(graph)
