"""Text in tables is Python's own, whatever else is installed."""

from __future__ import annotations

import importlib.util


def keep_text_in_python() -> None:
    """Make pandas keep text as Python's strings, as it does where pyarrow is not installed.

    pyarrow's strings cannot hold every file name (half a character, which any disk may have), and search with other
    expressions than Python's: the same data set would be read in one environment and end in a traceback in another.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return
    import pandas as pd

    pd.set_option("mode.string_storage", "python")
