"""A book says what it is; a wrong word in its settings is named, with the way out."""

import pytest

from bookproof import book as books
from bookproof import config
from bookproof.book import Book, ChapterError
from bookproof.config import BookError, ConfigError, Settings


def settings(book, text):
    (book.root / "pyproject.toml").write_text(f"[tool.bookproof]\n{text}\n")
    return config.read(book.root)


def test_entries_are_read_in_order():
    sections = {"file": "a", "sections": [{"file": "b"}]}
    toc = {"root": "i", "parts": [{"chapters": [sections, {"url": "https://x.org"}]}]}
    assert list(books.entries(toc)) == ["i", "a", "b"]


def test_every_way_to_hold_entries_is_read_and_suffixes_are_none_of_a_page():
    toc = {"root": "i.md", "subtrees": [{"entries": [{"file": "a.ipynb"}]}, {"caption": "B", "sections": None}]}
    assert list(books.entries(toc)) == ["i", "a"]


@pytest.mark.parametrize(
    ("toc", "complaint"),
    [
        ({"root": "i", "chapters": [{"glob": "book/*"}]}, "the key 'glob' is not known. Name each page"),
        ({"root": "i", "chapter": [{"file": "a"}]}, "the key 'chapter' is not known. Did you mean 'chapters'"),
        ({"root": "i", "chapters": ["a"]}, "'a' is not an entry; write `- file: PAGE`"),
    ],
)
def test_what_would_lose_a_chapter_is_no_entry(toc, complaint):
    with pytest.raises(ChapterError, match=complaint):
        list(books.entries(toc))


def test_two_chapters_of_one_name_are_refused(book):
    for name in ("one", "two"):
        (book.root / name).mkdir()
        (book.root / name / "maps.ipynb").write_text("{}")
    (book.root / "_toc.yml").write_text("root: one/maps\nchapters:\n- file: two/maps\n")
    with pytest.raises(ChapterError, match=r"one/maps\.ipynb and two/maps\.ipynb are two chapters of the name 'maps'"):
        book.chapters()


def test_a_book_is_found_from_anywhere_in_it(book):
    assert Book.find(book.root / "book") == book
    assert Book.find(book.root / "book" / "index.md") == book


def test_where_there_is_no_book_the_way_out_is_told(tmp_path):
    with pytest.raises(BookError, match=r"there is no _toc\.yml in .* name it with --root"):
        Book.find(tmp_path)


def test_chapters_are_notebooks_and_pages_are_all(book):
    (book.root / "book" / "mini.ipynb").write_text("{}")
    assert book.chapters() == {"mini": book.root / "book" / "mini.ipynb"}
    assert [page.name for page in book.pages()] == ["index.md", "mini.ipynb"]
    assert book.folders() == ["book", "records"]
    with pytest.raises(ChapterError, match=r"no chapter 'mimi'\. Did you mean 'mini'"):
        book.chapter("mimi")


def test_a_book_without_settings_has_one_profile(book):
    (book.root / "pyproject.toml").unlink()
    assert book.settings == Settings(profiles=("published",))
    assert book.at_hand()[0] == book.settings.published == "published"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("html = 'public'", "no key 'html'"),  # Jupyter Book builds into _build/html
        ("profil = ['a']", "no key 'profil'. Did you mean 'profiles'"),
        ("profiles = 'published'", "profiles = 'published' is not a list of texts"),
        ("profiles = []", "profiles = .* is not a list of texts"),
        ("profiles = ['a', 'b']", "lacks 'profile-variable'"),
        ("profiles = ['a', 'b']\nprofile-variable = 'P'", "lacks 'profile-line'"),
        ("profile-line = 'Profile:'", "profile-line = 'Profile:' is not a text with {profile} in it"),
        ("profile-line = 'Profile {profile}: {'", "is not a text with {profile} in it and no other brace"),
        ("packages = ['toy']", "packages = .* is not a table of folders by package"),
        ("packages = {toy = 'src/toy'}", "packages names the folder 'src/toy', which does not exist"),
        ("data = ['recordings']", "data names the folder 'recordings', which does not exist"),
        ("copied = {X = 'recordings'}", "copied names the folder 'recordings', which does not exist"),
        ("environment = {X = 1}", "environment = .* is not a table of texts"),
        ("data-hook = 'toy.hooks'", "data-hook = 'toy.hooks' is not a function, as 'module:function'"),
        ("profiles = [", "is not TOML"),
    ],
)
def test_a_wrong_key_is_named_with_what_it_must_be(book, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        settings(book, text)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("nowhere.at:all", "data-hook = 'nowhere.at:all' cannot be called: No module named 'nowhere'"),
        ("os.path:no_function", "data-hook = 'os.path:no_function' cannot be called: .*no_function"),
        ("os:getcwd", "data-hook = 'os:getcwd' returned '.*'; return \\(one of published, sentences\\)"),
    ],
)
def test_a_hook_that_does_not_do_is_named(book, target, complaint):
    settings(book, f"data-hook = '{target}'")
    with pytest.raises(ConfigError, match=complaint):
        book.at_hand()
