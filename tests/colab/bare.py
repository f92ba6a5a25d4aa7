"""A chapter as a reader opens it in Colab: a bare notebook, run with packages that somebody else chose.

    python bare.py CHAPTER.ipynb REMOTE

runs the chapter in the quick profile, from a folder that holds nothing else, with the Python that runs this program.
Whatever its first cell installs from the book's address, and whatever the packages then fetch from there, comes from
the repository REMOTE on this machine. It fails
unless the first cell adds the book's two packages, changes no other and prints at most one line, and the rest runs to
its end. Nothing of the book is imported here: nbclient and ipykernel are all that is needed, and Colab has both.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PACKAGES = ("bookproof", "vattn-utils")
ADDRESS = re.compile(r"%pip install .*?git\+([^\s#]+)")
PROFILE = ('profile: str = "published"', 'profile: str = "quick"')


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """The address on this machine at which the files of `folder` are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def environment(address, remote, mirror, folder):
    """The environment of a kernel that knows of no checkout, of a git that finds `address` in `remote`, and of packages
    that fetch the repository's files from `mirror`. What they keep lies in `folder`."""
    gitconfig = Path(folder, "gitconfig")
    # The repository may be mounted, and so belong to somebody else.
    gitconfig.write_text(f'[url "{Path(remote).resolve().as_uri()}"]\ninsteadOf = {address}\n[safe]\ndirectory = *\n')
    ours = ("VATTN_", "PYTHON", "PYTEST_", "TF_", "MPLBACKEND")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "GIT_CONFIG_GLOBAL": str(gitconfig),
        "VATTN_MIRROR": mirror,
        "VATTN_CACHE": str(Path(folder, "cache")),
        # What pip would say of itself and of the user does not depend on the chapter.
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def packages():
    """What is installed here, a line for each package."""
    pip = [sys.executable, "-m", "pip", "freeze"]
    return set(subprocess.run(pip, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines())


def main(source, remote):
    source = Path(source)
    notebook = nbformat.read(source, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    parameters, first = cells[:2]
    parameters.source = parameters.source.replace(*PROFILE)
    address = ADDRESS.search(first.source)[1]
    before = packages()
    faults = [f"{line} is there already; use a fresh environment" for line in before if line.startswith(PACKAGES)]

    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as aside, served(remote) as mirror:
        nbformat.write(notebook, Path(bare, source.name))
        client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": bare}})
        client.execute(env=environment(address, remote, mirror, aside))
        left = {path.name for path in Path(bare).iterdir()} - {source.name}
        faults += [f"the chapter left {name} beside itself" for name in sorted(left)]

    after = packages()
    faults += [f"{line} was there and is not any more" for line in sorted(before - after)]
    added = sorted(after - before)
    sources = [line.partition("@ git+")[0].strip() for line in added if f" @ git+{address}@" in line]
    if len(added) != len(PACKAGES) or sources != list(PACKAGES):
        faults.append(f"the first cell may add {PACKAGES} from {address} only, but it added: {', '.join(added)}")
    printed = "".join(output.get("text", repr(output)) for output in first.outputs).splitlines()
    if len(printed) > 1:
        faults.append(f"the first cell printed {len(printed)} lines, more than one: {printed}")
    for number, cell in enumerate(cells, 1):
        noise = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
        if noise:
            faults.append(f"code cell {number} wrote to stderr: {noise.strip()}")
    print(*faults or [f"{source.name}: {len(cells)} cells ran; added {', '.join(added)}; printed {printed}"], sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
