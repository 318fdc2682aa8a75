"""What manifest.json says of a bundle beside its digests, held against what the bundle itself shows.

A digest proves that a file is the one that was recorded. It does not prove the record: whoever reads "squeezenet1_1, 133 dB,
PASSED" there must be able to rely on it as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from squeeze_export.bundle.folder import PARITY, parity_record
from squeeze_export.bundle.manifest import MANIFEST, ArtifactRecord, Manifest, encode
from squeeze_export.contracts.artifact import TARGETS
from squeeze_export.contracts.contents import Contents
from squeeze_export.contracts.parity import OutputParity, ParityReport, Tolerance
from squeeze_export.contracts.request import STARTERS
from squeeze_export.contracts.source import MODELS, GoldenPack, Scores, is_squeezenet
from squeeze_export.errors import SourceError
from squeeze_export.evaluation.limit import exceeds, falls_short, short_words
from squeeze_export.files.litter import without
from squeeze_export.sources.labels import read_bundle_labels
from squeeze_export.sources.weights import combined_sha256, expected_shapes
from squeeze_export.starters.template import starter_folders
from squeeze_export.validation.accuracy import difference_of
from squeeze_export.versions import version_of

# Other processors sum in another order: of errors near 1e-7 the SNR moves by a few dB. A record may be that much better.
_MOVES_DB: Final = 10.0
# The normalisation of an image input is folded into the first convolution of a TFLite file, and nothing else is ever changed.
FOLDABLE: Final = frozenset({"features.0.weight", "features.0.bias"})


def of_source(folder: Path, record: Manifest, pack: GoldenPack, *, labelled: bool) -> list[str]:
    """How the manifest's `source`, and the labels if `labelled`, differ from the golden pack of bundle `folder`, a line each."""
    source = record.source
    told = []
    if source.preprocessing != pack.preprocessing:
        told.append(f"source.preprocessing is {source.preprocessing}, the golden pack was made with {pack.preprocessing}")
    if is_squeezenet(source.model) == (pack.noise_floor is not None):
        told.append(
            f"source.model is {source.model}, and the golden pack is that of {'another' if pack.noise_floor else 'a'} network"
        )
    if (
        isinstance(pack.reference, Scores)
        and is_squeezenet(source.model)
        and source.head_relu
        and bool((pack.reference.logits < 0).any())
    ):
        told.append("source.head_relu is true, and the golden pack has logits below 0, which a ReLU never gives")
    head = "classifier" if isinstance(pack.reference, Scores) else "features"
    if source.head != head:
        return [*told, f"source.head is {source.head}, the golden pack holds the answers of {head}"]
    if isinstance(pack.reference, Scores) and source.activation != pack.reference.activation:
        told.append(f"source.activation is {source.activation}, that of the golden pack {pack.reference.activation}")
    shapes = {digest.name: digest.shape for digest in pack.weights}
    whole = expected_shapes(source.model, max(source.num_classes, 1)) if is_squeezenet(source.model) else shapes
    expected = {
        name: shape
        for name, shape in whole.items()
        if whole is shapes or head == "classifier" or not name.startswith("classifier.")
    }
    if shapes != expected:
        fitting = [model for model in MODELS if set(expected_shapes(model, 1)) >= set(shapes)]
        named = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
        told.append(
            f"source says {source.model} with {source.num_classes} classes, the golden pack's weights are others "
            f"({named[0]} and {len(named) - 1} more differ; by their names {' or '.join(fitting) or 'no known model'})"
        )
    parameters = sum(math.prod(shape) for shape in shapes.values())
    if source.parameters != parameters:
        told.append(f"source.parameters is {source.parameters}, the golden pack's weights have {parameters}")
    if head == "classifier":
        digest = combined_sha256((digest.name, digest.shape, digest.fp32) for digest in pack.weights)
        if source.weights_sha256 != digest:
            told.append(
                f"source.weights_sha256 is {source.weights_sha256[:12]}…, that of the golden pack's weights {digest[:12]}…"
            )
    if labelled and record.labels is not None:
        try:
            read_bundle_labels(folder / record.labels.path, source.num_classes)
        except SourceError as error:
            told.append(str(error))
    return told


