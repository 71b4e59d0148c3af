"""Files from and to the Hugging Face hub (extra `hub`). Entry: `local_path`, `download`, `upload`.

A repository is named OWNER/REPOSITORY, or OWNER/REPOSITORY@REVISION for a branch, tag or commit other than `main`.
Endpoint, cache and token are those of the environment (HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN) at each call.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trm.errors import InputError

SCHEME = "hf://"
"""Scheme of the address of a file on the hub: hf://OWNER/REPOSITORY/FILE."""
ADDRESS = f"{SCHEME}OWNER/REPOSITORY/FILE or {SCHEME}OWNER/REPOSITORY@REVISION/FILE"
"""Forms of an address, for messages."""


class _Repository(NamedTuple):
    """A repository at a revision; None: its main branch."""

    name: str
    revision: str | None


def download(repository: str, name: str, kind: Literal["dataset", "model"] = "dataset") -> Path:
    """Download a file of a repository, or find it in the local cache; return its path.

    Raises InputError, naming repository and file, when the download fails.
    """
    package = _import_package()
    found = _at_revision(repository)
    try:
        path = package.hf_hub_download(
            found.name, name, repo_type=kind, revision=found.revision, endpoint=_endpoint(), cache_dir=_cache()
        )
    except Exception as error:  # The exceptions of networks and their libraries have no common base.
        raise InputError(f"{repository}: {name}: cannot download from the hub: {_first_line(error)}") from error
    return Path(path)


def local_path(name: str | Path) -> Path:
    """Return the local path of a file; the file of an hf:// address is downloaded first.

    Raises InputError for a malformed address and when the download fails.
    """
    if not str(name).startswith(SCHEME):
        return Path(name)
    return download(*_split(str(name)), "model")


def path_beside(name: str | Path, beside: str) -> Path | None:
    """Return the local path of the file `beside` in the folder of the file `name`; None when there is none.

    `name` may be an hf:// address. Raises InputError when the hub does not answer.
    """
    if not str(name).startswith(SCHEME):
        path = Path(name).parent / beside
        return path if path.is_file() else None
    repository, file = _split(str(name))
    found = _at_revision(repository)
    package = _import_package()
    api = package.HfApi(endpoint=_endpoint())
    file = "/".join([*file.split("/")[:-1], beside])
    try:
        exists = api.file_exists(found.name, file, repo_type="model", revision=found.revision)
    except Exception as error:  # The exceptions of networks and their libraries have no common base.
        cached = package.try_to_load_from_cache(found.name, file, revision=found.revision, repo_type="model")
        if isinstance(cached, str):
            return Path(cached)
        if isinstance(error, package.errors.OfflineModeIsEnabled):
            # Asked to do without the hub: what is not in the cache is not there.
            return None
        raise InputError(f"{repository}: {file}: cannot ask the hub: {_first_line(error)}") from error
    return download(repository, file, "model") if exists else None


def upload(repository: str, files: Mapping[str, bytes | Path], message: str, private: bool = False) -> str:
    """Put files into the main branch of a model repository in one commit; return the commit's address.

    A repository that does not exist is created. Raises InputError when the hub refuses.
    """
    package = _import_package()
    try:
        api = package.HfApi(endpoint=_endpoint())
        api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        changes = [package.CommitOperationAdd(name, content) for name, content in files.items()]
        return str(api.create_commit(repository, changes, commit_message=message).commit_url)
    except Exception as error:  # The exceptions of networks and their libraries have no common base.
        raise InputError(f"{repository}: cannot upload to the hub: {_first_line(error)}") from error


def _split(address: str) -> tuple[str, str]:
    """Return repository and file of an address."""
    owner, _, rest = address.removeprefix(SCHEME).partition("/")
    repository, _, file = rest.partition("/")
    name, at, revision = repository.partition("@")
    if not (owner and name and file) or (at and not revision):
        raise InputError(f"{address}: expected {ADDRESS}")
    return f"{owner}/{repository}", file


def _at_revision(repository: str) -> _Repository:
    name, _, revision = repository.partition("@")
    # A slash in the name of a branch is written as %2F, as in the hub's own addresses.
    return _Repository(name, revision.replace("%2F", "/") or None)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _cache() -> str | None:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return cache
    home = os.environ.get("HF_HOME")
    return os.path.join(home, "hub") if home else None


def _import_package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError("the package huggingface_hub is missing, expected `pip install 'trm[hub]'`") from error
    return huggingface_hub


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Only the cause of this error says why an upload failed.
    return f"{line} {_first_line(error.__cause__)}" if isinstance(error, RuntimeError) and error.__cause__ else line
