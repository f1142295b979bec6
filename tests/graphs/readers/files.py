"""ONNX files are made here, node by node, for tests of readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

node = helper.make_node
OPSETS = {"": 18, "com.example": 1}


def port(name: str, shape: Sequence[int | str] | None, dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def write_onnx_nodes(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, Any] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 18,
    functions: Sequence[FunctionProto] = (),
    tensors: Sequence[TensorProto] = (),
) -> Path:
    """A file of float inputs; weights are arrays, ``tensors`` are initialisers as they are."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [port(name, shape) for name, shape in inputs.items()],
        [port(name, None) for name in outputs],
        [*(numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()), *tensors],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {**OPSETS, "": opset}.items()]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path
