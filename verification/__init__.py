"""The book's promise, as code: every output is derived again and compared, every page is looked at.

outputs.py  are two lists of outputs the same? numbers within a tolerance, everything else exactly
plugin.py   `pytest --nbval book`: executes each chapter and compares it with what is committed
execute.py  papermill into `_build/executed/<profile>`, and the published outputs back into `book/`
hygiene.py  what a committed chapter must and must not hold
pages.py    what the built book must and must not hold
"""
