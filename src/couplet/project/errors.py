"""The one exception that speaks to the user."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: one line naming the file, row, column or key, and what to do."""
