"""Does any test notice? Small deliberate faults, each planted in a copy of the project, and the check that must fail.

faults.py    the list of faults in the code: what is planted where, why it is wrong, and which check must catch it
lies.py      the list of lies in the book; telling.py is how they are told
runner.py    the copy, the fault in it, the check, the verdict
report.py    a pytest plugin: what became of each test, and from where the code under test was imported
README.md    the list as a table, written by `python -m tests.mutations --write`

No test of the project lives here; those of this machinery are in `tests/test_mutations.py`.
"""
