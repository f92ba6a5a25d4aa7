"""What is published can be uploaded, to a Hub of our own on this machine; the token goes to it, and nowhere else."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from vattn_utils.publish import PublishError, upload

needs_hub = pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")

TOKEN = "hf_secretsecretsecretsecretsecret"
UPLOAD = """
import sys
from pathlib import Path
from vattn_utils.publish import PublishError, upload
try:
    print(upload.upload(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
except PublishError as error:
    raise SystemExit(f"refused: {error}")
"""
CARD = """---
license: apache-2.0
model-index:
  - name: tiny
    results:
      - task: {type: image-classification}
        dataset: {name: CIFAR-10, type: uoft-cs/cifar10}
        metrics: [{type: accuracy, value: 0.5}]
---
# Tiny
"""


class Hub(ThreadingHTTPServer):
    """The part of the Hub that an upload needs.

    requests: what was asked, method and path. tokens: the tokens that came with it. files: what was committed, by name.
    made: what the repository was made as. status: of every answer, 200 if all is well; its text repeats the token.
    """

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.requests, self.tokens, self.large, self.files, self.made = status, [], set(), {}, {}, {}

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def _answer(self):
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.requests.append(f"{self.command} {path}")
        hub.tokens |= {token} - {""}
        found = self._found(hub, path, body) if hub.status == 200 else {"error": f"what of {token}?"}
        content = json.dumps(found).encode()
        self.send_response(hub.status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = _answer

    def _found(self, hub, path, body):
        if path.startswith("/large/"):
            hub.large[path.removeprefix("/large/")] = body
            return {}
        if path == "/api/repos/create":
            hub.made = json.loads(body)
            return {"url": f"{hub.address}/someone/tiny", "name": "someone/tiny"}
        if "/preupload/" in path:
            return {"files": [self._mode(file["path"]) for file in json.loads(body)["files"]]}
        if path.endswith("/info/lfs/objects/batch"):
            return {"transfer": "basic", "objects": [self._place(hub, file) for file in json.loads(body)["objects"]]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.large[value["oid"]]
            return {"commitUrl": f"{hub.address}/someone/tiny/commit/{'1' * 40}", "commitOid": "1" * 40}
        return {"sha": "1" * 40, "siblings": [], "id": "someone/tiny", "errors": [], "warnings": []}

    @staticmethod
    def _mode(path):
        return {"path": path, "uploadMode": "lfs" if path.endswith(".keras") else "regular", "shouldIgnore": False}

    @staticmethod
    def _place(hub, file):
        return {**file, "actions": {"upload": {"href": f"{hub.address}/large/{file['oid']}", "header": {}}}}

    def log_message(self, *_):
        pass


@pytest.fixture
def folder(tmp_path):
    """What is uploaded: a card, a large file and one in a folder."""
    folder = tmp_path / "hub"
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "model.keras").write_bytes(bytes(range(256)) * 40)
    (folder / "tensorboard" / "events.out.tfevents").write_bytes(b"a log")
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def uploaded(folder, tmp_path):
    """Upload in a process of its own, whose Hub is at the address that is given."""

    def uploaded(address, kind="model"):
        own = {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", UPLOAD, str(folder), "someone/tiny", kind]
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            command, env={**os.environ, **own, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
        )

    return uploaded


def keeps_to_itself(hub, done, place):
    """Whether the token was sent to the Hub, and is neither shown nor in a file of `place`."""
    written = [name for name, content in contents(place).items() if TOKEN.encode() in content]
    return hub.tokens == {TOKEN} and TOKEN not in done.stdout + done.stderr and not written


@needs_hub
def test_a_folder_is_uploaded_whole_in_one_commit_and_the_token_sent_and_kept(uploaded, folder, tmp_path):
    with Hub() as hub:
        done = uploaded(hub.address)
    assert done.stdout == f"{hub.address}/someone/tiny\n", done.stderr
    assert keeps_to_itself(hub, done, tmp_path)
    assert hub.files == contents(folder)
    assert len([asked for asked in hub.requests if "/commit/" in asked]) == 1
    assert hashlib.sha256(hub.files["model.keras"]).hexdigest() in hub.large


@needs_hub
def test_a_space_is_made_as_a_static_one(uploaded, folder):
    with Hub() as hub:
        done = uploaded(hub.address, "space")
    assert done.stdout == f"{hub.address}/spaces/someone/tiny\n", done.stderr
    assert (hub.made["type"], hub.made["sdk"]) == ("space", "static")
    assert hub.files == contents(folder)


@needs_hub
@pytest.mark.parametrize(
    ("status", "words"), [(401, "`hf auth login`, or set HF_TOKEN"), (403, "may not write there"), (418, "status 418")]
)
def test_a_hub_that_refuses_is_a_sentence_with_the_way_out_and_without_the_token(status, words, uploaded, tmp_path):
    with Hub(status) as hub:
        done = uploaded(hub.address)
    assert done.returncode == 1
    assert keeps_to_itself(hub, done, tmp_path)
    assert done.stderr.splitlines()[-1].startswith("refused: someone/tiny was not uploaded, ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@needs_hub
def test_a_hub_that_does_not_answer_is_a_sentence(uploaded):
    with Hub() as hub:
        gone = hub.address
    done = uploaded(gone)
    assert "was not uploaded" in done.stderr
    assert "no answer" in done.stderr
    assert "Traceback" not in done.stderr


@needs_hub
def test_a_card_without_results_is_not_uploaded(folder):
    (folder / "README.md").write_text(CARD.partition("model-index")[0] + "---\n# Tiny\n")
    with pytest.raises(PublishError, match="has no results; publish the record again"):
        upload.upload(folder, "someone/tiny")


@needs_hub
@pytest.mark.parametrize("name", ["tiny", "a/b/c", "some one/tiny", "someone/", "../tiny"])
def test_what_is_no_name_of_a_repository_is_refused(name):
    with pytest.raises(PublishError, match="give OWNER/NAME"):
        upload.check(name)


def test_without_huggingface_hub_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PublishError, match=r"pip install 'vattn-utils\[hub\]'"):
        upload.check("someone/tiny")
