"""Single files of a git revision or DVC experiment, from git, DVC's cache or a remote; nothing is checked out."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from couplet.project.errors import UserError

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem
    from dvc.repo import Repo


class NotOfThisRun(UserError):
    """The revision has no such file, neither in git nor among the outputs of its stages."""


def fetcher(name: str, root: Path) -> Callable[[Path], None]:
    """What copies files of a revision below `root`: from git, from DVC's cache, or from a remote that there is.

    One file system serves all files: opening it takes far longer than a file does.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError
    from dvc_data.index import DataIndexDirError

    try:
        files = DVCFileSystem(rev=name, config=_remotes())
        _ = files.repo  # resolves the revision
    except SCMError as error:
        raise UserError(_unknown(name, str(error))) from None

    def copy(path: Path) -> None:
        wanted = path.relative_to(root).as_posix()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            files.get_file(wanted, str(path))
        except (DvcException, DataIndexDirError, OSError):
            path.unlink(missing_ok=True)
            if _is_listed(files, wanted):
                raise UserError(
                    f"{name}: {wanted} is not in DVC's cache: `dvc fetch --all-commits` gets it from a remote, "
                    "`dvc exp pull` if it is an experiment's; without a remote, run it again"
                ) from None
            raise NotOfThisRun(
                f"{name}: {wanted} is not there, so the run is not finished: `dvc repro` it and commit dvc.lock"
            ) from None

    return copy


def _is_listed(files: DVCFileSystem, path: str) -> bool:
    """Whether a revision has a file, though it may be neither here nor in a remote."""
    from dvc_data.index import DataIndexDirError

    try:
        files.info(path)
    except FileNotFoundError:
        return False
    except DataIndexDirError:  # the folder's own list of files is missing
        return True
    return True


def _unknown(name: str, said: str) -> str:
    if "ambiguous" in said:
        return f"{name!r} names experiments of several commits: name one by its hash, from `dvc exp list -A`"
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], capture_output=True, text=True, check=False
    )
    more = ""
    if shallow.stdout.strip() == "true":
        more = "; this clone is shallow: `git fetch --unshallow` gets its older commits and other branches"
    return f"{name!r} is no revision, branch or experiment here: `git branch -a` and `dvc exp list -A` name them{more}"


def experiments_like(pattern: str) -> list[str]:
    """Names of the experiments that fit a pattern, sorted; at least one."""
    from dvc.repo.experiments.utils import exp_refs

    with _here() as repo:
        names = sorted({reference.name for reference in exp_refs(repo.scm)})
    found = fnmatch.filter(names, pattern)
    if not found:
        raise UserError(f"no experiment is named like {pattern!r}: `dvc exp list -A` names those there are")
    return found


def _here() -> Repo:
    """DVC's project whose root the current folder is."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    with suppress(NotDvcRepoError):
        if Path(Repo.find_root()) == Path.cwd():
            return Repo()
    raise UserError("this is not the root folder of a DVC project: go there first")


def _remotes() -> dict[str, Any]:
    """The remotes that are configured now: an old revision may know none, or one that is gone."""
    with _here() as repo:
        core = {"remote": repo.config["core"]["remote"]} if "remote" in repo.config["core"] else {}
        return {"core": core, "remote": dict(repo.config["remote"])}
