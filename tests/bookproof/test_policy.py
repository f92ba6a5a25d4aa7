"""A built page runs what it holds and what lies beside it, and fetches from nowhere else."""

import base64
import hashlib
import types

import pytest

from bookproof.sphinx import policy

PAGE = """<!DOCTYPE html><html><head lang="en"><title>A</title>
<script src="_static/a.js"></script><script>fold()</script>
<script type="application/json">{"a": 1}</script><script type="module">run()</script>
</head><body><header></header><button onclick="say(&quot;1&quot;)">A</button></body></html>"""


def named(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_what_runs_in_a_page_is_named_by_its_digest_and_what_does_not_is_not():
    found = policy.policy(PAGE)
    assert all(named(text) in found for text in ("fold()", "run()", 'say("1")'))
    assert found.count("sha256-") == 3
    assert "'unsafe-hashes'" in found
    assert "'unsafe-hashes'" not in policy.policy("<head></head><script>fold()</script>")


@pytest.mark.parametrize("rule", ["default-src 'self'", "object-src 'none'", "connect-src 'self' data: blob:"])
def test_no_page_asks_another_host(rule):
    found = policy.policy(PAGE)
    assert rule in found
    assert "http" not in found
    assert "'unsafe-inline'" not in found.partition("script-src")[2].partition(";")[0]


def test_the_policy_is_the_first_thing_in_the_head_of_every_page_but_of_those_that_are_shipped(tmp_path):
    for name in ("index.html", "_static/frame.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(PAGE)
    app = types.SimpleNamespace(outdir=str(tmp_path), builder=types.SimpleNamespace(format="html"))
    policy.write_policies(app, None)
    written = (tmp_path / "index.html").read_text()
    assert '<head lang="en">\n    <meta http-equiv="Content-Security-Policy" content="default-src' in written
    assert written.count("http-equiv") == 1
    assert (tmp_path / "_static" / "frame.html").read_text() == PAGE
    policy.write_policies(app, ValueError("the build failed"))
    assert (tmp_path / "index.html").read_text() == written
