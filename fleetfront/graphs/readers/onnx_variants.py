"""Rules for ONNX nodes whose attributes say which of several things they do, and what attributes say no such thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetfront.graphs.readers.node import Node, Plan

if TYPE_CHECKING:
    import onnx

#: The version of the operator set since which softmax works along one axis.
_ONE_AXIS = 13
#: Attributes that change numbers, or how they are said, and not how much there is to do.
_PLAIN = """
    activation activation_params alpha axis beta bias bias_term cubic_coeff_a consumed_inputs count_include_pad dtype
    epsilon exclude_outside extrapolation_value gamma hidden_size keep_aspect_ratio_policy keepdims kernel_shape lambd
    linear_before_reset momentum nearest_mode num_outputs opset output_dtype p ratio round_mode saturate seed
    select_last_index spatial stash_type storage_order to training_mode value
"""
PLAIN = frozenset(_PLAIN.split())


def plan_softmax(node: Node) -> Plan:
    """Before version 13 all axes from one on, by default the second, were one."""
    flattens = 0 < node.version < _ONE_AXIS
    axis = node.attributes.get("axis", 1 if flattens else -1)
    is_last = axis in (-1, len(node.shape()) - 1)
    return Plan("softmax", node.operands(0), {"axis": axis} | ({"flattens": True} if flattens and not is_last else {}))


def plan_resize(node: Node) -> Plan:
    """The mode, whether pixels are averaged, and whether the nearest one is the one before."""
    said = node.attributes
    mode = str(said.get("mode", "nearest"))
    found: dict[str, Any] = {"antialias": True} if said.get("antialias") else {}
    # Coordinates are worked out once, whatever they are; those beyond the data are another thing.
    coordinates = said.get("coordinate_transformation_mode", "half_pixel")
    if (mode, coordinates, said.get("nearest_mode")) == ("nearest", "asymmetric", "floor"):
        found["places"] = "floor"
    if coordinates == "tf_crop_and_resize":
        return Plan("resize", node.operands(0), {"mode": f"{mode} cropped", **node.said()})
    said.get("axes")
    return Plan("resize", node.operands(0), {"mode": mode, **found, **node.said()})


def plan_slice(node: Node) -> Plan:
    """Where it begins is of no account; steps are, which older files do not have. None are said of those fed."""
    shape = node.shape()
    steps: tuple[int, ...] = (1,) * len(shape)
    if node.has(4):
        said = node.numbers(4) if node.inputs[4] in node.constants else None
        axes = node.numbers(3) if said and node.has(3) else range(len(said or ()))
        stepped = {axis % len(shape): step for axis, step in zip(axes, said or (), strict=True)}
        steps = tuple(stepped.get(axis, 1) for axis in range(len(shape))) if said else ()
    return Plan("rearrange", node.operands(0), {"function": "slice", "steps": steps, **node.said()})


def plan_blocks(node: Node) -> Plan:
    """Channels that become finer pixels: the order of both is a mode; or pixels that become channels."""
    said, mode = {"function": node.kind.lower(), "block": int(node.attributes["blocksize"])}, {}
    if said["function"] == "depthtospace":
        mode = {"mode": str(node.attributes.get("mode", "DCR")).lower()}
    return Plan("rearrange", node.operands(0), {**said, **mode, **node.said()})


def plan_gelu(node: Node) -> Plan:
    """By the error function, or by what comes near it."""
    how = str(node.attributes.get("approximate", "none"))
    return Plan("elementwise", node.operands(), {"function": "gelu", **({} if how == "none" else {"approximate": how})})


def usual_values(node: onnx.NodeProto, version: int) -> dict[str, Any]:
    """The values that a node's attributes have where it does not say them."""
    from onnx import defs, helper

    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return {}
    values = {name: one.default_value for name, one in schema.attributes.items() if one.default_value.name}
    found = {name: helper.get_attribute_value(value) for name, value in values.items()}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
