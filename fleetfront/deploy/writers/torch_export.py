"""Write a user's own torch network as files, through the general exporters: torch.onnx and litert-torch.

They are slower than the writers here and promise no equal bytes.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import InputContract, scale_and_shift
from fleetfront.deploy.writers.torch_zoo import is_zoo_name, load_from_zoo
from fleetfront.errors import InputError, missing
from fleetfront.spaces.supernet.torch_file import is_refusal
from fleetfront.user_code import import_file, neighbours, reason_of

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18

INPUT, LOGITS = "input", "logits"

#: Functions of a file that are named where none is near.
_LISTED = 10


def load_factory(spec: str) -> nn.Module:
    """The network of ``load_pair``. Raises as that does, and InputError if an input comes with it."""
    network, given = load_pair(spec)
    if given is not None:
        raise InputError(f"{spec} gave a tuple.", "Return a torch.nn.Module with its weights loaded.")
    return network


def load_pair(spec: str) -> tuple[nn.Module, Any]:
    """The network that ``module.py:factory`` makes or is, or a zoo has by that name, in eval mode. User's code is run.

    Beside it the input that the function gave with it; None where it gave none.

    Raises:
        InputError: there is no such file or function, it fails, or what it gives is no ``torch.nn.Module`` that can be
            exported.
        MissingDependency: torch is not installed.
    """
    try:
        from torch import nn
    except ImportError as error:
        raise missing("torch", "torch", "Exporting a torch network") from error
    if is_zoo_name(spec):
        network = load_from_zoo(spec)
    else:
        path, name = split_factory(spec)
        network = load_from_file(path, name, "Name a function without arguments that gives the network.")
    network, given = network if isinstance(network, tuple) and len(network) == 2 else (network, None)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{spec} gave a {type(network).__name__}.", "Return a torch.nn.Module with its weights loaded."
        )
    _check_exportable(spec, network)
    return network.eval(), given


def split_factory(spec: str) -> tuple[Path, str]:
    """File and function of ``module.py:factory``. Raises InputError if it is not spelled so."""
    text, _, name = spec.rpartition(":")
    if not text or not name.isidentifier() or Path(text).suffix != ".py":
        path = spec.partition(":")[0] if spec.partition(":")[0].endswith(".py") else "FILE.py"
        raise InputError(
            f"{spec!r} does not name a factory, the function that gives the network, or a zoo's network (timm:NAME).",
            f"Write {path}:FUNCTION.",
        )
    return Path(text), name


def load_from_file(path: Path, name: str, remedy: str) -> Any:
    """Call the function ``name`` of a Python file, or take the object itself if it is a network or is not called.

    Raises InputError if there is no such file or function, or the user's code fails.
    """
    from torch import nn

    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Give the path of a Python file.")
    with neighbours(path):
        module = import_file(path)
        found: Any = getattr(module, name, None)
        if found is None:
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            near = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
            has = f" It has: {', '.join(own[:_LISTED])}." if own else ""
            raise InputError(
                f"{path} has no function {name!r}.", f"Did you mean {near[0]!r}?" if near else remedy + has
            )
        if isinstance(found, nn.Module) or not callable(found):
            return found
        try:
            return found()
        except (Exception, SystemExit) as error:
            if is_refusal(error):
                raise InputError(
                    f"{path}:{name} loads a file that holds more than tensors, so torch refuses it.",
                    "Save the network's state_dict with torch.save, and load that.",
                ) from error
            raise InputError(f"{path}:{name} failed: {reason_of(error)}", "Repair it.") from error


def name_of(spec: str) -> str:
    """The factory, or the zoo's name for the network. Raises InputError if ``spec`` is neither."""
    return spec.partition(":")[2] if is_zoo_name(spec) else split_factory(spec)[1]


def weights_of(spec: str, module: nn.Module, licence: str) -> dict[str, Any]:
    """The weights of what ``load_factory`` gave, as a manifest tells of them: networks of a zoo come untrained."""
    facts: dict[str, Any] = {"random": is_zoo_name(spec), "id": weights_id(module), "source": spec, "licence": licence}
    if facts["random"]:
        facts["source"] = f"random numbers of a fixed seed in {spec}; the network knows nothing"
    return facts


