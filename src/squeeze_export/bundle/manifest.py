"""The record of a bundle: `manifest.json`, the sha256 of files and folders, and the JSON schema of both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from squeeze_export.bundle.choices import ChoiceRecord
from squeeze_export.contracts.artifact import ArtifactKey, Precision, Target
from squeeze_export.contracts.heads import Activation, ModelGives
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.contracts.signature import Head, PreprocessingSpec, Signature
from squeeze_export.contracts.source import WeightDigest, WeightsOrigin
from squeeze_export.errors import ArtifactError, UsageError
from squeeze_export.files.litter import LFS_POINTER, is_litter

T = TypeVar("T")

MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What was exported. `weights_*` as in contracts.source.WeightsOrigin; `parameters` counts scalars.

    With the head "features" `num_classes` and `weights_sha256` are still those of the whole checkpoint; `parameters` counts what
    is left of it. `head_relu`: whether a ReLU stands behind the classifier's convolution. `model`: a SqueezeNet by its name, or
    another network as it was named, such as "timm:mobilenetv4_conv_small"; "module" weights came with it,
    "library" ones are those that timm or torchvision publishes.
    `activation`: what makes probabilities of the logits; of a sigmoid each is independent. `model_gives`: what the network itself
    gives, of which nothing is applied twice. `model_output`: which of its outputs, where it has several.
    """

    model: str
    num_classes: int
    parameters: int
    weights_kind: Literal["file", "imagenet", "random", "demo", "module", "library"]
    weights_file: str | None
    weights_sha256: str
    weights_seed: int | None
    head: Head
    preprocessing: PreprocessingSpec
    head_relu: bool = True
    activation: Activation = "softmax"
    model_gives: ModelGives = "logits"
    model_output: str | None = None

    @classmethod
    def of(
        cls,
        model: str,
        num_classes: int,
        parameters: int,
        origin: WeightsOrigin,
        preprocessing: PreprocessingSpec,
        head: Head = "classifier",
        head_relu: bool = True,
        *,
        activation: Activation = "softmax",
        model_gives: ModelGives = "logits",
        model_output: str | None = None,
    ) -> SourceRecord:
        """Flatten the origin of the weights into the record."""
        return cls(
            model=model,
            num_classes=num_classes,
            parameters=parameters,
            weights_kind=origin.kind,
            weights_file=origin.file_name,
            weights_sha256=origin.sha256,
            weights_seed=origin.seed,
            head=head,
            preprocessing=preprocessing,
            head_relu=head_relu,
            activation=activation,
            model_gives=model_gives,
            model_output=model_output,
        )


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file or folder of the bundle: path relative to the bundle with forward slashes, digest, size in bytes."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """The pictures that some precisions were made with: how many, and the sha256 of their crops, (images, H, W, 3) uint8 RGB."""

    origin: Literal["folder", "demo"]
    images: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class AccuracyFigure:
    """One artifact on the pictures of an AccuracyRecord; without figures, and with a `reason`, where it is not MEASURED.

    `right`: on so many its best class is the expected one; `gained`: on these the reference's is not; `lost`: the reverse.
    `drop` and its `standard_error` are in points of a hundred pictures, paired; None with a single picture.
    """

    target: Target
    precision: Precision
    size_budget: int | None = None
    executor: str | None
    status: Literal["MEASURED", "FAILED", "NOT_RUN"]
    reason: str | None
    right: int | None
    gained: int | None
    lost: int | None
    drop: float | None
    standard_error: float | None

    @property
    def key(self) -> ArtifactKey:
        """The artifact's place in the bundle."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)


