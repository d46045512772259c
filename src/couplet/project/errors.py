"""The one exception that speaks to the user."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: one line naming the file, row, column or key, and what to do."""


class ProcessError(UserError):
    """A mistake that one of several processes of a stage alone can see: it is said even where rank 0 speaks for all."""


class Stopped(Exception):
    """The stage was asked to end by SIGTERM, and has saved what it had: one line that says where it stands."""
