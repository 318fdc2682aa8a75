"""Headings under which `--help` and the docs list the options, in their order, and words that several of them share."""

from __future__ import annotations

from typing import Final

MODEL: Final = "Source model"
INPUT: Final = "Input image"
WHAT: Final = "What to export"
LIMITS: Final = "Checks and limits"
OUTPUT: Final = "Bundle"
MEASURE: Final = "Evaluation"
STARTER: Final = "Starter project"
SCREEN: Final = "Screen"

AS: Final = "As in an export"