def of_reports(record: Manifest, entry: ArtifactRecord, found: Sequence[ParityReport]) -> list[str]:
    """How the recorded judgement of one artifact differs from the one just made, a line each."""
    fresh = {_who(report): report for report in found}
    told = []
    for recorded in (entry.parity, *entry.witnesses):
        if recorded.verdict == "FAILED":
            told.append(f"the manifest records FAILED ({recorded.executor}): no bundle is written with that")
        now = fresh.get(_who(recorded))
        if recorded is entry.parity and found and _who(recorded) != _who(found[0]):
            told.append(f"the manifest records {recorded.executor} as the executor that decided, found now {found[0].executor}")
        if now is None or now.verdict != "PASSED":
            continue  # a verdict that is not PASSED now is told by itself; a witness of another machine cannot be repeated here
        if recorded.verdict == "NOT_RUN":
            continue  # it could not be executed where it was made, and passed here
        same_version = record.tool_versions.get("squeeze-export") == version_of("squeeze-export")
        if same_version and recorded.tolerance != now.tolerance:
            told.append("the manifest records another tolerance than this version has for it")
        if recorded.weights != now.weights:
            told.append("the manifest records another comparison of the weights than was found now")
        if [_kind(output) for output in recorded.outputs] != [_kind(output) for output in now.outputs]:
            told.append("the manifest records other outputs, or another number of images, than were compared now")
            continue
        for then, again in zip(recorded.outputs, now.outputs, strict=True):
            told += [f"{then.name}: {difference}" for difference in _better(then, again)]
    return told


def _who(report: ParityReport) -> str:
    """The executor without what depends on the machine: versions, and an emulated precision, stand behind its name."""
    return re.split(r" \(| \d", report.executor)[0]


def of_artifact(entry: ArtifactRecord) -> list[str]:
    """What an exporter would never declare of an artifact, a line each: more weights excused than it changes, a size broken."""
    may = FOLDABLE if entry.target == "tflite" else frozenset()
    excused = sorted({*entry.folded_weights, *(entry.parity.weights.exempt if entry.parity.weights else ())} - may)
    told = []
    if excused:
        told.append(f"folded_weights excuses {', '.join(excused)} from comparison: no exporter of {entry.target} changes these")
    if entry.size_budget is not None and entry.size_bytes > entry.size_budget:
        told.append(f"size_budget is {entry.size_budget:,} bytes, the artifact has {entry.size_bytes:,}")
    return told


def of_contents(entry: ArtifactRecord, found: Contents) -> list[str]:
    """How what the manifest says of an artifact's inside differs from what its file holds, a line each."""
    pairs = (
        ("operators", ", ".join(entry.operators), ", ".join(found.operators)),
        ("bytecode_version", entry.bytecode_version, found.bytecode_version),
        ("deployment_target", entry.deployment_target, found.deployment_target),
        ("transposes", entry.transposes, found.transposes if entry.transposes is not None else None),
    )
    return [f"{name} is {then} in the manifest, {now} in the file" for name, then, now in pairs if then != now]