@dataclass(frozen=True, kw_only=True)
class AccuracyRecord:
    """What --max-accuracy-drop or --min-accuracy measured: artifacts and reference over the same `images` pictures.

    `max_drop`: the limit in points, `min_accuracy`: the floor in percent; None where it was not asked for. `expected`: what
    counts as right, the pictures' labels or, where they have none, the reference's best class. `images_sha256`: digest of the
    pictures and labels, as `evaluate --json` tells it for the same ones. `reference`: on how many the reference is right.
    """

    max_drop: float | None
    min_accuracy: float | None = None
    expected: Literal["labels", "reference"]
    origin: Literal["folder", "demo", "memory"]
    images: int
    images_sha256: str
    reference: int
    reference_executor: str | None
    artifacts: tuple[AccuracyFigure, ...]


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One artifact and the judgement that let it into the bundle. `witnesses`: further executors, reported beside the verdict.

    `route`: the converter, where the format has several. `transposes`: how many TRANSPOSE operations a TFLite file holds."""

    target: Target
    precision: Precision
    path: str
    sha256: str
    size_bytes: int
    signature: Signature
    operators: tuple[str, ...]
    deployment_target: str | None
    bytecode_version: int | None
    notice: str | None
    folded_weights: tuple[str, ...]
    chosen_weights: tuple[WeightDigest, ...] = ()
    codings: dict[str, str] = field(default_factory=dict)
    uncompressed_weights: dict[str, str] = field(default_factory=dict)
    size_budget: int | None = None
    parity: ParityReport
    witnesses: tuple[ParityReport, ...]
    route: str | None = None
    transposes: int | None = None

    @property
    def key(self) -> ArtifactKey:
        """Its place among the artifacts of the bundle."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)


@dataclass(frozen=True, kw_only=True)
class ReferenceScoresRecord:
    """What comparing the source with the user's own scores found; `sha256`: of their file, which is not in the bundle."""

    sha256: str
    kind: Literal["logits", "probabilities"]
    images: int
    max_probability_error: float
    top1_agreement: float


@dataclass(frozen=True, kw_only=True)
class MissingRecord:
    """An artifact that was asked for and is not in the bundle, because the export was told to keep going without it.

    ERROR: it could not be made or opened; FAILED: parity; DROPPED: accuracy; NOT_RUN: it could not be executed. `exit_code`: what
    an export ends with that does not keep going.
    """

    target: Target
    precision: Precision
    size_budget: int | None = None
    verdict: Literal["ERROR", "FAILED", "DROPPED", "NOT_RUN"]
    reason: str
    exit_code: int

    @property
    def key(self) -> ArtifactKey:
        """The place that it would have among the artifacts."""
        return ArtifactKey(target=self.target, precision=self.precision, size_budget=self.size_budget)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole of manifest.json. It is written last: its presence means that the bundle is complete, but for what is `missing`.

    `starters`: the folders of the app projects, which are not among the recorded files: they are the user's to change.
    `choices`: what was taken of each target of which only the best was wanted.
    """

    schema_version: Literal[1]
    name: str
    source: SourceRecord
    tool_versions: dict[str, str]
    labels: FileRecord | None
    golden: FileRecord
    parity: FileRecord
    starters: tuple[str, ...]
    artifacts: tuple[ArtifactRecord, ...]
    calibration: CalibrationRecord | None = None
    accuracy: AccuracyRecord | None = None
    missing: tuple[MissingRecord, ...] = ()
    reference_scores: ReferenceScoresRecord | None = None
    choices: tuple[ChoiceRecord, ...] = ()


def encode(value: object) -> bytes:
    """Serialise a record as indented JSON with a final newline; infinities and NaN become null."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_encode_path), indent=2) + b"\n"


def decode(data: bytes, kind: type[T]) -> T:
    """Read a record back, strictly typed; msgspec.ValidationError names the place of a difference."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_path)


def _encode_path(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a record cannot hold {type(value).__name__}")


def _decode_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a record cannot hold {kind.__name__}")


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of manifest.json; the committed copy is manifest.schema.json beside this file."""
    return schema_of(Manifest, "manifest")


def schema_of(kind: type, title: str) -> dict[str, Any]:
    """The JSON schema (2020-12) of what `encode` makes of a value of this type."""
    made = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(kind)))  # tuples become lists, as in the file
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"squeeze-export {title}", **made}


def read_manifest(bundle: Path) -> Manifest:
    """Read `bundle`/manifest.json. Raises ArtifactError where it is missing, not JSON or not of this schema."""
    path = bundle / MANIFEST
    try:
        data = path.read_bytes()
        record = decode(data, Manifest)
        stranger = _stranger(msgspec.json.decode(data), msgspec.json.decode(encode(record)))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{bundle} is not a complete bundle: it has no {MANIFEST}, which is written last. Export it again."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Restore it, or export the bundle again.") from error
    if stranger is not None:
        raise ArtifactError(
            f"{path} has {stranger}, which this version of squeeze-export does not know. Use the version that wrote it "
            f"({record.tool_versions.get('squeeze-export', 'not recorded')}), or export the bundle again."
        )
    return record


