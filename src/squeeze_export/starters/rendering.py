"""A template's files with the values in their places, and beside them the parts of a bundle that an app carries."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeeze_export.bundle.manifest import encode
from squeeze_export.files.litter import ignored
from squeeze_export.starters import contract
from squeeze_export.starters import names as starter_names
from squeeze_export.starters.template import Copies

if TYPE_CHECKING:
    import jinja2

    from squeeze_export.bundle.manifest import ArtifactRecord, Manifest


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        # Kotlin, Swift, Gradle, XML and project files use every bracket of ASCII; none has a guillemet.
        variable_start_string="«",
        variable_end_string="»",
        block_start_string="«%",
        block_end_string="%»",
        comment_start_string="«#",
        comment_end_string="#»",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # each place escapes for its own language, by the filters below
    )
    environment.filters.update(starter_names.FILTERS)
    return environment


def render_folder(source: Traversable, relative: str, stage: Path, verbatim: Sequence[str], context: Mapping[str, Any]) -> None:
    """Write every file of a template's folder into `stage`, with the values of `context` in contents and paths."""
    import jinja2

    for entry in sorted(source.iterdir(), key=lambda entry: entry.name):
        inside = f"{relative}{entry.name}"
        if entry.is_dir():
            render_folder(entry, f"{inside}/", stage, verbatim, context)
            continue
        path = stage / _place(inside, context)
        if path.exists():
            raise ValueError(f"two template files become {path.relative_to(stage)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = entry.read_bytes()
        if not any(fnmatch(entry.name, pattern) for pattern in verbatim):
            try:
                data = _environment().from_string(data.decode()).render(context).encode()
            except (jinja2.TemplateError, UnicodeDecodeError) as error:
                raise ValueError(f"the template file {inside} cannot be rendered: {error}") from error
        path.write_bytes(data)


def _place(relative: str, context: Mapping[str, Any]) -> str:
    """Put the values into a path: `__app_path__` becomes the folders of the app id, `__project__` the project's name."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in ("app_path", "project", "model_file"):
            raise ValueError(f"a template's path has the unknown value {match.group()}: {relative}")
        return str(context[name])

    return re.sub(r"__([a-z][a-z_]*[a-z])__", value, relative)


def copy_parts(
    bundle: Path, manifest: Manifest, record: ArtifactRecord, copies: Copies, stage: Path, context: Mapping[str, Any]
) -> None:
    """Put the model, its labels, the golden pack and the contract where the template wants them."""

    def place(relative: str) -> Path:
        path = stage / _place(relative, context)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    artifact = bundle / record.path
    if artifact.is_dir():
        shutil.copytree(artifact, place(copies.model), ignore=ignored())
    else:
        shutil.copyfile(artifact, place(copies.model))
    place(copies.labels).write_bytes(contract.label_bytes(context["labels"]))
    shutil.copytree(bundle / manifest.golden.path, place(copies.golden), ignore=ignored())
    place(copies.contract).write_bytes(encode(context["contract"]))


def is_script(path: Path) -> bool:
    """Whether a file is to be executable."""
    with suppress(OSError), path.open("rb") as opened:
        return opened.read(2) == b"#!"
    return False
