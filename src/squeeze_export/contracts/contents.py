"""What is read from an artifact's own file: shared by who reads it and who compares it with a manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Contents:
    """`operators`: sorted names of the operations. `bytecode_version` of a .ptl, `deployment_target` of a package, else None.

    `transposes`: how many TRANSPOSE operations a TFLite file holds.
    """

    operators: tuple[str, ...]
    bytecode_version: int | None = None
    deployment_target: str | None = None
    transposes: int | None = None
