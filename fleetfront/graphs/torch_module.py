"""Runs a Graph in torch: what each operator family computes, as a pure function and as an ``nn.Module``.

Importing this module imports torch, so other modules import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fleetfront.errors import InputError, missing
from fleetfront.graphs.graph import Array, Graph, Operator

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    from fleetfront.graphs.torch_depthwise import depthwise_conv2d, is_faster
except ImportError as error:
    raise missing("torch", "torch", "Running a network in torch") from error

#: Share of the newest batch in a module's running statistics; torch's own default.
MOMENTUM = 0.1

#: Computes one batch_norm operator: (operator, data, scale, shift, mean, variance) -> data normalised.
BatchNorm = Callable[[Operator, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]

_Compute = Callable[[Sequence[Tensor], Mapping[str, Any]], Tensor]


def _pad(data: Tensor, padding: Sequence[int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = padding
    return F.pad(data, (left, right, top, bottom), value=value) if any(padding) else data


def _conv2d(operands: Sequence[Tensor], attributes: Mapping[str, Any]) -> Tensor:
    top, left, bottom, right = attributes["padding"]
    data, padding = operands[0], (top, left)
    if (top, left) != (bottom, right):
        data, padding = _pad(data, attributes["padding"]), (0, 0)
    bias = operands[2] if len(operands) > 2 else None
    stride, dilation = tuple(attributes["stride"]), tuple(attributes.get("dilation", (1, 1)))
    is_plain = bias is None and dilation == (1, 1) and stride[0] == stride[1] and padding[0] == padding[1]
    if is_plain and is_faster(data, operands[1], stride[0], padding[0], int(attributes["groups"])):
        return depthwise_conv2d(data, operands[1], stride[0], padding[0])
    return F.conv2d(data, operands[1], bias, stride, padding, dilation, int(attributes["groups"]))


def _linear(operands: Sequence[Tensor], _: Mapping[str, Any]) -> Tensor:
    return F.linear(operands[0], operands[1], operands[2] if len(operands) > 2 else None)


def _max_pool2d(operands: Sequence[Tensor], attributes: Mapping[str, Any]) -> Tensor:
    data = _pad(operands[0], attributes["padding"], float("-inf"))
    return F.max_pool2d(data, tuple(attributes["kernel"]), tuple(attributes["stride"]))


def _average_pool2d(operands: Sequence[Tensor], attributes: Mapping[str, Any]) -> Tensor:
    kernel, stride = tuple(attributes["kernel"]), tuple(attributes["stride"])
    data = operands[0]
    averages = F.avg_pool2d(_pad(data, attributes["padding"]), kernel, stride)
    if not any(attributes["padding"]):
        return averages
    inside = _pad(torch.ones_like(data[:1, :1]), attributes["padding"])
    return averages / F.avg_pool2d(inside, kernel, stride)


def _global_average_pool(operands: Sequence[Tensor], _: Mapping[str, Any]) -> Tensor:
    return operands[0].mean(dim=(2, 3), keepdim=True)


def _flatten(operands: Sequence[Tensor], _: Mapping[str, Any]) -> Tensor:
    return operands[0].flatten(1)


#: Family -> what it computes. ``batch_norm`` and ``reshape`` need more than operands and are computed in ``run_graph``.
_COMPUTE: dict[str, _Compute] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "relu": lambda operands, _: F.relu(operands[0]),
    "relu6": lambda operands, _: F.relu6(operands[0]),
    "hard_swish": lambda operands, _: F.hardswish(operands[0]),
    "hard_sigmoid": lambda operands, _: F.hardsigmoid(operands[0]),
    "sigmoid": lambda operands, _: torch.sigmoid(operands[0]),
    "add": lambda operands, _: operands[0] + operands[1],
    "multiply": lambda operands, _: operands[0] * operands[1],
    "max_pool2d": _max_pool2d,
    "average_pool2d": _average_pool2d,
    "global_average_pool": _global_average_pool,
    "softmax": lambda operands, attributes: F.softmax(operands[0], dim=attributes["axis"]),
    "concat": lambda operands, attributes: torch.cat(list(operands), dim=attributes["axis"]),
    "flatten": _flatten,
    "transpose": lambda operands, attributes: operands[0].permute(tuple(attributes["permutation"])),
    "cast": lambda operands, attributes: operands[0].to(getattr(torch, attributes["dtype"])),
}


def batch_statistics(
    operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """Batch-norm as in training: normalises with the statistics of ``data``; the running ones stay untouched."""
    return F.batch_norm(data, None, None, scale, shift, training=True, eps=operator.attributes["epsilon"])


def running_statistics(
    operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """Batch-norm as in inference: normalises with the given ``mean`` and ``variance``."""
    return F.batch_norm(data, mean, variance, scale, shift, training=False, eps=operator.attributes["epsilon"])


def run_graph(
    graph: Graph,
    weights: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor] | Sequence[Tensor],
    *,
    training: bool = False,
    batch_norm: BatchNorm | None = None,
) -> tuple[Tensor, ...]:
    """The outputs of ``graph`` in the order that it names them; differentiable in ``weights`` and ``inputs``.

    Args:
        graph: only its structure is used, so its own weights may be placeholders.
        weights: a tensor for every weight of the graph, by name.
        inputs: one tensor an input, NCHW for images, by name or in order. The batch may differ from the declared one.
        training: batch-norm uses the statistics of the batch instead of the given ones. Nothing is changed in place.
        batch_norm: computes batch-norm instead, e.g. to collect statistics; overrides ``training``.

    Raises:
        InputError: an input or weight is missing.
    """
    normalise = batch_norm or (batch_statistics if training else running_statistics)
    values = _fed(graph, inputs)
    symbols = _symbols(graph, values)
    last_use = {name: index for index, operator in enumerate(graph.operators) for name in operator.inputs}
    for index, operator in enumerate(graph.operators):
        operands = [values[name] if name in values else _weight(graph, weights, name) for name in operator.inputs]
        if operator.family == "batch_norm":
            result = normalise(operator, *operands)
        elif operator.family == "reshape":
            result = operands[0].reshape(_target_shape(graph, operator, operands[0], symbols))
        else:
            result = _COMPUTE[operator.family](operands, operator.attributes)
        values[operator.output] = result
        for name in operator.inputs:
            # Without this every activation of a network would stay in memory in inference.
            if last_use[name] == index and name not in graph.outputs:
                values.pop(name, None)
    return tuple(values[name] for name in graph.outputs)


def _fed(graph: Graph, inputs: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, Tensor]:
    fed = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(graph.inputs, inputs, strict=False))
    if set(fed) != set(graph.inputs) or (not isinstance(inputs, Mapping) and len(inputs) != len(graph.inputs)):
        raise InputError(
            f"Graph {graph.name!r} was fed {sorted(fed)}.", f"Feed exactly its inputs: {', '.join(graph.inputs)}."
        )
    return fed


def _weight(graph: Graph, weights: Mapping[str, Tensor], name: str) -> Tensor:
    try:
        return weights[name]
    except KeyError:
        raise InputError(
            f"No weight {name!r} was given for graph {graph.name!r}.", "Give a tensor for each of Graph.weights."
        ) from None


def _symbols(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, int]:
    """What each symbolic dimension of the inputs is this time."""
    return {
        dimension: size
        for name, value in values.items()
        for dimension, size in zip(graph.tensors[name].shape, value.shape, strict=True)
        if isinstance(dimension, str)
    }


def _target_shape(graph: Graph, operator: Operator, data: Tensor, symbols: Mapping[str, int]) -> list[int]:
    target = [symbols[d] if isinstance(d, str) else int(d) for d in operator.attributes["shape"]]
    declared = graph.tensors[operator.inputs[0]].shape
    if declared[:1] == tuple(operator.attributes["shape"][:1]):
        target[0] = data.shape[0]
    return target


class TorchModule(nn.Module):
    """A graph as a module: convolution, linear and batch-norm weights are parameters, running statistics buffers.

    In training mode batch-norm uses the batch and moves the running statistics as ``nn.BatchNorm2d`` does.
    ``forward`` takes the inputs in order and returns the output, or a tuple of several.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        statistics = {name for o in graph.operators if o.family == "batch_norm" for name in o.inputs[3:]}
        self._attribute: dict[str, str] = {}
        for name, array in graph.weights.items():
            # A parameter's name may hold no dot and must not hide a method of the module.
            attribute = self._attribute[name] = "w/" + name.replace(".", "/")
            # A copy: the array may be read-only, shared or of zero stride.
            tensor = torch.from_numpy(np.array(array, order="C"))
            if name in statistics or not tensor.is_floating_point():
                self.register_buffer(attribute, tensor)
            else:
                self.register_parameter(attribute, nn.Parameter(tensor))
        if len(set(self._attribute.values())) != len(self._attribute):
            raise InputError(
                f"Two weights of graph {graph.name!r} differ only in '.' and '/'.", "Give them other names."
            )

    @property
    def weights(self) -> dict[str, Tensor]:
        """The live parameters and buffers by the graph's names."""
        return {name: getattr(self, attribute) for name, attribute in self._attribute.items()}

    def arrays(self) -> dict[str, Array]:
        """Copies of all weights by the graph's names, as a Graph holds them."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.weights.items()}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        rule = _updating if self.training else running_statistics
        outputs = run_graph(self.graph, self.weights, inputs, batch_norm=rule)
        return outputs[0] if len(outputs) == 1 else outputs


def _updating(operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    epsilon = operator.attributes["epsilon"]
    return F.batch_norm(data, mean, variance, scale, shift, training=True, momentum=MOMENTUM, eps=epsilon)
