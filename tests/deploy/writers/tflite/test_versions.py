import numpy as np

from fleetfront.deploy.writers.tflite.flatbuffer import TfliteFile
from fleetfront.deploy.writers.tflite.versions import NEWEST, oldest_runtime
from fleetfront.deploy.writers.tflite.writer import minimum_runtime


def test_the_oldest_runtime_follows_the_operators() -> None:
    assert oldest_runtime([("CONV_2D", 1), ("ADD", 1)]) == "1.5.0"
    assert oldest_runtime([("CONV_2D", 1), ("HARD_SWISH", 1)]) == "1.15.0"
    assert oldest_runtime([("CONV_2D", 6), ("HARD_SWISH", 1)]) == "2.9.0"


def test_operators_of_transformers_count_though_no_writer_here_knows_them() -> None:
    file = TfliteFile("vit")
    x = file.tensor("x", (1, 4), "float32")
    weight = file.constant("w", np.eye(4, dtype=np.float32))
    product = file.tensor("product", (1, 4), "float32")
    file.operator("BATCH_MATMUL", (x, weight), (product,), table="BatchMatMulOptions", version=1)
    y = file.tensor("y", (1, 4), "float32")
    file.operator("GELU", (product,), (y,), table="GeluOptions", version=1, approximate=False)
    assert minimum_runtime(file.finish({"x": x}, {"y": y}, {})) == "tflite 2.9.0"


def test_what_the_table_does_not_have_is_newer_than_it() -> None:
    assert oldest_runtime([("CONV_2D", 1), ("STABLEHLO_COMPOSITE", 1)]) == NEWEST
    assert oldest_runtime([("ADD", 9)]) == NEWEST
    assert oldest_runtime([("ADD", 1), ("CUSTOM", 1)]) == "1.5.0"
