"""contract.json: what an app must know of its model, and the labels that stand beside it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from squeeze_export.bundle.manifest import ArtifactRecord, Manifest


def labels_of(bundle: Path, manifest: Manifest) -> tuple[str, ...]:
    """The class names in index order; of a model that brings none, its class numbers."""
    if manifest.labels is None:
        return tuple(f"class {number}" for number in range(manifest.source.num_classes))
    # Only a line feed ends a label: splitlines would also split at a form feed or U+2028 inside a name.
    return tuple((bundle / manifest.labels.path).read_text(encoding="utf-8").removesuffix("\n").split("\n"))


def contract_of(
    manifest: Manifest, record: ArtifactRecord, model_file: str, labels: tuple[str, ...], bundle: Path
) -> dict[str, Any]:
    """What the app must know of its model; written as JSON into the project, documented in docs/explanation/starters.md."""
    crop = manifest.source.preprocessing.crop_record()
    golden = bundle / manifest.golden.path / "golden.json"
    independent = manifest.source.activation == "sigmoid"
    known = crop.keys() == {"resize", "height", "width"} and not independent
    return {
        "schema_version": 1 if known else 2,  # an older app must not do without the others
        "name": manifest.name,
        "model": manifest.source.model,
        "target": record.target,
        "precision": record.key.rung_in_names,
        "num_classes": manifest.source.num_classes,
        "parity": {"verdict": record.parity.verdict, "executor": record.parity.executor},
        "files": {
            "model": {"file": model_file, "sha256": record.sha256, "size_bytes": record.size_bytes},
            "labels": {"sha256": hashlib.sha256(label_bytes(labels)).hexdigest(), "count": len(labels)},
            "golden": {"sha256": hashlib.sha256(golden.read_bytes()).hexdigest()},
        },
        "preprocessing": crop,
        **({"activation": "sigmoid"} if independent else {}),
        "input": asdict(record.signature.input),
        # No app holds an output of integers: see fed_targets.
        "outputs": [{k: v for k, v in asdict(output).items() if k != "quantisation"} for output in record.signature.outputs],
    }


def label_bytes(labels: tuple[str, ...]) -> bytes:
    """The app's labels.txt."""
    return "".join(f"{label}\n" for label in labels).encode()
