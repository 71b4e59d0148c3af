"""Files from the Hugging Face hub (extra `hub`)."""

from pathlib import Path

from trm.errors import InputError


def download(repository: str, name: str) -> Path:
    """Download a file of a data set, or find it in the local cache; return its path.

    Raises InputError, naming repository and file, when it cannot be had.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise InputError("--hub: the package huggingface_hub is missing, expected `pip install 'trm[hub]'`") from error
    try:
        return Path(hf_hub_download(repository, name, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{repository}: {name}: cannot download from the hub: {reason}") from error
