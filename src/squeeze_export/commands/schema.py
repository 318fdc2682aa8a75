"""The `schema` command: the published JSON schemas of everything that squeeze-export writes or prints as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import typer

from squeeze_export.errors import UsageError
from squeeze_export.streams import print_json

Document = Literal["manifest", "parity", "verify", "evaluate", "compare", "ladder", "failure"]
DOCUMENTS: Final[tuple[Document, ...]] = ("manifest", "parity", "verify", "evaluate", "compare", "ladder", "failure")


def schema(
    document: Annotated[str, typer.Argument(metavar="|".join(DOCUMENTS), help="Of which file, or of which command's --json.")],
) -> None:
    """Print the JSON schema (2020-12) of manifest.json, parity.json, what a command prints with --json, or a failure."""
    from squeeze_export.bundle.manifest import encode

    known = next((each for each in DOCUMENTS if each == document), None)
    if known is None:
        raise UsageError(f"There is no schema of {document!r}. Choose one of {', '.join(DOCUMENTS)}.")
    print_json(encode(schema_of_document(known)))


def schema_of_document(document: Document) -> dict[str, Any]:
    """The schema, made from the types that are written; imports no SDK."""
    from squeeze_export.bundle.manifest import schema_of

    match document:
        case "manifest":
            from squeeze_export.bundle import manifest

            return manifest.schema()
        case "failure":
            from squeeze_export.processes import failure

            return failure.schema()
        case "parity":
            from squeeze_export.bundle.folder import ParityDocument

            return schema_of(ParityDocument, document)
        case "verify":
            from squeeze_export.verification.bundles import VerificationDocument

            return schema_of(VerificationDocument, document)
        case "evaluate":
            from squeeze_export.evaluation.report import Evaluation

            return schema_of(Evaluation.document_type(), document)
        case "compare":
            from squeeze_export.verification.comparison import Comparison

            return schema_of(Comparison, document)
        case "ladder":
            from squeeze_export.ladders.ladder import Ladder

            return schema_of(Ladder, document)
