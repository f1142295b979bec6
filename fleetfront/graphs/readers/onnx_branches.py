"""Put the branch of an ``If`` whose condition is a constant in its place: the other one is never run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleetfront.graphs.graph import Array
from fleetfront.graphs.readers.outline import MOST_LOOKED_AT

if TYPE_CHECKING:
    import onnx


def inline_taken_branches(
    model: onnx.ModelProto, constants: dict[str, Array]
) -> dict[str, tuple[tuple[int, ...], int]] | None:
    """Large constants that came with the branches, by name their sizes and type; None if there was nothing to do.

    They become inputs, as those of the main graph do; small ones join ``constants``.
    """
    from onnx import helper, numpy_helper

    graph, nodes, large = model.graph, [], dict[str, tuple[tuple[int, ...], int]]()
    is_changed = False
    for node in graph.node:
        condition = constants.get(node.input[0]) if node.op_type == "If" and node.input else None
        branch = None if condition is None or condition.size != 1 else _branch(node, is_then=bool(condition.item()))
        if branch is None:
            nodes.append(node.SerializeToString())
            continue
        is_changed = True
        made = {name for one in branch.node for name in one.output} | {one.name for one in branch.initializer}
        names = {name: f"{node.output[0]}/{name}" for name in made if name}
        for tensor in branch.initializer:
            name = names[tensor.name]
            if math.prod(tensor.dims) > MOST_LOOKED_AT:
                large[name] = (tuple(tensor.dims), tensor.data_type)
                graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
                continue
            constants[name] = numpy_helper.to_array(tensor)
            graph.initializer.append(numpy_helper.from_array(constants[name], name))
        for one in branch.node:
            _rename(one, names)
            nodes.append(one.SerializeToString())
        for said, output in zip(branch.output, node.output, strict=False):
            same = helper.make_node(
                "Identity", [names.get(said.name, said.name)], [output], f"{node.name or output}/taken"
            )
            nodes.append(same.SerializeToString())
    if not is_changed:
        return None
    del graph.node[:]
    for data in nodes:
        graph.node.add().ParseFromString(data)
    return large


def _branch(node: onnx.NodeProto, *, is_then: bool) -> onnx.GraphProto | None:
    """A copy of the branch that is taken, if it makes as many results as the node says."""
    import onnx

    wanted = "then_branch" if is_then else "else_branch"
    found = next((one.g for one in node.attribute if one.name == wanted and one.HasField("g")), None)
    if found is None or len(found.output) != len(node.output) or found.sparse_initializer:
        return None
    branch = onnx.GraphProto()
    branch.CopyFrom(found)
    return branch


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give the tensors of a node their new names, those that graphs inside it read from around it, too."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    pending = [one.g for one in node.attribute if one.HasField("g")]
    while pending:
        graph = pending.pop()
        for one in graph.node:
            one.input[:] = [names.get(name, name) for name in one.input]
            pending += [inner.g for inner in one.attribute if inner.HasField("g")]
        for said in graph.output:
            said.name = names.get(said.name, said.name)
