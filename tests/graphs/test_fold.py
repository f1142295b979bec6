from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, GraphBuilder


def _compute(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The few families of these tests in torch's own functions, in float64."""
    values: dict[str, torch.Tensor] = {name: torch.from_numpy(w).double() for name, w in graph.weights.items()}
    values[graph.inputs[0]] = torch.from_numpy(x).double()
    for operator in graph.operators:
        args: list[Any] = [values[name] for name in operator.inputs]
        attributes: Mapping[str, Any] = operator.attributes
        if operator.family == "conv2d":
            bias = args[2] if len(args) == 3 else None
            result = functional.conv2d(
                args[0], args[1], bias, padding=1 if args[1].shape[2] == 3 else 0, groups=attributes["groups"]
            )
        elif operator.family == "linear":
            result = functional.linear(*args)
        elif operator.family == "batch_norm":
            data, scale, shift, mean, variance = args
            result = functional.batch_norm(data, mean, variance, scale, shift, eps=attributes["epsilon"])
        elif operator.family == "relu":
            result = torch.relu(args[0])
        else:
            result = args[0] + args[1] if operator.family == "add" else args[0] * args[1]
        values[operator.output] = result
    return torch.stack([values[name].sum(dim=tuple(range(2, values[name].ndim))) for name in graph.outputs]).numpy()


def _norm(builder: GraphBuilder, data: str, name: str, rng: np.random.Generator) -> str:
    channels = int(builder.shape(data)[1])
    parameters = [
        builder.weight(f"{name}.{part}", values.astype(np.float32))
        for part, values in (
            ("scale", rng.uniform(0.5, 2, channels)),
            ("shift", rng.normal(size=channels)),
            ("mean", rng.normal(size=channels)),
            ("variance", rng.uniform(0.1, 3, channels)),
        )
    ]
    return builder.add("batch_norm", [data, *parameters], name, epsilon=1e-3)


def _conv(builder: GraphBuilder, data: str, name: str, rng: np.random.Generator, groups: int, bias: bool) -> str:
    channels = int(builder.shape(data)[1])
    weight = builder.weight(f"{name}.weight", rng.normal(size=(6, channels // groups, 3, 3)).astype(np.float32))
    offset = builder.weight(f"{name}.bias", rng.normal(size=6).astype(np.float32)) if bias else None
    return builder.conv2d(data, weight, offset, padding=1, groups=groups, name=name)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    bias=st.booleans(),
    groups=st.sampled_from([1, 2, 6]),
    norms=st.integers(1, 2),
    is_read_twice=st.booleans(),
    is_first=st.booleans(),
)
def test_folding_leaves_the_function(
    seed: int, bias: bool, groups: int, norms: int, is_read_twice: bool, is_first: bool
) -> None:
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("g")
    x = builder.input("x", (2, 6, 5, 5), layout="NCHW")
    if is_first:
        x = _norm(builder, x, "norm_first", rng)
    y = convolved = _conv(builder, x, "conv", rng, groups, bias)
    for index in range(norms):
        y = _norm(builder, y, f"norm_{index}", rng)
    y = builder.add("relu", [y])
    if is_read_twice:
        y = builder.add("add", [y, convolved])
    graph = builder.build([y])
    folded = fold_batch_norm(graph)
    data = rng.normal(size=(2, 6, 5, 5)).astype(np.float32)
    want, got = _compute(graph, data), _compute(folded, data)
    assert all(operator.family != "batch_norm" for operator in folded.operators)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_a_convolution_takes_the_norm_in_without_new_operators() -> None:
    rng = np.random.default_rng(0)
    builder = GraphBuilder("g")
    normed = _norm(
        builder, _conv(builder, builder.input("x", (1, 4, 8, 8), layout="NCHW"), "conv", rng, 1, False), "norm", rng
    )
    folded = fold_batch_norm(builder.build([builder.add("relu", [normed])]))
    assert [operator.family for operator in folded.operators] == ["conv2d", "relu"]
    assert folded.operators[0].inputs == ("x", "conv.weight", "norm.bias")
    assert set(folded.weights) == {"conv.weight", "norm.bias"}
    assert set(folded.tensors) == {"x", "norm", "relu_2"}
    assert folded.weights["conv.weight"].dtype == np.float32


def test_linear_of_two_dimensions_takes_the_norm_in() -> None:
    rng = np.random.default_rng(1)
    builder = GraphBuilder("g")
    weight = builder.weight("weight", rng.normal(size=(6, 4)).astype(np.float32))
    y = _norm(builder, builder.add("linear", [builder.input("x", (3, 4)), weight]), "norm", rng)
    graph = builder.build([y])
    folded = fold_batch_norm(graph)
    data = rng.normal(size=(3, 4)).astype(np.float32)
    assert [operator.family for operator in folded.operators] == ["linear"]
    np.testing.assert_allclose(_compute(folded, data), _compute(graph, data), rtol=1e-5, atol=1e-6)


def test_a_shared_weight_stays_for_its_other_reader() -> None:
    rng = np.random.default_rng(2)
    builder = GraphBuilder("g")
    x = builder.input("x", (1, 6, 4, 4), layout="NCHW")
    weight = builder.weight("weight", rng.normal(size=(6, 6, 1, 1)).astype(np.float32))
    normed = _norm(builder, builder.conv2d(x, weight), "norm", rng)
    plain = builder.conv2d(x, weight)
    graph = builder.build([normed, plain])
    data = rng.normal(size=(1, 6, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(_compute(fold_batch_norm(graph), data), _compute(graph, data), rtol=1e-5, atol=1e-5)
    assert np.array_equal(fold_batch_norm(graph).weights["weight"], graph.weights["weight"])


def test_a_graph_without_norms_is_returned_as_it_is() -> None:
    builder = GraphBuilder("g")
    graph = builder.build([builder.add("relu", [builder.input("x", (1, 4))])])
    assert fold_batch_norm(graph) is graph


def test_computed_parameters_are_refused() -> None:
    builder = GraphBuilder("g")
    x = builder.input("x", (1, 4, 2, 2), layout="NCHW")
    scale = builder.input("s", (4,))
    graph = builder.build([builder.add("batch_norm", [x, scale, scale, scale, scale], epsilon=1e-5)])
    with pytest.raises(InputError, match="'s', which is computed"):
        fold_batch_norm(graph)
