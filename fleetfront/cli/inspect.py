"""``fleetfront inspect``: what a model file or torch network computes and moves, and who will not take it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table
from fleetfront.cli.options import json_option
from fleetfront.errors import InputError

if TYPE_CHECKING:
    from fleetfront.pipelines.inspect import Inspection


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--torch", "spec", metavar="FILE.py:FACTORY", help="A function that gives a torch network, or timm:NAME.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,224,224",
    help="Sizes that the file leaves open, or of --torch.",
)
@click.option("--example", metavar="INPUTS", help="inputs.py[:NAME] or x.npz: what --torch is fed, if no image.")
@click.option("--signature", default="", metavar="NAME", help="Of a .tflite file that has several.")
@click.option("--operators", "each", is_flag=True, help="A row for every operator, too.")
@json_option
def inspect(
    file: Path | None,
    spec: str | None,
    shapes: tuple[str, ...],
    example: str | None,
    signature: str,
    each: bool,
    as_json: bool,
) -> None:
    """Say what a model holds: inputs, outputs, operators, multiply-accumulates, parameters, bytes, memory.

    FILE is a .onnx or .tflite file; nothing in it is run, and weights are not looked at. With --torch FILE.py is run:
    FACTORY takes no arguments and returns a torch.nn.Module, which runs once on tensors without data.

    \b
    Examples:
      fleetfront inspect model.onnx
      fleetfront inspect detector.onnx --shape images=1,3,640,640 --operators
      fleetfront inspect --torch mynet.py:make --shape 1,3,128,128
      fleetfront inspect model.tflite --json | jq '.kinds[0]'
    """
    found = _inspected(file, spec, shapes, example, signature)
    if as_json:
        print_json(found.to_json())
        return
    print_table(("what", "value"), _facts(found))
    echo()
    print_table(("operators", "count", "million MACs", "weights MiB", "moved MiB"), _kinds(found))
    if each:
        echo()
        print_table(("operator", "kind", "million MACs", "weights MiB", "moved MiB", "gives"), _each(found))
    for one in found.not_taken:
        what = ", ".join(f"{kind} x{count}" for kind, count in one.operators.items())
        end = f"they {one.leaves}" if one.leaves else "it refuses the file"
        hint(f"{one.engine}: {what + ' ' if what else ''}{one.reason}; {end if what else f'operators {one.leaves}'}.")
    for note in found.notes:
        hint(note)
    if found.path is not None:
        next_command(_next(found.path, shapes))


def _next(path: Path, shapes: Sequence[str]) -> str:
    """Profile the file at the sizes that were inspected, with arrays where it computes by what they hold."""
    from fleetfront.profilers.steering import steering_inputs

    sizes = "".join(f" --shape {shlex.quote(text)}" for text in shapes)
    arrays = " --inputs x.npz" if steering_inputs(path) else ""
    return f"fleetfront profile --file {shlex.quote(str(path))} --device cpu{sizes}{arrays}"


def _inspected(
    file: Path | None, spec: str | None, shapes: tuple[str, ...], example: str | None, signature: str
) -> Inspection:
    from fleetfront.graphs.input_shapes import parse_shapes
    from fleetfront.pipelines.inspect import inspect as look

    if (file is None) == (spec is None):
        raise InputError(
            "Name one model: a file, or --torch FILE.py:FACTORY.", "For example: fleetfront inspect model.onnx"
        )
    sizes = parse_shapes(shapes)
    if file is not None:
        if example is not None:
            raise InputError("--example is for --torch.", "A file's own inputs take --shape NAME=1,3,224,224.")
        return look(file, shapes=sizes, signature=signature)
    from fleetfront.pipelines.torch_samples import load_sampled

    return look(*load_sampled(str(spec), sizes, example))


def _facts(found: Inspection) -> list[tuple[str, str]]:
    from fleetfront.graphs.costs import weights_by_type

    graph = found.graph
    rows = [("file", str(found.path))] if found.path is not None else [("network", graph.name)]
    if found.path is not None:
        rows.append(("size", f"{_mib(found.file_bytes)} MiB, sha256 {found.sha256[:16]}"))
    for what, names in (("input", graph.inputs), ("output", graph.outputs)):
        for name in names:
            tensor = graph.tensors[name]
            rows.append((what, f"{name} {tensor.dtype}[{', '.join(map(str, tensor.shape))}]"))
    rows += [("left open by the file", str(port)) for port in found.open_inputs]
    unknown = sum(not cost.is_known for cost in found.costs)
    least = "at least " if unknown else ""
    beside = f", {unknown} of them not counted" if unknown else ""
    weights = ", ".join(f"{name} {_mib(size)} MiB" for name, size in weights_by_type(graph).items())
    return [
        *rows,
        ("precision", found.precision + (f" (weights: {weights})" if weights else "")),
        ("operators", f"{len(found.costs)}{beside}"),
        ("multiply-accumulates", f"{least}{_figure(found.macs / 1e6)} million"),
        ("parameters", f"{_figure(found.parameters / 1e6)} million"),
        ("bytes moved", f"{least}{_mib(found.moved_bytes)} MiB if nothing is fused"),
        ("activations at once", f"{least}{_mib(found.peak_bytes)} MiB if nothing is overwritten in place"),
    ]


def _kinds(found: Inspection) -> list[tuple[str, ...]]:
    return [
        (
            kind.name,
            str(kind.operators),
            "?" if kind.unknown == kind.operators else _figure(kind.macs / 1e6),
            _mib(kind.parameters_bytes),
            _mib(kind.moved_bytes),
        )
        for kind in found.kinds
    ]


def _each(found: Inspection) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for row in found.to_json()["operators"]:
        moved = row["read_bytes"] + row["written_bytes"] + row["weight_bytes"]
        macs = "?" if row["macs"] is None else _figure(row["macs"] / 1e6)
        gives = "; ".join("x".join(map(str, shape)) for shape in row["outputs"])
        rows.append((_short(row["name"]), row["kind"], macs, _mib(row["weight_bytes"]), _mib(moved), gives))
    return rows


def _short(name: str) -> str:
    return name if len(name) <= _WIDEST else f"...{name[3 - _WIDEST :]}"


def _mib(size: float) -> str:
    return _figure(size / 2**20)


def _figure(value: float) -> str:
    return "<0.001" if 0 < value < 0.001 else f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


#: Characters of an operator's name in a table; its end tells more.
_WIDEST = 44
