"""Starter projects: a template of mobile_templates/, filled with one artifact of a bundle, is a project that opens and builds.

A template is a folder with a `template.toml` (starter_template.Template). Its `project/` holds the files that every variant
shares, `variants/<target>/` those of one. Every text file is a Jinja2 template between guillemets: «value», «% if %»,
«# comment #». `__name__` in a path stands for the value of that name. Nothing is guessed: a value that is missing is an error.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from squeeze_export.bundle.manifest import damage, open_bundle
from squeeze_export.contracts.artifact import DEFAULT_PRECISION, PIXELS_IN, Target
from squeeze_export.contracts.request import STARTERS, Starter
from squeeze_export.errors import ArtifactError, ParityError, TargetUnavailableError, UsageError
from squeeze_export.files.litter import without
from squeeze_export.files.written import write_list
from squeeze_export.starters import contract
from squeeze_export.starters import names as starter_names
from squeeze_export.starters.rendering import copy_parts, is_script, render_folder
from squeeze_export.starters.template import Template, Variant, fed_targets, read_template, targets_of, template_root
from squeeze_export.starters.updating import apply_update, check_project, made_before

if TYPE_CHECKING:
    from squeeze_export.bundle.manifest import ArtifactRecord, Manifest


def render(
    bundle: Path,
    manifest: Manifest,
    *,
    template: Starter,
    target: Target,
    app_id: str,
    app_name: str,
    destination: Path,
    precision: str | None = None,
    allow_unproven: bool = False,
    update: bool = False,
) -> Path:
    """Write the complete project for one artifact of `bundle` into `destination` (new or empty), which appears by one rename.

    With `update` the project that stands there takes what changed, and keeps what its developer changed (updating.update).

    Of several precisions of the target: see `proven`. The same bundle, names and template give the same bytes. Raises ParityError
    where parity FAILED (or is NOT_RUN, unless `allow_unproven`), TargetUnavailableError where there is no such artifact or no
    variant, ArtifactError for a file that is not what the manifest records, UsageError for names, destination, "auto" of several
    sizes, and a model that an app of ours cannot take (one without classes).
    """
    if template == "android":
        starter_names.check_android_id(app_id)
    else:
        starter_names.check_ios_id(app_id)
    starter_names.check_app_name(app_name)
    if template == "ios":
        starter_names.check_ios_name(app_name)
    root = template_root(template)
    described = read_template(template)
    variant = next((variant for variant in described.variants if variant.target == target), None)
    if variant is None:
        known = ", ".join(variant.target for variant in described.variants)
        raise TargetUnavailableError(f"There is no {template} starter for {target}; it is made for {known}.")
    record = proven(manifest, target, precision, allow_unproven=allow_unproven)
    _check_classifies(manifest, record)
    _check_files(bundle, manifest, record)
    if update:
        check_project(destination)
    else:
        _check_destination(destination)
    context = _context(bundle, manifest, record, described, variant, app_id, app_name)

    destination.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        for source in (root / "project", root / "variants" / target):
            if source.is_dir():
                render_folder(source, "", stage, described.verbatim, context)
        copy_parts(bundle, manifest, record, described.copies, stage, context)
        made = {"platform": template, "target": target, "precision": precision or "", "app_id": app_id, "app_name": app_name}
        write_list(stage, made)
        for path in (stage, *stage.rglob("*")):
            path.chmod(0o755 if path.is_dir() or is_script(path) else 0o644)
        if update:
            apply_update(stage, destination)
            shutil.rmtree(stage)
        else:
            stage.rename(destination)  # replaces an empty folder, fails on any other
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return destination


def render_bundle(
    bundle: Path,
    *,
    template: Starter,
    target: Target | None,
    app_id: str | None,
    app_name: str | None,
    destination: Path,
    precision: str | None = None,
    allow_unproven: bool = False,
    update: bool = False,
) -> Path:
    """Render from a finished bundle on disk; without `target` the first that the template and the bundle share.

    With `update` what is not given here is as the project at `destination` was made.
    """
    manifest = open_bundle(bundle)
    if update:
        before = made_before(destination, template)
        app_id, app_name = app_id or before["app_id"], app_name or before["app_name"]
        precision = precision or (before["precision"] if target in (None, before["target"]) else "") or None
        target = target or cast(Target, before["target"])
    if precision == PIXELS_IN:
        raise UsageError(f"No starter is made for {precision}: the apps feed float32 images. Choose another --precision.")
    if target is None:
        possible = variants(manifest, template)
        if not possible:
            there = ", ".join(str(record.key) for record in manifest.artifacts)
            wanted = " or ".join(targets_of(template))
            raise TargetUnavailableError(
                f"{bundle} has no artifact for the {template} starter: it needs {wanted}, the bundle has {there}. "
                f"Export again with --target {wanted.split(' ')[0]}"
                f"{' --precision tflite=fp32: the apps feed float32.' if PIXELS_IN in there and 'tflite' in wanted else '.'}"
            )
        target = possible[0]
    return render(
        bundle,
        manifest,
        template=template,
        target=target,
        app_id=app_id or starter_names.default_id(manifest.name, target),
        app_name=app_name or starter_names.default_name(manifest.name),
        destination=destination,
        precision=precision,
        allow_unproven=allow_unproven,
        update=update,
    )


def variants(manifest: Manifest, template: Starter) -> tuple[Target, ...]:
    """The targets of the bundle that a template has a variant for and whose input an app can feed, in the template's order."""
    there = fed_targets(record.key for record in manifest.artifacts)
    return tuple(target for target in targets_of(template) if target in there)


