"""What a stranger installs: two small packages that hold what git tracks of them, and say what they need.

They are built from a copy of what is tracked, among files that a machine may have lying about and nobody else has.
"""

import ast
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from sys import stdlib_module_names

import pytest
from hatchling import build
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bookproof
import vattn_utils
from bookproof.address import repository
from bookproof.book import Book

ROOT = Path(__file__).parents[1]
ADDRESS = repository(Book(ROOT))
STRAYS = ("records/mine/record.json", "benchmarks/results/mine.jsonl", "_build/a.py", "vattn_utils/__pycache__/a.pyc")
# Where the project of each package stands, its code, and its version.
PACKAGES = {
    "vattn_utils": (".", "vattn_utils", vattn_utils.__version__),
    "bookproof": ("bookproof", "bookproof/src/bookproof", bookproof.__version__),
}
each_package = pytest.mark.parametrize("package", PACKAGES)


def tracked(*paths):
    """What git tracks under `paths`, from the root."""
    done = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()] or pytest.skip("not a checkout")


def built(source, folder):
    """The wheel and the archive of sources of the project in `source`."""
    before = Path.cwd()
    os.chdir(source)
    try:
        return folder / build.build_wheel(str(folder)), folder / build.build_sdist(str(folder))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{package: its wheel and its archive of sources}"""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    ours = ("vattn_utils", "bookproof", "records", "benchmarks", "*.md", "*.toml", "*.sha256", "hatch_build.py")
    for name in tracked(*ours, "LICENSE", ".gitignore"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    for name in STRAYS:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("mine")
    return {package: built(copy / place, folder) for package, (place, *_) in PACKAGES.items()}


def contents(wheel):
    """{path: bytes} of what a wheel installs, what is said about it left out."""
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if ".dist-info/" not in name}


def metadata(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(file.read(name))


@each_package
def test_they_are_small(made, package):
    wheel, sources = made[package]
    assert wheel.stat().st_size < 1_000_000
    assert sources.stat().st_size < 2_000_000


@each_package
def test_a_wheel_holds_what_git_tracks_of_the_package_and_nothing_else(made, package):
    folder = PACKAGES[package][1]
    expected = {package + name.removeprefix(folder): (ROOT / name).read_bytes() for name in tracked(folder)}
    found = contents(made[package][0])
    index = found.pop("vattn_utils/MANIFEST.sha256", None)
    assert found == expected
    assert f"{package}/py.typed" in found
    assert (index == (ROOT / "MANIFEST.sha256").read_bytes()) is (package == "vattn_utils")


@each_package
def test_the_same_wheel_is_made_of_the_sources_alone(made, package, tmp_path):
    wheel, sources = made[package]
    with tarfile.open(sources) as file:
        file.extractall(tmp_path, filter="data")
    again, _ = built(tmp_path / sources.name.removesuffix(".tar.gz"), tmp_path)
    assert again.read_bytes() == wheel.read_bytes()
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert not [name for name in names if name.endswith(STRAYS)]


def test_the_index_has_every_record_and_every_measurement_that_git_tracks(made):
    index = contents(made["vattn_utils"][0])["vattn_utils/MANIFEST.sha256"].decode()
    expected = tracked("records/*/record.json", "benchmarks/results/*.jsonl")
    for name in expected:
        assert f"{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}  {name}\n" in index
    shipped = tracked("records")
    for name in (name for name in expected if name.endswith(".json")):
        record = json.loads((ROOT / name).read_text(encoding="utf-8"))
        files = {name.replace("record.json", file) for file in record["sha256"]}
        large = 2 * record["parameters"] > 5_000_000
        assert files - set(shipped) == ({name.replace("record.json", "model.safetensors")} if large else set())


@each_package
def test_an_index_is_told_who_made_it_what_for_and_under_which_licence(made, package):
    said, version = metadata(made[package][0]), PACKAGES[package][2]
    assert canonicalize_name(said["Name"]) == canonicalize_name(package)
    assert said["Version"] == version
    assert said["Author"] == ("The authors of bookproof" if package == "bookproof" else Book(ROOT).config()["author"])
    assert "@" not in " ".join(value for key, value in said.items() if "uthor" in key or "aintainer" in key)
    assert said["License-Expression"] == "Apache-2.0"
    (link,) = said.get_all("Project-URL")
    assert link == f"Repository, {ADDRESS}" or package == "bookproof"  # which a fork of the book does not make its own
    assert said["Summary"]
    classifiers = said.get_all("Classifier")
    assert "Typing :: Typed" in classifiers
    assert f"Programming Language :: Python :: {said['Requires-Python'].removeprefix('>=')}" in classifiers


@each_package
def test_every_link_of_the_long_description_is_whole_and_leads_to_a_file(made, package):
    said = metadata(made[package][0])
    assert said["Description-Content-Type"] == "text/markdown"
    text = said.get_payload(decode=True).decode()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) == len(re.findall(r"\]\(", text)) > 0
    assert [link for link in links if not link.startswith("https://")] == []
    inner = re.compile(rf"{re.escape(ADDRESS)}/(?:blob|raw)/v{re.escape(said['Version'])}/([^#]+)")
    paths = [found[1] for link in links if (found := inner.match(link))]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text)
    assert all(f"{ADDRESS}/raw/" in picture for picture in pictures)
    assert (bool(paths), bool(pictures)) == ((True, True) if package == "vattn_utils" else (False, False))


# What is imported is declared

KNOWN = packages_distributions()  # by the name that is imported


def imports(source, everywhere=True):
    """The packages that a program imports, those of Python left out; not `everywhere`: only as it begins."""
    tree = ast.parse(source)
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    names -= {"vattn_utils", "bookproof"} | set(stdlib_module_names)
    return {canonicalize_name(KNOWN.get(name, [name])[0]) for name in names}


def declared(package, *extras):
    """The names of what a package says that it needs, with some of its extras."""
    project = tomllib.loads((ROOT / PACKAGES[package][0] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [asked for extra in extras for asked in project["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(requirement).name) for requirement in asked}


def modules(package):
    return sorted((ROOT / PACKAGES[package][1]).rglob("*.py"))


EXTRAS = {
    "vattn_utils": ("book", "tensorflow", "jax", "torch", "hub", "cluster"),
    "bookproof": ("verify", "sphinx"),
}


@each_package
def test_whatever_a_package_imports_it_declares(package):
    found = {name for path in modules(package) for name in imports(path.read_text(encoding="utf-8"))}
    assert found - declared(package, *EXTRAS[package]) == set()
    assert declared(package) <= found  # and nothing that it does not import


def test_what_a_module_imports_as_it_begins_comes_without_extras():
    for path in modules("vattn_utils"):
        found = imports(path.read_text(encoding="utf-8"), everywhere=False)
        assert found - declared("vattn_utils") == set(), path.name


def test_chapters_import_what_the_extra_for_them_brings():
    for path in Book(ROOT).chapters().values():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        source = re.sub(r"^(\s*)%.*", r"\1pass", "\n".join(code), flags=re.MULTILINE)
        assert imports(source) - declared("vattn_utils", "book") == set(), path.name
    assert "bookproof" in declared("vattn_utils", "book")
