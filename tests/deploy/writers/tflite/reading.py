"""Reads what TFLite files say of themselves."""

import io
import zipfile

from ai_edge_litert import schema_py_generated as schema


def read_metadata(data: bytes) -> dict[str, bytes]:
    """The metadata of a file by name."""
    model = schema.Model.GetRootAs(data)
    entries = [model.Metadata(index) for index in range(model.MetadataLength())]
    return {entry.Name().decode(): model.Buffers(entry.Buffer()).DataAsNumpy().tobytes() for entry in entries}


def read_labels(data: bytes) -> tuple[str, ...]:
    """The labels packed into a file; empty if there are none."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return ()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return tuple(archive.read("labels.txt").decode().splitlines())
