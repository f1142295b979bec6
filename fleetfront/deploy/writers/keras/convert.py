"""Convert a Keras model or a SavedModel to TFLite and run it on drawn inputs: a program for TensorFlow's environment.

It imports tensorflow and numpy alone, since fleetfront need not be installed there. Called as
``python convert.py MODEL FOLDER SAMPLES``, it writes ``network.tflite``, ``facts.json`` and ``samples.npz`` (arrays
``in/S/NAME`` and ``out/S/NAME``) into FOLDER; what a user can mend ends it with exit code 2 and a line of JSON on
standard output.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


class Refused(Exception):
    """A model that cannot be converted, and what to do about it."""


def load(path: Path) -> Any:
    """Variables' holder, call by keyword and input specs by name, of a Keras file or a SavedModel's signature."""
    import tensorflow as tf

    if path.is_dir():
        loaded = tf.saved_model.load(str(path))
        if "serving_default" not in loaded.signatures:
            raise Refused(
                f"It has no signature serving_default, only {sorted(loaded.signatures)}.", "Save it with one."
            )
        signature = loaded.signatures["serving_default"]
        return loaded, (lambda **fed: signature(**fed)), dict(signature.structured_input_signature[1])
    model = tf.keras.models.load_model(path, compile=False)
    specs = {one.name: tf.TensorSpec(one.shape, one.dtype, one.name) for one in model.inputs}

    def call(**fed: Any) -> Any:
        given = fed if len(fed) > 1 else next(iter(fed.values()))
        results = tf.nest.flatten(model(given, training=False))
        return {f"output_{place}": result for place, result in enumerate(results)}

    return model, call, specs


def fixed(specs: Any) -> Any:
    """The specs for one inference: an open batch is 1; no other size is guessed."""
    import tensorflow as tf

    found = {}
    for name, spec in specs.items():
        shape = spec.shape.as_list() if spec.shape.rank is not None else [None, None]
        shape = [1 if place == 0 and size is None else size for place, size in enumerate(shape)]
        if any(size is None for size in shape):
            raise Refused(
                f"Its input {name} leaves sizes open: {spec.shape}.", "Save it with every size but the batch's."
            )
        found[name] = tf.TensorSpec(shape, spec.dtype, name)
    return found


def frozen(call: Any, specs: Any) -> Any:
    """The call as a function of those inputs whose weights are constants.

    As variables, the converter leaves them to be read before anything has set them, and runtimes then answer with what
    lay in memory.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(call).get_concrete_function(**specs)
    constant, names = convert_variables_to_constants_v2(traced), sorted(traced.structured_outputs)

    def serve(**fed: Any) -> Any:
        return dict(zip(names, constant(*(fed[name] for name in sorted(fed))), strict=True))

    return tf.function(serve).get_concrete_function(**specs)


def drawn(specs: Any, samples: int) -> list[dict[str, Any]]:
    """Inputs by name: floats of standard deviation 1 and 2 in turn, integers 0 and 1, each draw another."""
    rng = np.random.default_rng(0)
    found = []
    for place in range(samples):
        fed = {}
        for name, spec in specs.items():
            kind = spec.dtype.as_numpy_dtype
            if np.issubdtype(kind, np.floating):
                fed[name] = ((1 + place % 2) * rng.standard_normal(spec.shape.as_list())).astype(kind)
            else:
                fed[name] = rng.integers(0, 2, spec.shape.as_list()).astype(kind)
        found.append(fed)
    return found


def convert(path: Path, folder: Path, samples: int) -> None:
    """Fill ``folder`` from the model at ``path``. Raises Refused where the user must change the model."""
    import tensorflow as tf

    held, call, open_specs = load(path)
    specs = fixed(open_specs)
    serve = frozen(call, specs)
    holder = tf.Module()
    holder.model, holder.serve = held, serve
    tf.saved_model.save(holder, str(folder / "saved"), signatures={"serving_default": serve})
    (folder / "network.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert())
    arrays: dict[str, Any] = {}
    for place, fed in enumerate(drawn(specs, samples)):
        # Run as Keras runs it, outside of the traced function that was converted.
        given = call(**{name: tf.constant(array) for name, array in fed.items()})
        arrays |= {f"in/{place}/{name}": array for name, array in fed.items()}
        arrays |= {f"out/{place}/{name}": np.asarray(result) for name, result in given.items()}
    np.savez(folder / "samples.npz", **arrays)
    facts = {"tensorflow": tf.__version__, "inputs": sorted(specs), "kind": "SavedModel" if path.is_dir() else "Keras"}
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    except Refused as refused:
        sys.stdout.write(json.dumps(refused.args) + "\n")
        sys.exit(2)
