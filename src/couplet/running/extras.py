"""Optional packages: absent, they are one clear line and never a traceback."""

from __future__ import annotations

from importlib.util import find_spec

from couplet.project.errors import UserError


def require_extra(what: str, modules: tuple[str, ...], extra: str) -> None:
    """Refuse to begin without the packages of an optional extra.

    Args:
        what: that needs them, as the user asked for it: "--engine onnx".
        modules: names as they are imported.
        extra: of pyproject.toml, or several with commas.

    Raises:
        UserError: one of the packages is not installed.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(f'{what} needs {" and ".join(missing)}: pip install "couplet[{extra}]"')
