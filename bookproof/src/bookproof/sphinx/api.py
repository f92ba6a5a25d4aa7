"""A Sphinx extension: what a package's modules offer, on a page, read from their source. Nothing is imported.

    ```{modules} package/station
    ```

shows the functions and classes of the modules in that folder that are for others: their names begin with no underscore,
and they say what their arguments are, or a chapter uses them. Of a docstring the first paragraph stands open, and the
rest is folded; it is Markdown, with the sections `Args:`, `Raises:` and the like as Google writes them.
"""

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from bookproof.book import Book
from bookproof.notebooks import code_cells
from bookproof.sources import bound, home, split, syntax_tree

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):\n((?:(?: {4}.*)?(?:\n|$))+)")
ITEM = re.compile(r"^ {4}(\*{0,2}\w[\w, *]*): ", re.MULTILINE)
WORD = re.compile(r'<span class="pre">([^<]*)</span>')
TITLES = {"Args": "Arguments"}
FORMULA = re.compile(r"(?<!`)\${1,2}([^$`]+)\${1,2}(?!`)")  # set as code, as in the source
PROPERTY = {"property", "cached_property"}

Documented = ast.FunctionDef | ast.ClassDef


def documented(node: ast.Module | ast.ClassDef) -> list[Documented]:
    """The functions and classes of a module, or the methods of a class, with a docstring and no underscore."""
    return [
        child
        for child in node.body
        if isinstance(child, Documented) and not child.name.startswith("_") and ast.get_docstring(child)
    ]


def offered(module: str, tree: ast.Module, used: set[str]) -> list[Documented]:
    """What of a module is for others: what says its arguments, and what is in `used`, by full names."""
    return [
        node
        for node in documented(tree)
        if "Args:" in (ast.get_docstring(node) or "") or f"{module}.{node.name}" in used
    ]


@functools.cache  # every station of one page asks
def used_by_chapters(book: Book) -> set[str]:
    """The full names of what the chapters take from the book's own packages: {"package.models.vit.ViT", ...}."""
    found = set()
    for path in book.chapters().values():
        cells = code_cells(nbformat.read(path, as_version=4))
        tree = syntax_tree((number, cell.source) for number, cell in cells)
        names = bound(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name):
                first, point, rest = ast.unparse(node).partition(".")
                module, inner = split(names.get(first, "") + point + rest, book)
                name = inner.partition(".")[0]
                if module and name:
                    found.add(f"{home(module, name, book)}.{name}")
    return found


def modules(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """The modules of a package's folder that have a docstring, by dotted name below the folder's parent's parent."""
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree):
            place = path.relative_to(folder.parent.parent).with_suffix("")
            yield ".".join(part for part in place.parts if part != "__init__"), tree


def signature(node: Documented) -> str:
    """How a function is called, or a class made; a data class by its fields."""
    if isinstance(node, ast.FunctionDef):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"{node.name}({ast.unparse(without_self(node.args))}){returned}"
    made = next((it for it in node.body if isinstance(it, ast.FunctionDef) and it.name == "__init__"), None)
    if made:
        return f"{node.name}({ast.unparse(without_self(made.args))})"
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [ast.unparse(it) for it in node.body if isinstance(it, ast.AnnAssign)]
        fields = [field for field in fields if not field.startswith("_")]
        return f"{node.name}({', '.join(fields)})"
    return node.name


def without_self(arguments: ast.arguments) -> ast.arguments:
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        return ast.arguments(**{**dict(ast.iter_fields(arguments)), "args": arguments.args[1:]})
    return arguments


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists, its formulas code."""

    def listed(found: re.Match[str]) -> str:
        title, body = TITLES.get(found[1], found[1]), found[2].rstrip()
        items = ITEM.sub(lambda item: f"- `{item[1]}`: ", body).replace("\n        ", "\n  ")
        return f"**{title}**\n\n{inspect.cleandoc(items) if items == body else items}\n\n"

    text = FORMULA.sub(lambda found: f"`{' '.join(found[1].split())}`", inspect.cleandoc(docstring) + "\n")
    return SECTION.sub(listed, text).strip()


def described(node: Documented, module: str, fence: int = 5) -> Iterator[str]:
    """The lines of a directive of Sphinx that describes a function or class, its methods within."""
    kind = "class" if isinstance(node, ast.ClassDef) else "function" if fence == 5 else "method"
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    told, name = (node.name, "property") if decorators & PROPERTY else (signature(node), kind)
    inner = documented(node) if isinstance(node, ast.ClassDef) else []
    yield f"{'`' * (fence + bool(inner))}{{py:{name}}} {told}"
    yield f":module: {module}"
    yield ""
    yield from markdown(ast.get_docstring(node) or "").splitlines()
    for child in inner:
        yield ""
        yield from described(child, module, fence - 1)
    yield "`" * (fence + bool(inner))
    yield ""


class Modules(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir, self.arguments[0])
        if not folder.exists():
            raise self.error(f"{self.arguments[0]} does not exist; name a folder or a file of the package")
        for path in folder.rglob("*.py"):
            self.env.note_dependency(str(path))
        used = used_by_chapters(Book(Path(self.env.srcdir)))
        lines: list[str] = []
        for name, tree in modules(folder):
            about = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")[0]
            known = offered(name, tree, used)
            if known:
                lines += [f"```{{rubric}} {name}", "```", "", *about.splitlines(), ""]
                lines += [line for node in known for line in described(node, name)]
        shown = nodes.container(classes=["api"])
        self.state.nested_parse(StringList(lines, str(folder)), 0, shown)
        for line in shown.findall(addnodes.desc_signature):
            flatten(line)
        for content in shown.findall(addnodes.desc_content):
            fold(content)
        return [shown]


def flatten(line: addnodes.desc_signature) -> None:
    """Set what stands around a name as one text: no type is a link, as most have their page elsewhere, and a page of
    hundreds of functions stays light."""
    (name,) = line.findall(addnodes.desc_name)
    before, _, after = line.astext().partition(name.astext())
    parts = [nodes.inline("", before), name, nodes.inline("", after)]
    line.children = []
    line += [part for part in parts if part.astext()]


def fold(content: addnodes.desc_content) -> None:
    """Fold what is said of a function after its first paragraph, its methods left out."""
    methods = [child for child in content if isinstance(child, addnodes.desc | addnodes.index)]
    rest = [child for child in content[1:] if child not in methods]
    if rest:
        begin, end = (nodes.raw("", text, format="html") for text in ("<details><summary>More</summary>", "</details>"))
        content.children = [content[0], begin, *rest, end, *methods]


def lighten(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Take off such a page what Sphinx puts around each word of code: thousands of elements that no rule asks for."""
    if '<div class="api' in context.get("body", ""):
        context["body"] = WORD.sub(r"\1", context["body"])


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("modules", Modules)
    app.connect("html-page-context", lighten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
