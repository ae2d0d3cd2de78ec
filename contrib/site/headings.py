"""Anchors of headings as GitHub generates them, so that links work on both."""

from __future__ import annotations

import re


def anchor(heading: str, separator: str) -> str:
    """Lower case, punctuation removed, each space a separator. MkDocs makes repeats unique."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)
