"""Built pages lose the style rules, icons and scripts that they cannot use, and nothing else."""

import re
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from bookproof.sphinx import light

STYLE = """@charset "utf-8";/* a comment { */:root{--gap:1px}.a{color:red}.b,.a:hover{top:0}
.b.a{left:0}.b{top:1px}p:not(.b){margin:0}@media (min-width:1px){.b{top:2px}}@media print{.a{top:3px}.b{top:4px}}
@font-face{font-family:x}.w\\:1{width:1px}.a::before{content:"} .b{"}"""


def test_a_rule_stays_while_a_selector_of_it_can_apply():
    kept = "".join(light.used(STYLE, {"a"}))
    assert ".a{color:red}" in kept
    assert re.search(r"[^.]\.a:hover\{top:0\}", kept)
    assert ".b{" not in kept.replace('content:"} .b{"', "")
    assert "{top:3px}" in kept
    assert "{top:4px}" not in kept
    for part in ('@charset "utf-8";', ":root{--gap:1px}", "@font-face{font-family:x}", '.a::before{content:"} .b{"}'):
        assert part in kept
    assert "min-width" not in kept


def test_nothing_goes_of_which_all_is_used():
    every = "".join(light.used(STYLE, {"a", "b", "w:1"}))
    assert re.sub(r"\s", "", every) == re.sub(r"\s|/\*.*?\*/", "", STYLE)


@pytest.mark.parametrize("mathematics", [True, False])
def test_mathematics_is_loaded_where_there_is_some(mathematics):
    page = new_document("page")
    page += nodes.math("", "x^2") if mathematics else nodes.paragraph("", "words")
    scripts = [
        SimpleNamespace(filename="_static/mathjax/tex.js", attributes={}),
        SimpleNamespace(filename=None, attributes={"body": "window.MathJax = {}"}),
        SimpleNamespace(filename="_static/book.js", attributes={}),
    ]
    context = {"script_files": scripts}
    light.only_with_mathematics(None, "page", "page.html", context, page)
    assert len(context["script_files"]) == (3 if mathematics else 1)
    assert context["script_files"][-1].filename == "_static/book.js"


def test_code_loses_the_marks_of_what_looks_like_the_code_around_it():
    context = {
        "body": '<span class="n">x</span><span class="w"> </span><span class="o">=</span><span class="pre">n</span>'
    }
    light.drop_plain_marks(None, "page", "page.html", context, None)
    assert context["body"] == 'x <span class="o">=</span><span class="pre">n</span>'


def test_no_script_of_the_head_keeps_a_page_from_being_shown():
    page = """<head>
  <!-- Pre-loaded scripts that we'll load fully later -->
  <link rel="preload" as="script" href="a.js" />
    <script src="_static/documentation_options.js?v=1"></script>
    <script src="b.js"></script><script defer="defer" src="c.js"></script><script>OPTIONS.x = 1</script>
</head><body><script src="d.js"></script></body>"""
    shown = light.without_waiting(page, "const OPTIONS = {}")
    assert re.sub(r"\s+<", "<", shown.partition("</head>")[0]).strip() == (
        "<head><script>const OPTIONS = {}</script>"
        '<script defer src="b.js"></script><script defer="defer" src="c.js"></script><script>OPTIONS.x = 1</script>'
    )
    assert shown.endswith('<body><script src="d.js"></script></body>')
