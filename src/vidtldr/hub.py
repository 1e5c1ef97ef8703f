"""Files of models on the hub, without waiting in vain. huggingface_hub is imported on first use."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

__all__ = ["HUB_ID", "ask_hub", "fetch_file", "file_in_cache", "upload_file"]

#: OWNER/NAME.
HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w([\w.-]*\w)?", re.ASCII)
_SECONDS_TO_ANSWER = 5.0
_MAY_NOT_WRITE = (401, 403)


def ask_hub(
    name: str,
    file: str,
    asked: str,
    if_missing: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
) -> "HfFileMetadata":
    """Ask the hub once what it knows about a model's file; it has 5 seconds to answer.

    Args:
        name: Id of the model.
        file: The file's name.
        asked: What the user wrote, for messages.
        if_missing: How the sentence ends if the model has no such file, and what to do then.
        revision: Branch, tag or commit; None for the main branch.
        token: As in huggingface_hub.

    Raises:
        FileNotFoundError: If the hub has no such model, revision or file, or does not show it.
        ConnectionError: If it cannot be reached; says why, as a part of a sentence.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    url = hf_hub_url(name, file, revision=revision)
    try:
        return get_hf_file_metadata(url, token=token, timeout=_SECONDS_TO_ANSWER)
    except LocalTokenNotFoundError as error:
        raise FileNotFoundError(
            f"{asked} needs a login, and there is none. Run `hf auth login`, or leave out token."
        ) from error
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"{asked} is restricted by its owner. Ask for access on its page of the hub, then run "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{asked} is neither a directory here nor a public model on the hub. Check the name; "
            "for a private model run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{asked} on the hub has no revision {revision!r}. Check its name."
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(f"{asked} on the hub has no {file}{if_missing}") from error
    except Exception as error:  # which error a missing network is depends on the library's version
        raise _unreachable(error) from error


def file_in_cache(name: str, file: str, revision: str | None = None) -> Path | None:
    """A file's copy in the hub's cache; None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def fetch_file(name: str, file: str, *, revision: str | None, token: str | bool | None) -> Path:
    """Fetch a file that the hub has into its cache, unless the same is there.

    Raises:
        ConnectionError: If it does not arrive; says why, as a part of a sentence.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, file, revision=revision, token=token))
    except Exception as error:  # as in `ask_hub`
        raise _unreachable(error) from error


def upload_file(
    name: str,
    file: str,
    content: bytes,
    *,
    private: bool | None,
    token: str | bool | None,
    create_pr: bool,
) -> str:
    """Write one file of a model on the hub, which is made if need be.

    Args:
        name: Id of the model.
        file: The file's name.
        content: Of the file.
        private: Whether a model that is made is private; None for its owner's default.
        token: As in huggingface_hub.
        create_pr: Whether to propose the file to the model's owner.

    Returns:
        Address of the commit or of the pull request.

    Raises:
        PermissionError: If the token does not allow it.
        OSError: If the hub refuses it for another reason, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        whole = api.create_repo(name, private=private, exist_ok=True).repo_id  # with its owner
        done = api.upload_file(
            path_or_fileobj=content,
            path_in_repo=file,
            repo_id=whole,
            commit_message=f"Add {file}",
            create_pr=create_pr,
        )
    except HfHubHTTPError as error:
        if error.response.status_code in _MAY_NOT_WRITE:
            raise PermissionError(
                f"repo_id must be a model that you may write, got {name!r} ({_reason(error)}). Run "
                "`hf auth login` with a token that may, or propose it with create_pr=True."
            ) from error
        raise OSError(
            f"{file} must be taken by the hub for {name!r}, got: {_reason(error)}. Try again later."
        ) from error
    except ValueError:  # not an id
        raise
    except Exception as error:  # as in `ask_hub`
        raise ConnectionError(f"{file} must reach the hub: {_unreachable(error)}.") from error
    return done.pr_url or done.commit_url


def _unreachable(error: Exception) -> ConnectionError:
    return ConnectionError(f"the hub cannot be reached ({_reason(error)})")


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:100] or type(error).__name__
