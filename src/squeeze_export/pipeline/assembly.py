"""A bundle put together: labels, golden pack and reports beside the artifacts, starters, manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from squeeze_export.bundle import folder, manifest
from squeeze_export.contracts.artifact import (
    Target,
    TfliteRoute,
)
from squeeze_export.contracts.request import ExportRequest
from squeeze_export.contracts.source import SourceModel
from squeeze_export.exporters import EXPORTERS
from squeeze_export.exporters.tflite import exporter as tflite
from squeeze_export.golden.calibration import Calibration
from squeeze_export.pipeline.plan import starters_of
from squeeze_export.processes.jobs import GOLDEN, Result
from squeeze_export.sources.source import weight_digests
from squeeze_export.starters.projects import add_starters
from squeeze_export.starters.template import fed_targets, starter_folders
from squeeze_export.validation.runners import RUNNERS
from squeeze_export.versions import versions_of


def assemble(
    prepared: Path,
    job: Path,
    source: SourceModel,
    results: Iterable[Result],
    request: ExportRequest,
    images: Calibration | None,
    missing: tuple[manifest.MissingRecord, ...] = (),
) -> manifest.Manifest:
    """Lay labels, golden pack and reports beside the artifacts, and describe it all."""
    name = source.name
    (job / GOLDEN).rename(prepared / folder.GOLDEN)
    labels = None
    if source.labels is not None:
        path = prepared / folder.LABELS
        path.write_text("".join(f"{label}\n" for label in source.labels), encoding="utf-8")
        labels = manifest.file_record(prepared, path)
    records = tuple(_record(prepared, result) for result in results)
    (prepared / folder.PARITY).write_bytes(manifest.encode(folder.parity_record(name, records)))
    packages = {package for record in records for package in _packages(record.target, request.tflite_route)}
    return manifest.Manifest(
        schema_version=1,
        name=name,
        source=manifest.SourceRecord.of(
            source.model,
            source.num_classes,
            sum(math.prod(digest.shape) for digest in weight_digests(source)),
            source.weights,
            source.preprocessing,
            source.head,
            source.head_relu,
            activation=source.activation,
            model_gives=source.gives,
            model_output=source.output,
        ),
        tool_versions=versions_of({"squeeze-export", "torch", "numpy", "pillow", *packages}),
        labels=labels,
        golden=manifest.file_record(prepared, prepared / folder.GOLDEN),
        parity=manifest.file_record(prepared, prepared / folder.PARITY),
        starters=starter_folders(fed_targets(record.key for record in records), starters_of(request)),
        artifacts=records,
        calibration=images.record if images else None,
        missing=missing,
    )


def complete(prepared: Path, made: manifest.Manifest, request: ExportRequest) -> None:
    """Make the app projects, and write manifest.json last."""
    add_starters(prepared, made, starters_of(request), allow_unproven=request.allow_unproven)
    (prepared / manifest.MANIFEST).write_bytes(manifest.encode(made))


def _record(prepared: Path, result: Result) -> manifest.ArtifactRecord:
    artifact = result.artifact
    assert artifact is not None  # refuse() let only converted artifacts through
    file = manifest.file_record(prepared, artifact.path)
    return manifest.ArtifactRecord(
        target=artifact.target,
        precision=artifact.precision,
        path=file.path,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        signature=artifact.signature,
        operators=artifact.operators,
        deployment_target=artifact.deployment_target,
        bytecode_version=artifact.bytecode_version,
        notice=artifact.notice,
        folded_weights=artifact.folded_weights,
        route=artifact.route,
        transposes=artifact.transposes,
        chosen_weights=artifact.chosen_weights,
        codings=dict(artifact.codings),
        uncompressed_weights=dict(artifact.uncompressed_weights),
        size_budget=artifact.size_budget,
        parity=result.reports[0],
        witnesses=result.reports[1:],
    )


def _packages(target: Target, route: TfliteRoute) -> set[str]:
    runners = {package for runner in RUNNERS[target] for package in runner.PACKAGES}
    made = tflite.ROUTES[route] if target == "tflite" else EXPORTERS[target].PACKAGES
    return {*made, *runners}
