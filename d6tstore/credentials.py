"""A secret by name. This first form only fixes the type that backends are opened with."""

from __future__ import annotations


class Credentials:
    """Resolves a secret by name at the moment of use, and holds none."""
