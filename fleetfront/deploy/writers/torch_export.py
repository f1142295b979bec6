"""A user's own torch network as files, through the general exporters: torch.onnx and litert-torch. They are slower than
the writers here and promise no equal bytes.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.datasets import Preprocessing
from fleetfront.deploy.contract import InputContract, scale_and_shift
from fleetfront.errors import InputError, MissingDependency, missing

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18
#: The first ONNX Runtime that reads the file version which torch.onnx writes (IR 10).
ONNX_MINIMUM = "onnxruntime 1.18"

INPUT, LOGITS = "input", "logits"


def load_factory(spec: str) -> nn.Module:
    """The network that ``module.py:factory`` makes, in eval mode. It runs the user's code.

    Raises:
        InputError: there is no such file or function, it fails, or what it gives is no ``torch.nn.Module``.
        MissingDependency: torch is not installed.
    """
    try:
        from torch import nn
    except ImportError as error:
        raise missing("torch", "torch", "Exporting a torch network") from error
    text, _, name = spec.rpartition(":")
    path = Path(text)
    if not text or not name.isidentifier() or path.suffix != ".py":
        raise InputError(f"{spec!r} does not name a factory.", "Write module.py:factory.")
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Give the path of the Python file that makes the network.")
    factory = _function(_imported(path), name, path)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what users' code prints is not the command's answer
            network = factory()
    except (Exception, SystemExit) as error:
        raise InputError(f"{spec} failed: {type(error).__name__}: {error}", "Repair the factory.") from error
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{spec} gave a {type(network).__name__}.", "Return a torch.nn.Module with its weights loaded."
        )
    return network.eval()


def _function(module: Any, name: str, path: Path) -> Callable[[], Any]:
    own = [key for key, value in vars(module).items() if _is_made_in(module, value)]
    found: Any = getattr(module, name, None)
    if not callable(found):
        near = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
        remedy = f"Did you mean {near[0]!r}?" if near else "Name a function without arguments that gives the network."
        raise InputError(f"{path} has no function {name!r}.", remedy)
    function: Callable[[], Any] = found
    return function


def _is_made_in(module: Any, value: object) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _imported(path: Path) -> Any:
    module_name = f"fleetfront_user_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(module_name, path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"{path} is not a Python file.", "Write module.py:factory.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}", "Repair it.") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


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

    scale, shift = (torch.from_numpy(array) for array in scale_and_shift(preprocessing.mean, preprocessing.std, "rgb"))
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
            if contract.input == "uint8":
                images = images.to(torch.float32) * self.scale + self.shift
            scores: Tensor = self.network(images)
            return scores.softmax(-1) if contract.softmax else scores

    return Wrapped().eval()


def export_onnx(network: nn.Module, example: Tensor, output: str) -> bytes:
    """The ``.onnx`` file of a network for inputs like ``example``, through ``torch.onnx``.

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
                (example,),
                input_names=[INPUT],
                output_names=[output],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:
            raise InputError(
                f"torch.onnx gave up ({_short(error)}).",
                "Rewrite what it cannot trace: branches and shapes that depend on the image's values.",
            ) from error
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def export_tflite(network: nn.Module, example: Tensor) -> bytes:
    """The ``.tflite`` file of a network for NCHW images like ``example``, through litert-torch; the file takes NHWC.

    Raises:
        InputError: the exporter gives up.
        MissingDependency: litert-torch is not installed.
    """
    try:
        with _quiet():
            import litert_torch
    except ImportError as error:
        raise MissingDependency(
            "Writing a torch network as TFLite needs the package litert-torch, which is not installed.",
            "It wants older versions of some packages, so in an environment of its own run: "
            "pip install 'fleetfront[cpu,torch,export-tflite]'",
        ) from error
    with _quiet(), tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
        path = Path(folder) / "network.tflite"
        try:
            last = litert_torch.to_channel_last_io(network, args=[0])
            litert_torch.convert(last, (example.permute(0, 2, 3, 1).contiguous(),)).export(str(path))
            return path.read_bytes()
        except Exception as error:
            raise InputError(f"litert-torch gave up ({_short(error)}).", "Leave tflite out of --formats.") from error


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


def _short(error: BaseException) -> str:
    """The first line of what began it: exporters wrap their reasons in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