def _stranger(written: object, known: object, place: str = "$") -> str | None:
    """The first key that reading left out, or value that it changed: whoever wrote it expected it to count."""
    if isinstance(written, dict) and isinstance(known, dict):
        for key, value in written.items():
            if key not in known:
                return f"the key {place}.{key}"
            found = _stranger(value, known[key], f"{place}.{key}")
            if found is not None:
                return found
        return None
    if isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        pairs = zip(written, known, strict=True)
        return next((found for at, pair in enumerate(pairs) if (found := _stranger(*pair, f"{place}[{at}]"))), None)
    return None if written == known else f"another value at {place}"


def open_bundle(folder: Path) -> Manifest:
    """Read the manifest of the bundle that a user named.

    Raises UsageError for a folder that is none, ArtifactError for a manifest that cannot be read or lists no artifact.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the bundle's folder, such as dist/squeezenet1_1-demo.")
    if not (folder / MANIFEST).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
        late = f" {MANIFEST} is written last: the export may not have ended."
        hint = f" It holds bundles: {', '.join(inside)}." if inside else late
        raise UsageError(f"{folder} is not a complete bundle: it has no {MANIFEST}.{hint}")
    record = read_manifest(folder)
    if not record.artifacts:
        raise ArtifactError(f"{folder / MANIFEST} lists no artifact, so there is nothing to open. Export the bundle again.")
    return record


def damage(bundle: Path, relative: str, sha256: str, size_bytes: int | None = None) -> str | None:
    """Say how a file or folder of the bundle differs from what was proven, or None."""
    path = bundle / relative
    if not path.resolve().is_relative_to(bundle.resolve()):
        return f"{relative}: leads out of the bundle"
    if not path.exists():
        return f"{relative}: missing"
    try:
        found, size = digest(path)
    except ArtifactError as error:
        return f"{relative}: {error}"
    if found == sha256:
        return None if size_bytes in (None, size) else f"{relative}: has {size:,} bytes, not {size_bytes:,} as the manifest says"
    known = changed_by_git(path, sha256)
    if known is not None:
        return f"{relative}: {known}"
    return f"{relative}: its bytes are not those that were proven (sha256 {found[:12]}…, manifest {sha256[:12]}…)"


def changed_by_git(path: Path, sha256: str) -> str | None:
    """What git did to a file or folder that is not the recorded one: a pointer in its place, or other line ends; else None."""
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink())
    pointers = [file.name for file in files if is_lfs_pointer(file)]
    if pointers:
        return f"{', '.join(pointers[:3])} is a Git LFS pointer in place of the file. Run `git lfs pull` where the bundle lies"
    if digest(path, crlf=True)[0] == sha256:
        return (
            "its line ends are CRLF, else it is the proven one: git changed them at checkout (core.autocrlf). Put the line "
            "`* -text` into a .gitattributes file beside the bundle, and check it out again"
        )
    return None


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS puts in the place of a large one."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def digest(path: Path, *, crlf: bool = False) -> tuple[str, int]:
    """sha256 and size in bytes of a file, or of a folder.

    A folder's sha256 is that of the concatenation, over its files sorted by relative POSIX path (bytewise), of
    `<path>\\0<size in decimal>\\0<contents>`. File modes, empty folders and what file managers and git leave do not count.
    Links are refused (ArtifactError). `crlf`: take the line ends of text (files without a zero byte) as LF.
    """

    def read(file: Path) -> bytes:
        data = file.read_bytes()
        return data.replace(b"\r\n", b"\n") if crlf and b"\0" not in data else data

    hasher = hashlib.sha256()
    if path.is_file() and not path.is_symlink():
        data = read(path)
        hasher.update(data)
        return hasher.hexdigest(), len(data)
    total = 0
    found = ((entry.relative_to(path), entry) for entry in path.rglob("*"))
    entries = {relative.as_posix().encode(): entry for relative, entry in found if not is_litter(relative)}
    for relative in sorted(entries):
        entry = entries[relative]
        if entry.is_symlink():
            raise ArtifactError(f"{entry} is a link; a bundle holds real files only. Copy the file in its place.")
        if entry.is_dir():
            continue
        data = read(entry)
        hasher.update(relative + b"\0" + str(len(data)).encode() + b"\0")
        hasher.update(data)
        total += len(data)
    return hasher.hexdigest(), total


def file_record(bundle: Path, path: Path) -> FileRecord:
    """Record a file or folder of the bundle."""
    sha256, size = digest(path)
    return FileRecord(path=path.relative_to(bundle).as_posix(), sha256=sha256, size_bytes=size)
