"""The book's promise, as code: every output is derived again and compared, every page is looked at.

outputs.py    are two lists of outputs the same? numbers within a tolerance, everything else exactly
verify.py     an executed chapter against the committed one, cell by cell
plugin.py     `pytest --nbval book`: executes each chapter and compares it with what is committed
execute.py    papermill into `_build/executed/<profile>`, and the published outputs back into `book/`
contract.py   the parameters of every chapter in every profile
freshness.py  do the committed outputs still follow from the code, modules and records that are here?
hygiene.py    what a committed chapter must and must not hold
prose.py      no result is typed into prose
links.py      every link leads somewhere
pages.py      what the built book must and must not hold
address.py    the repository's address, from _config.yml into the chapters
"""
