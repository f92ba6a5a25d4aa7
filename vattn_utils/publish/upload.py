"""What was published, uploaded to the Hugging Face Hub. Needs `huggingface_hub`, and no Keras.

The token is huggingface_hub's matter: `HF_TOKEN`, or what `hf auth login` keeps. It is neither read nor named here, and
what the server says is not repeated, since it might.
"""

import importlib
from pathlib import Path
from typing import Any

from vattn_utils.publish import PublishError

# Why the Hub refuses, by the status of its answer.
REFUSED = {
    401: "it knows no valid token; `hf auth login`, or set HF_TOKEN to one that may write",
    403: "the token may not write there; make one that may, or give a repository of your own",
    404: "it has no such repository or owner for this token",
}


def check(repository: str) -> None:
    """Raise `PublishError` unless huggingface_hub is installed and `repository` can be a name there, "OWNER/NAME"."""
    hub = _hub()
    try:
        hub.utils.validate_repo_id(repository)
    except hub.utils.HFValidationError as error:
        raise PublishError(f"{repository!r} is no repository of the Hub; give OWNER/NAME ({error})") from error
    if repository.count("/") != 1:
        raise PublishError(f"{repository!r} has no owner; give OWNER/NAME")


def upload(folder: Path, repository: str, kind: str = "model") -> str:
    """Upload the folder as one commit to a repository of the Hub, which is made if it is not there.

    Args:
        folder: what `hub.publish` or `space.publish` wrote.
        repository: "OWNER/NAME".
        kind: "model" or "space".

    Files that are there and not in `folder` stay. Returns the address. Raises `PublishError`, without the server's
    words, if the card cannot be read or the Hub refuses: `folder` is as it was then.
    """
    check(repository)
    hub = _hub()
    card = (folder / "README.md").read_text(encoding="utf-8")
    try:
        read = (hub.ModelCard if kind == "model" else hub.SpaceCard)(card)
    except (ValueError, TypeError) as error:
        raise PublishError(f"{folder / 'README.md'} is no card that the Hub can read: {error}") from error
    if kind == "model" and not read.data.eval_results:
        raise PublishError(f"{folder / 'README.md'} has no results; publish the record again")
    try:
        api = hub.HfApi()
        api.create_repo(repository, repo_type=kind, exist_ok=True, space_sdk="static" if kind == "space" else None)
        api.upload_folder(
            folder_path=folder, repo_id=repository, repo_type=kind, commit_message="Publish with vattn_utils"
        )
    except Exception as error:  # whatever the library in use raises, requests, httpx or its own: its words stay inside
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = REFUSED.get(status, f"status {status}") if status else f"no answer ({type(error).__name__})"
        raise PublishError(f"{repository} was not uploaded, {folder} is whole: the Hub refuses: {why}") from None
    return f"{api.endpoint}/{'spaces/' if kind == 'space' else ''}{repository}"


def _hub() -> Any:
    try:
        hub = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.utils")  # which the package imports when it is asked
    except ImportError as error:
        raise PublishError("uploading needs huggingface_hub; pip install 'vattn-utils[hub]'") from error
    return hub
