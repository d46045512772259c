"""Which pretrained weights models are trained from: data/weights.json, small and in git, as data/inventory.json is.

The files themselves are neither in git nor in DVC. `couplet scan` lists them by their digests; DVC invalidates training
on the list, and train_fold takes no file that is not in it.
"""

from __future__ import annotations

from typing import Any

from couplet.project.errors import UserError
from couplet.project.files import read_json, write_json
from couplet.project.project import HERE, Project
from couplet.settings.schema.model import ModelParams

SCAN = "run `couplet scan`"


def read_weights_list(project: Project = HERE) -> dict[str, str]:
    """SHA-256 of the weights' file by the backbone's name with its tag; {} if there is no list.

    Raises:
        UserError: it is no list of weights.
    """
    if not project.weights_list.exists():
        return {}
    content = read_json(project.weights_list)
    if not isinstance(content, dict) or not all(map(_is_entry, content.values())):
        raise UserError(
            f"{project.weights_list} is no list of weights' files and their sha256: restore it from git, or {SCAN}"
        )
    return {name: entry["sha256"] for name, entry in content.items()}


def list_weights(digests: dict[str, str], project: Project = HERE) -> None:
    """Write the list of these weights and of no others: {} where none are used.

    Training depends on the whole list. So a backbone that was tried in between leaves no trace in it, and going back
    to a run's settings brings back the list that the run was made with.

    The name in the list is the one that the file has in data/weights, wherever this machine keeps it: the same
    weights give the same list everywhere.
    """
    content = {name: {"file": f"{name}.safetensors", "sha256": digests[name]} for name in sorted(digests)}
    write_json(project.weights_list, content)


def unlisted_weights(model: ModelParams, project: Project = HERE) -> str | None:
    """One line with a remedy if the model starts from weights that the list does not have, else None."""
    if not model.pretrained or model.backbone in read_weights_list(project):
        return None
    return (
        f"{project.weights_list} does not list the weights of {model.backbone}, and model.pretrained is true: "
        f"{SCAN}, or set model.pretrained=false"
    )


def refuse_unlisted_weights(model: ModelParams, project: Project = HERE) -> None:
    """Raise UserError if there are `unlisted_weights`: nothing would tell them from others of the same name."""
    problem = unlisted_weights(model, project)
    if problem is not None:
        raise UserError(problem)


def refuse_other_weights(model: ModelParams, sha256: str, project: Project = HERE) -> None:
    """Raise UserError if the file that was loaded is not the one of the list.

    Args:
        model: the section `model` of params.yaml.
        sha256: of the file that was loaded, or "none" without pretrained weights.
        project: whose list it is.
    """
    refuse_unlisted_weights(model, project)
    if model.pretrained and sha256 != (listed := read_weights_list(project)[model.backbone]):
        raise UserError(
            f"the weights of {model.backbone} have the sha256 {sha256[:12]}..., not {listed[:12]}... as "
            f"{project.weights_list} says: restore the file, or {SCAN} to take it as it is"
        )


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
