"""What a user reads when something is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from couplet.project.errors import UserError


def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The one line of the UserError that the call raises."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