def add_starters(
    prepared: Path,
    manifest: Manifest,
    starters: Sequence[Starter] = STARTERS,
    *,
    app_id: str | None = None,
    app_name: str | None = None,
    allow_unproven: bool = False,
) -> tuple[Path, ...]:
    """Put every project that `starters` and the bundle's targets allow into the prepared bundle folder; returns their folders.

    Each stands under its variant's folder name, such as `android-tflite`, with an app id of its own unless one is given.
    """
    made: list[Path] = []
    for template in starters:
        described = read_template(template)
        for target in variants(manifest, template):
            (variant,) = (variant for variant in described.variants if variant.target == target)
            made.append(
                render(
                    prepared,
                    manifest,
                    template=template,
                    target=target,
                    app_id=app_id or starter_names.default_id(manifest.name, target),
                    app_name=app_name or starter_names.default_name(manifest.name),
                    destination=prepared / variant.folder,
                    allow_unproven=allow_unproven,
                )
            )
    return tuple(made)


def proven(manifest: Manifest, target: Target, precision: str | None = None, *, allow_unproven: bool) -> ArtifactRecord:
    """The record of the target's artifact, refused unless its parity PASSED.

    Of several the one in `precision` ("fp16", "auto:490KB"; "auto" where it stands there in one size); without it the one in the
    target's default precision, or else the one first asked for that an app can feed.
    """
    records = [record for record in manifest.artifacts if record.target == target]
    found = [record for record in records if (precision or DEFAULT_PRECISION[target]) in (record.precision, record.key.rung)]
    if precision is None:
        found = (found or [record for record in records if record.precision != PIXELS_IN] or records)[:1]
    if len(found) > 1:
        several = ", ".join(record.key.rung for record in found)
        raise UsageError(f"The bundle {manifest.name} has {target} {precision} in several sizes: name one of {several}.")
    if not found:
        there = ", ".join(str(record.key) for record in manifest.artifacts) or "none"
        raise TargetUnavailableError(
            f"The bundle {manifest.name} has no {target} {precision or 'artifact'}; it has {there}. "
            f"Export again with --target {target}{f' --precision {precision}' if precision else ''}."
        )
    (record,) = found
    for report in (record.parity, *record.witnesses):
        if report.verdict == "FAILED":
            told = f": {report.reason}" if report.reason else "."
            raise ParityError(
                f"No starter is made for {record.path}: its parity FAILED in the {report.executor}{told} Export the model again."
            )
    if record.parity.verdict != "PASSED" and not allow_unproven:
        told = f" ({record.parity.reason})" if record.parity.reason else ""
        raise ParityError(
            f"No starter is made for {record.path}: its parity is {record.parity.verdict}{told}, so nothing "
            "is known about it. Pass --allow-unproven to make it all the same; the app's self-check is then the first proof."
        )
    return record


