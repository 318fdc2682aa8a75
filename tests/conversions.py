"""TFLite exports whose conversion is not what is tested: it takes seven seconds, and many tests ask for the same network.

What it wrote is kept in the folder that all test processes share. Everything else of an export happens each time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from squeeze_export.exporters.tflite import exporter

_CONVERT = exporter._convert


def export(source, settings, path, *more):
    """As the exporter's own `export`, but a network that was converted before is not converted again."""
    with mock.patch.object(exporter, "_convert", _converted):
        return exporter.export(source, settings, path, *more)


def _converted(network, spec):
    """The converter's bytes for a network: the same weights, and the same outputs by name and number, make it the same."""
    image = torch.linspace(-1, 1, int(np.prod(spec.shape))).sin().reshape(spec.shape)
    with torch.no_grad():
        outputs = network(image)
    known = hashlib.sha256(repr((network, spec.name, spec.shape)).encode())
    for name, value in (*network.state_dict().items(), *outputs.items()):
        known.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes())
    kept = Path(os.environ["SQUEEZE_EXPORT_TESTS"].partition(":")[2]) / f"{known.hexdigest()}.tflite"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(_CONVERT(network, spec))
    return kept.read_bytes()