def spec_neighbours(spec: str) -> contextlib.AbstractContextManager[None]:
    """``neighbours`` of the file that ``spec`` names; a zoo's network has none."""
    return contextlib.nullcontext() if is_zoo_name(spec) else neighbours(Path(spec.rpartition(":")[0]))


def _check_exportable(spec: str, network: nn.Module) -> None:
    """Raise InputError for networks that no exporter here takes."""
    import torch

    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(
            f"{spec} gave a TorchScript module, which torch.onnx does not export.", "Return its nn.Module."
        )
    quantised = [name for name, module in network.named_modules() if ".quantized" in type(module).__module__]
    if quantised:
        raise InputError(
            f"{spec} is a quantised torch network ({quantised[0]}), which no exporter here writes.",
            "Return the float network; --precisions int8 quantises its files.",
        )
    floats = {str(one.dtype) for one in network.parameters() if one.is_floating_point() and one.dtype != torch.float32}
    if floats:
        raise InputError(f"{spec} has weights in {min(floats)}.", "Return the network in float32: network.float()")


def weights_id(network: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all tensors that the network's state holds."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        is_known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
        # NumPy has no bfloat16 and smaller; float32 holds all their values.
        array = (tensor if is_known else tensor.float()).detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def under_contract(
    network: nn.Module, contract: InputContract, native_layout: str, preprocessing: Preprocessing
) -> nn.Module:
    """The network as files want it: images in their layout, bytes scaled, channels in RGB again, softmax behind."""
    import torch
    from torch import nn

    # Channels are in RGB again when they are scaled.
    scaling = scale_and_shift(preprocessing.mean, preprocessing.std, replace(contract, channels="rgb"))
    scale, shift = (torch.from_numpy(array) for array in scaling)
    turns = contract.layout(native_layout) == "NHWC" and native_layout == "NCHW"

    class Wrapped(nn.Module):
        scale: Tensor
        shift: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

        def forward(self, images: Tensor) -> Tensor:
            if turns:
                images = images.permute(0, 3, 1, 2)
            if contract.channels == "bgr":
                images = images.flip(1)
            if contract.scales_inside:
                images = images.to(torch.float32) * self.scale + self.shift
            scores: Tensor = self.network(images)
            return scores.softmax(-1) if contract.softmax else scores

    return Wrapped().eval()


def export_onnx(network: nn.Module, example: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """The ``.onnx`` file of a network for inputs like ``example``, through ``torch.onnx``.

    Inputs and outputs get the given names, in order.

    Raises:
        InputError: the exporter gives up.
        MissingDependency: onnxscript is not installed.
    """
    import torch

    if importlib.util.find_spec("onnxscript") is None:
        raise missing("onnxscript", "export", "torch.onnx")
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                network,
                tuple(example),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            raise InputError(
                f"torch.onnx gave up ({reason_of(error)}).",
                "Rewrite what it cannot trace: branches and shapes that depend on the input's values.",
            ) from error
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def export_tflite(network: nn.Module, example: Tensor) -> bytes:
    """The ``.tflite`` file of a network for NCHW images like ``example``, through litert-torch; the file takes NHWC.

    Raises:
        InputError: the exporter gives up.
        MissingDependency: litert-torch is not installed.
    """
    from fleetfront.spaces.from_torch.exporting import load_litert_torch

    litert_torch = load_litert_torch()
    with _quiet(), tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
        path = Path(folder) / "network.tflite"
        try:
            last = litert_torch.to_channel_last_io(network, args=[0])
            litert_torch.convert(last, (example.permute(0, 2, 3, 1).contiguous(),)).export(str(path))
            return path.read_bytes()
        except Exception as error:
            raise InputError(f"litert-torch gave up ({reason_of(error)}).", "Leave tflite out of --formats.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk on every channel there is; what matters of it is in their exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
