"""A Sphinx extension: what a package's modules offer, on a page, read from their source. Nothing is imported.

    ```{modules} package/station
    ```

shows every function and class of the modules in that folder, and every method, whose name begins with no underscore and
which has a docstring. A docstring is Markdown, with the sections `Args:`, `Raises:` and the like as Google writes them.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):\n((?:(?: {4}.*)?(?:\n|$))+)")
ITEM = re.compile(r"^ {4}(\*{0,2}\w[\w, *]*): ", re.MULTILINE)
TITLES = {"Args": "Arguments"}
PROPERTY = {"property", "cached_property"}

Documented = ast.FunctionDef | ast.ClassDef


def offered(node: ast.Module | ast.ClassDef) -> list[Documented]:
    """The functions and classes of a module, or the methods of a class, that are for others, in their order."""
    return [
        child
        for child in node.body
        if isinstance(child, Documented) and not child.name.startswith("_") and ast.get_docstring(child)
    ]


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
        fields = (ast.unparse(it) for it in node.body if isinstance(it, ast.AnnAssign))
        return f"{node.name}({', '.join(fields)})"
    return node.name


def without_self(arguments: ast.arguments) -> ast.arguments:
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        return ast.arguments(**{**dict(ast.iter_fields(arguments)), "args": arguments.args[1:]})
    return arguments


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists."""

    def listed(found: re.Match[str]) -> str:
        title, body = TITLES.get(found[1], found[1]), found[2].rstrip()
        items = ITEM.sub(lambda item: f"- `{item[1]}`: ", body).replace("\n        ", "\n  ")
        return f"**{title}**\n\n{inspect.cleandoc(items) if items == body else items}\n\n"

    return SECTION.sub(listed, inspect.cleandoc(docstring) + "\n").strip()


def described(node: Documented, module: str, fence: int = 5) -> Iterator[str]:
    """The lines of a directive of Sphinx that describes a function or class, its methods within."""
    kind = "class" if isinstance(node, ast.ClassDef) else "function" if fence == 5 else "method"
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    told, name = (node.name, "property") if decorators & PROPERTY else (signature(node), kind)
    inner = offered(node) if isinstance(node, ast.ClassDef) else []
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
        lines: list[str] = []
        for name, tree in modules(folder):
            about = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")[0]
            if offered(tree):
                lines += [f"```{{rubric}} {name}", "```", "", *about.splitlines(), ""]
                lines += [line for node in offered(tree) for line in described(node, name)]
        shown = nodes.container(classes=["api"])
        self.state.nested_parse(StringList(lines, str(folder)), 0, shown)
        for link in list(shown.findall(addnodes.pending_xref)):
            if isinstance(link.parent, nodes.TextElement) and link.get("refdomain") == "py":
                link.replace_self(link.children)  # a type is a word here: most of them have their page elsewhere
        return [shown]


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("modules", Modules)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
