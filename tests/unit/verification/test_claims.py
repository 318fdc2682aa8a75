"""What a manifest says of an artifact's inside is held against its file."""

from __future__ import annotations

import pytest

from squeeze_export.bundle.manifest import ArtifactRecord
from squeeze_export.contracts.contents import Contents
from squeeze_export.verification import claims
from tests.unit.evaluation.evaluations import REPORT, SIGNATURE


def record(**changes):
    plain = {"target": "tflite", "precision": "fp32", "path": "net.tflite", "sha256": "0" * 64, "size_bytes": 4}
    none = dict.fromkeys(("deployment_target", "bytecode_version", "notice"))
    said = {"signature": SIGNATURE, "operators": ("CONV_2D",), "folded_weights": (), "parity": REPORT, "witnesses": ()}
    return ArtifactRecord(**plain, **none, **said, **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"transposes": 2}, []),
        ({}, []),  # a bundle from before they were counted
        ({"transposes": 0}, ["transposes is 0 in the manifest, 2 in the file"]),
    ],
)
def test_transposes_are_counted_again(changes, told):
    assert claims.of_contents(record(**changes), Contents(operators=("CONV_2D",), transposes=2)) == told
