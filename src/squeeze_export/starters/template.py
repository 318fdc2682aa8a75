"""What a folder of mobile_templates/ says of itself: its template.toml, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence, Set
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, Literal

import msgspec

from squeeze_export.contracts.artifact import PIXELS_IN, ArtifactKey, Target
from squeeze_export.contracts.request import STARTERS, Starter
from squeeze_export.errors import UsageError

TEMPLATE: Final = "template.toml"


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One project that a template can become. `folder`: its place in a bundle. `values`: further values for its files."""

    target: Target
    folder: str
    model_file: str
    values: dict[str, str] = {}


class Copies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bundle's parts go in the project; `model` and the contract's `model_file` name the artifact."""

    model: str
    labels: str
    golden: str
    contract: str


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a template.toml. `verbatim`: patterns of file names that are copied byte for byte. `values`: for its files."""

    schema_version: Literal[1]
    verbatim: tuple[str, ...]
    values: dict[str, str]
    copies: Copies
    variants: tuple[Variant, ...]


def platform_of(written: str) -> Starter:
    """The starter that is meant; UsageError with those that there are."""
    for known in STARTERS:
        if known == written:
            return known
    raise UsageError(f"There is no starter for {written!r}; choose {' or '.join(STARTERS)}.")


def targets_of(template: Starter) -> tuple[Target, ...]:
    """The targets that a template has a variant for, the preferred one first."""
    return tuple(variant.target for variant in read_template(template).variants)


def fed_targets(keys: Iterable[ArtifactKey]) -> frozenset[Target]:
    """The targets with an artifact that an app can feed: every precision but the one that takes uint8."""
    return frozenset(key.target for key in keys if key.precision != PIXELS_IN)


def starter_folders(targets: Set[Target], starters: Sequence[Starter]) -> tuple[str, ...]:
    """The names of the folders in which add_starters puts the projects of a bundle with these targets."""
    described = [read_template(template) for template in starters]
    return tuple(variant.folder for one in described for variant in one.variants if variant.target in targets)


def template_root(template: Starter) -> Traversable:
    """The template's folder."""
    return _root() / template


def _root() -> Traversable:
    # By its name, which a checkout without symlinks knows as well; nothing is executed: the starters are data.
    return resources.files("squeeze_export.mobile_templates")


def read_template(template: Starter) -> Template:
    """Read the template's description; UsageError where the installation has none."""
    root = template_root(template)
    try:
        return msgspec.convert(tomllib.loads((root / TEMPLATE).read_text(encoding="utf-8")), Template)
    except FileNotFoundError as error:
        raise UsageError(f"This installation has no {root.name} starter: {root.name}/{TEMPLATE} is missing.") from error
