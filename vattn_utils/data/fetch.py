"""One file from the web: from the first of its addresses that has it, whole, within a limit of time and of bytes.

`receive` asks each time; what `fetch` was given is kept in the cache under its whole address, and asked for once.
"""

import hashlib
import http.client
import queue
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from vattn_utils.data.files import cache, sha256_of, write_atomically

MOST_BYTES, SECONDS = 2**28, 600  # that an address may send, and take
SILENCE = 20  # seconds without a byte after which an address is given up


class FetchError(OSError):
    """None of the addresses gave the file; the text says what each of them answered."""


def is_address(text: object) -> bool:
    """Whether `text` is an http or https address, in whatever case."""
    return isinstance(text, str) and re.match("https?://", text, re.IGNORECASE) is not None


def fetch(
    addresses: str | tuple[str, ...],
    sha256: str | None = None,
    folder: str | Path | None = None,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
) -> Path:
    """The file that stands at an address, on this machine; received, with a progress bar in a terminal, if it is new.

    Args:
        folder: where it is kept, under a name made of the first address; None means a folder in the cache.
        addresses, sha256, most_bytes, seconds: of `receive`.

    Returns its path. Raises as `receive` does, and OSError if the folder cannot be written.
    """
    addresses = _checked(addresses)
    folder = folder or (kept / "fetched" if (kept := cache()) else None)
    if folder is None:
        raise OSError("there is no home to keep what is fetched; set VATTN_CACHE to a folder")
    path = Path(folder, hashlib.sha256(addresses[0].encode()).hexdigest())
    if not (path.exists() and sha256 in (None, sha256_of(path))):
        write_atomically(path, receive(addresses, sha256, most_bytes, seconds))
    return path


def receive(
    addresses: str | tuple[str, ...],
    sha256: str | None = None,
    most_bytes: int = MOST_BYTES,
    seconds: float = SECONDS,
) -> bytes:
    """What stands at an address now, from the first that has it.

    Args:
        addresses: http(s), one or several of the same file, which are tried in their order.
        sha256: of the file, in hexadecimal; None takes whatever comes.
        most_bytes, seconds: how much each address may send, and how long it may take from the question to the end.

    Raises ValueError for what is no http(s) address, and FetchError if no address gave the file.
    """
    failures = []
    for address in _checked(addresses):
        try:
            content = _in_time(address, most_bytes, seconds)
            found = hashlib.sha256(content).hexdigest()
            if sha256 not in (None, found):
                raise FetchError(f"this is not the known file: expected SHA-256 {sha256}, found {found}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{address}: {error or type(error).__name__}")
        else:
            return content
    raise FetchError("not to be had from " + "\n  ".join(failures))


def _checked(addresses: str | Sequence[str]) -> tuple[str, ...]:
    addresses = (addresses,) if isinstance(addresses, str) else tuple(addresses)
    for address in addresses:
        if not is_address(address):
            raise ValueError(f"{address!r} is no address; it should begin with http:// or https://")
    return addresses


def _in_time(address: str, most_bytes: int, seconds: float) -> bytes:
    """What `_receive` gives, but never later: nothing else ends a name that is not resolved or a header that drips."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((_receive(address, most_bytes, seconds), None))
        except Exception as error:
            answers.put((b"", error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        content, error = answers.get(timeout=seconds + 0.5)  # what comes slowly is told by `_receive`, with its bytes
    except queue.Empty:
        raise FetchError(f"it had not answered after {seconds:g} seconds") from None
    if error:
        raise error
    return content


def _receive(address: str, most_bytes: int, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    request = urllib.request.Request(address, headers={"User-Agent": "vattn-utils"})
    with urllib.request.urlopen(request, timeout=min(SILENCE, seconds)) as response:
        total, content = int(response.headers["Content-Length"] or 0), bytearray()
        # read1 returns what is there; read would wait for the whole block, however slowly it drips.
        while block := response.read1(2**18):
            content += block
            if max(total, len(content)) > most_bytes:
                raise FetchError(f"it has more than {most_bytes:,} bytes")
            if time.monotonic() > end:
                raise FetchError(f"{len(content):,} bytes had come after {seconds:g} seconds")
            _show_progress(address, len(content), total)
    if len(content) < total:
        raise FetchError(f"the connection broke after {len(content):,} of {total:,} bytes")
    return bytes(content)


def _show_progress(address: str, done: int, total: int) -> None:
    if not sys.stderr.isatty():
        return
    name = address.split("?")[0].rsplit("/", 1)[-1][:40]
    if total:
        line = f"{name} [{'=' * (30 * done // total):30}] {done / total:4.0%} of {total / 1e6:.0f} MB"
    else:
        line = f"{name} {done / 1e6:.0f} MB"
    print(f"\r{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