def _check_classifies(manifest: Manifest, record: ArtifactRecord) -> None:
    """Refuse what the apps would refuse at their first start: they show classes, and feed float32 pictures."""
    if manifest.source.head == "features":
        raise UsageError(
            f"No starter is made for {record.path}: the app shows classes, and a model exported with --head features has none. "
            "Export it with --head classifier."
        )
    wanted, crop = (1, manifest.source.num_classes), manifest.source.preprocessing
    pictures = {"NHWC": (1, crop.height, crop.width, crop.channels), "NCHW": (1, crop.channels, crop.height, crop.width)}
    given, taken = record.signature.outputs, record.signature.input
    if len(given) != 1 or given[0].kind not in ("logits", "probabilities") or given[0].shape != wanted:
        found = ", ".join(f"{output.name} ({output.kind}, {' x '.join(map(str, output.shape))})" for output in given) or "none"
        raise UsageError(
            f"No starter is made for {record.path}: the app needs one output of logits or probabilities, "
            f"{' x '.join(map(str, wanted))}; the model's are {found}. Export it again as a classifier."
        )
    if taken.dtype != "float32" or pictures.get(taken.layout) != taken.shape:
        raise UsageError(
            f"No starter is made for {record.path}: the app feeds float32 images of {crop.height} x {crop.width}; the input is "
            f"{taken.dtype}, {' x '.join(map(str, taken.shape))} in {taken.layout}. Choose another artifact with --precision, or "
            "export it again."
        )


def _check_files(bundle: Path, manifest: Manifest, record: ArtifactRecord) -> None:
    wanted: list[tuple[str, str]] = [(record.path, record.sha256), (manifest.golden.path, manifest.golden.sha256)]
    if manifest.labels is not None:
        wanted.append((manifest.labels.path, manifest.labels.sha256))
    for relative, sha256 in wanted:
        told = damage(bundle, relative, sha256)
        if told is not None:
            raise ArtifactError(f"The bundle is damaged: {told}. Restore it or export it again.")


def _check_destination(destination: Path) -> None:
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise UsageError(f"{destination} exists and is not a folder. Choose another --output.")
    if destination.is_dir() and without(path.name for path in destination.iterdir()):
        raise UsageError(
            f"{destination} is not empty. A starter is written into a new folder: choose another --output. "
            "--update puts a newer model into a project of ours."
        )


def _context(
    bundle: Path,
    manifest: Manifest,
    record: ArtifactRecord,
    described: Template,
    variant: Variant,
    app_id: str,
    app_name: str,
) -> dict[str, Any]:
    """Every value that a template file can name; records of the manifest are there as they are."""
    labels = contract.labels_of(bundle, manifest)
    golden = msgspec.json.decode((bundle / manifest.golden.path / "golden.json").read_bytes())
    values: dict[str, Any] = {
        "app_id": app_id,
        "app_name": app_name,
        "app_path": app_id.replace(".", "/"),
        "project": starter_names.project_name(app_name),
        "manifest": manifest,
        "source": manifest.source,
        "preprocessing": manifest.source.preprocessing,
        "artifact": record,
        "input": record.signature.input,
        "outputs": record.signature.outputs,
        "model_file": variant.model_file.replace("__project__", starter_names.project_name(app_name)),
        "labels": labels,
        "golden": golden,
        "target": record.target,
        "folder": variant.folder,
    }
    own = {**described.values, **variant.values}
    clash = sorted(set(own) & set(values))
    if clash:
        raise ValueError(f"template.toml redefines {', '.join(clash)}")
    values |= own
    values["contract"] = contract.contract_of(manifest, record, values["model_file"], labels, bundle)
    return values