def of_accuracy(record: Manifest) -> list[str]:
    """Where the manifest's `accuracy` contradicts itself, its limit or the artifacts, a line each; the pictures are not there."""
    told = record.accuracy
    if told is None:
        return []
    lines = []
    if [figure.key for figure in told.artifacts] != [entry.key for entry in record.artifacts]:
        lines.append("accuracy is not told of exactly the artifacts of this bundle")
    unable = {entry.key for entry in record.artifacts if entry.parity.verdict == "NOT_RUN"}
    if not 0 < told.reference <= told.images or (told.expected == "reference" and told.reference != told.images):
        lines.append(f"accuracy says that the reference is right on {told.reference} of {told.images} images ({told.expected})")
        return lines
    for figure in told.artifacts:
        key = figure.key
        if figure.status == "NOT_RUN" and key in unable and figure.right is None and figure.drop is None:
            continue
        right, gained, lost, drop = figure.right, figure.gained, figure.lost, figure.drop
        if figure.status != "MEASURED" or right is None or gained is None or lost is None or drop is None:
            lines.append(f"accuracy of {key} is {figure.status} without figures: no bundle is written with that")
            continue
        possible = 0 <= gained <= told.images - told.reference and 0 <= lost <= told.reference
        difference = difference_of(gained, lost, told.images)
        error = None if difference.standard_error is None else 100 * difference.standard_error
        if (
            not possible
            or right != told.reference + gained - lost
            or not _same(drop, -100 * difference.value)
            or not _same(figure.standard_error, error)
        ):
            lines.append(f"accuracy of {key}: right, gained, lost, drop and standard_error do not follow from each other")
        elif told.min_accuracy is not None and falls_short(right, told.images, told.min_accuracy):
            lines.append(f"accuracy of {key} is below the floor: {short_words(right, told.images, told.min_accuracy)}")
        elif told.max_drop is not None and exceeds(difference, told.images, told.max_drop):
            lines.append(f"accuracy of {key} drops by {drop:.2f} points, more than the {told.max_drop:g} that were allowed")
    return lines


def _same(told: float | None, found: float | None) -> bool:
    return told == found if told is None or found is None else math.isclose(told, found, rel_tol=1e-9, abs_tol=1e-9)


def of_tolerances(record: Manifest, tolerances: Mapping[str, Tolerance]) -> list[str]:
    """How the bars that the golden pack gives to phones differ from the artifacts' own, a line each."""
    wanted = {entry.key.name: entry.parity.tolerance for entry in record.artifacts}
    return [
        f"the golden pack's tolerance of {name} is not the one that the artifact was judged by"
        for name in sorted({*wanted, *tolerances})
        if wanted.get(name) != tolerances.get(name)
    ]


def _kind(output: OutputParity) -> tuple[str, str, int]:
    return output.name, output.observed, output.images


def _better(recorded: OutputParity, found: OutputParity) -> Iterable[str]:
    """Where a record is better than what was found, beyond what another processor explains."""
    for what in ("snr_db", "centred_snr_db", "psnr_db"):
        then, now = getattr(recorded, what), getattr(found, what)
        if now is not None and (then is None or then > now + _MOVES_DB):
            yield f"the manifest records {what} {'none' if then is None else f'{then:.1f}'}, found now {now:.1f}"
    factor = 10 ** (_MOVES_DB / 20)
    for what in ("max_abs_error", "smallest_passing_error_of_peak"):
        then, now = getattr(recorded, what), getattr(found, what)
        if now is not None and (then is None or then * factor < now):
            yield f"the manifest records {what} {'none' if then is None else f'{then:.3g}'}, found now {now:.3g}"
    for what in ("top1_agreement", "top5_agreement"):
        then, now = getattr(recorded, what), getattr(found, what)
        if then != now and (then is None or now is None or then > now):
            yield f"the manifest records {what} {then}, found now {now}"


def of_parity_file(folder: Path, record: Manifest) -> list[str]:
    """Whether parity.json says what the manifest says; its digest has been held against the manifest before."""
    if (folder / PARITY).read_bytes() == encode(parity_record(record.name, record.artifacts)):
        return []
    return [f"{PARITY} and {MANIFEST} tell different reports"]


def of_folder(folder: Path, record: Manifest) -> list[str]:
    """Files and folders that the manifest does not name, a line each; the inside of app projects is the user's own."""
    files = {MANIFEST, *(file.path for file in (record.golden, record.parity, record.labels) if file is not None)}
    artifacts = {entry.path for entry in record.artifacts}
    parents = {path.split("/")[0] for path in artifacts}
    projects = set(starter_folders(frozenset(TARGETS), STARTERS)) & set(record.starters)
    found = [path.name for path in folder.iterdir() if path.name not in {*files, *parents, *projects}]
    for parent in parents:
        if (folder / parent).is_dir():
            found += [f"{parent}/{path.name}" for path in (folder / parent).iterdir() if f"{parent}/{path.name}" not in artifacts]
    strangers = sorted(without(found))
    return [f"{name}: is no part of the bundle. Move it away" for name in strangers]
