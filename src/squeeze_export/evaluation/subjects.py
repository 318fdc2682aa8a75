"""What is evaluated: the artifacts of an undamaged bundle, and the reference made again from the weights it came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from squeeze_export.bundle import manifest
from squeeze_export.bundle.manifest import MANIFEST, ArtifactRecord, Manifest
from squeeze_export.contracts.source import is_squeezenet
from squeeze_export.errors import ArtifactError, UsageError
from squeeze_export.evaluation.cache import subject_key
from squeeze_export.evaluation.jobs import ArtifactJob, CapturedJob, Job, ReferenceJob
from squeeze_export.sources.labels import read_bundle_labels
from squeeze_export.sources.source import program_digest
from squeeze_export.validation.runners import RUNNERS
from squeeze_export.versions import versions_of

REFERENCE: Final = "reference"

# Besides what executes, the answers depend on these: the tool itself, and what makes pixels of a file.
_COMMON: Final = ("squeeze-export", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle whose artifacts and labels have the bytes that the manifest says; `labels` in class order, or None."""

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An artifact or the reference. `key`: digest of all that its answers depend on, the image excepted.

    `record` is None for the reference. `unavailable`: why it cannot be executed here. `must_open`: start it even if every
    answer is known. `fatal`: where it cannot be opened, the whole evaluation ends.
    """

    name: str
    job: Job
    key: bytes
    executor: str
    record: ArtifactRecord | None = None
    unavailable: str | None = None
    must_open: bool = False
    fatal: bool = False


def open_bundle(folder: Path) -> OpenBundle:
    """Read a bundle.

    Raises UsageError for a folder that is none and for features, which have no accuracy; ArtifactError where a file is not
    what the manifest says.
    """
    record = manifest.open_bundle(folder)
    if record.source.head == "features":
        raise UsageError(
            f"{folder} was exported with --head features: it names no classes, so it has no accuracy. Evaluate an export with "
            f"the classifier; squeeze-export verify {folder} proves the features."
        )
    files = [(entry.path, entry.sha256) for entry in record.artifacts]
    if len(set(files)) < len(files):
        raise ArtifactError(f"{folder / MANIFEST} lists an artifact twice. Export the bundle again.")
    if record.labels is not None:
        files.append((record.labels.path, record.labels.sha256))
    damage = [told for path, sha256 in files if (told := manifest.damage(folder, path, sha256)) is not None]
    if damage:
        raise ArtifactError("The bundle is damaged, so it is not evaluated. Export it again.\n" + "\n".join(damage))
    labels = None if record.labels is None else read_bundle_labels(folder / record.labels.path, record.source.num_classes)
    return OpenBundle(folder=folder.resolve(), manifest=record, labels=labels)


def artifact_subjects(bundle: OpenBundle) -> tuple[Subject, ...]:
    """A subject per artifact, executed by the runner that decides about its target."""
    source = bundle.manifest.source
    subjects = []
    for entry in bundle.manifest.artifacts:
        runner = RUNNERS[entry.target][0]
        job = ArtifactJob(
            target=entry.target,
            precision=entry.precision,
            path=bundle.folder / entry.path,
            signature=entry.signature,
            num_classes=source.num_classes,
            height=source.preprocessing.height,
            width=source.preprocessing.width,
        )
        versions = versions_of(runner.PACKAGES)
        key = subject_key(
            entry.sha256,
            asdict(entry.signature),
            entry.precision,
            runner.NAME,
            source.preprocessing.record(),
            versions_of(_COMMON) | versions,
        )
        # What a worker says of itself replaces this; it is for answers that were all known before.
        executor = f"{runner.NAME} ({', '.join(f'{name} {version}' for name, version in versions.items())})"
        subjects.append(
            Subject(name=entry.path, job=job, key=key, executor=executor, record=entry, unavailable=runner.unavailable())
        )
    return tuple(subjects)


def reference_subject(bundle: OpenBundle, weights: str | None, saved: Path | None = None) -> Subject | str:
    """The eager source model, or why it cannot be made again: the bundle does not hold its weights.

    Weights that the user names must be the bundle's own: they are checked in any case, and others end the evaluation. `saved`:
    the folder with the source model of a captured network, as sources.source.save_source writes it.
    """
    source = bundle.manifest.source
    if not is_squeezenet(source.model):
        return _captured_subject(bundle, saved)
    if weights is None and source.weights_kind == "file":
        return (
            f"the weights came from a file ({source.weights_file}), which a bundle does not hold. "
            "Pass it with --weights PATH, or --no-reference to do without."
        )
    model = source.model
    job = ReferenceJob(
        model=model,
        weights=weights if weights is not None else source.weights_kind,
        sha256=source.weights_sha256,
        head_relu=source.head_relu,
        seed=source.weights_seed or 0,
        preprocessing=source.preprocessing,
        num_classes=source.num_classes,
        height=source.preprocessing.height,
        width=source.preprocessing.width,
    )
    versions = versions_of((*_COMMON, "torch"))
    eager = "eager" if source.head_relu else "eager without a ReLU in the head"
    key = subject_key(source.weights_sha256, model, eager, source.preprocessing.record(), versions)
    named = weights is not None
    return Subject(name=REFERENCE, job=job, key=key, executor=f"eager PyTorch {versions['torch']}", must_open=named, fatal=named)


def _captured_subject(bundle: OpenBundle, saved: Path | None) -> Subject | str:
    """The captured network, whose program tells it from others with the same weights."""
    source = bundle.manifest.source
    if saved is None:
        return (
            f"a bundle holds no PyTorch network, and this one is of {source.model}. Give it again: --model, and --weights where "
            "its weights came from a file. Or pass --no-reference to do without."
        )
    job = CapturedJob(
        source=saved,
        num_classes=source.num_classes,
        height=source.preprocessing.height,
        width=source.preprocessing.width,
    )
    versions = versions_of((*_COMMON, "torch"))
    key = subject_key(source.weights_sha256, program_digest(saved), source.preprocessing.record(), versions)
    executor = f"captured, in eager PyTorch {versions['torch']}"
    return Subject(name=REFERENCE, job=job, key=key, executor=executor, fatal=True)
