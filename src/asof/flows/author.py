"""Who makes a change, and from which commit of their code."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 10


@dataclass(frozen=True)
class Author:
    """Who makes a change, from which commit of their code (with `+` when files differ from it), and why."""

    who: str = ""
    commit: str | None = None
    message: str = ""


def find_author(
    root: Path, *, user: str | None = None, message: str = "", environ: Mapping[str, str] | None = None
) -> Author:
    """The author of a change from the project in `root`: the setting `user`, else the one who started a CI job
    (`GITHUB_ACTOR`, `GITLAB_USER_LOGIN`), else the login name.
    """
    known = os.environ if environ is None else environ
    who = user or known.get("GITHUB_ACTOR") or known.get("GITLAB_USER_LOGIN") or _login()
    return Author(who, commit_of(root), message)


def commit_of(root: Path) -> str | None:
    """The git commit that a folder is at, with `+` when files in it differ; None where git or the clone is missing."""
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git(root, "status", "--porcelain", "--", ".")
    return head + ("" if changed == "" else "+")  # also where git could not tell


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        return "unknown"
