"""Files from and to the Hugging Face hub (extra `hub`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trm.errors import InputError

SCHEME = "hf://"
"""How a name begins that stands for a file of a model on the hub: hf://OWNER/REPOSITORY/FILE."""


def download(repository: str, name: str, kind: Literal["dataset", "model"] = "dataset") -> Path:
    """Download a file of a repository, or find it in the local cache; return its path.

    Raises InputError, naming repository and file, when it cannot be had.
    """
    package = _import_package()
    try:
        return Path(package.hf_hub_download(repository, name, repo_type=kind))
    except Exception as error:  # What a network and its libraries raise has no common base.
        raise InputError(f"{repository}: {name}: cannot download from the hub: {_first_line(error)}") from error


def local_path(name: str | Path) -> Path:
    """Return the path of a file that may be named as hf://OWNER/REPOSITORY/FILE; then it is downloaded first."""
    if not str(name).startswith(SCHEME):
        return Path(name)
    return download(*_split(str(name)), "model")


def path_beside(name: str | Path, beside: str) -> Path | None:
    """Return the path of a file in the folder of another, which may be on the hub; None when there is none."""
    if not str(name).startswith(SCHEME):
        path = Path(name).parent / beside
        return path if path.is_file() else None
    repository, file = _split(str(name))
    package = _import_package()
    file = "/".join([*file.split("/")[:-1], beside])
    try:
        there = package.file_exists(repository, file, repo_type="model")
    except Exception as error:  # What a network and its libraries raise has no common base.
        raise InputError(f"{repository}: {file}: cannot ask the hub: {_first_line(error)}") from error
    return download(repository, file, "model") if there else None


def _split(address: str) -> tuple[str, str]:
    """Return repository and file of an address."""
    owner, _, rest = address.removeprefix(SCHEME).partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise InputError(f"{address}: expected {SCHEME}OWNER/REPOSITORY/FILE")
    return f"{owner}/{repository}", file


def upload(repository: str, files: Mapping[str, bytes | Path], message: str, private: bool = False) -> str:
    """Put files into a model repository, which is made if need be, in one commit; return its address.

    Raises InputError when the hub refuses.
    """
    package = _import_package()
    try:
        api = package.HfApi()
        api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        changes = [package.CommitOperationAdd(name, content) for name, content in files.items()]
        return str(api.create_commit(repository, changes, commit_message=message).commit_url)
    except Exception as error:  # What a network and its libraries raise has no common base.
        raise InputError(f"{repository}: cannot upload to the hub: {_first_line(error)}") from error


def _import_package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError("the package huggingface_hub is missing, expected `pip install 'trm[hub]'`") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
