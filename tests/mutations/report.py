"""A pytest plugin that writes to `$MUTATION_REPORT`, as JSON, what became of each test and what was imported.

{"tests": [[node id, "setup" | "call" | "teardown", "passed" | "failed" | "skipped", exception or "", message]],
 "imported": [files of the code under test]}
"""

import json
import os
import sys
from pathlib import Path

import pytest

UNDER_TEST = ("vattn_utils", "bookproof")
TESTS = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    exception, message = ("", "") if call.excinfo is None else (call.excinfo.typename, str(call.excinfo.value))
    TESTS.append((item.nodeid, report.when, report.outcome, exception, message[:2000]))


def pytest_sessionfinish():
    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in UNDER_TEST]
    imported = sorted({module.__file__ for module in modules if getattr(module, "__file__", None)})
    Path(os.environ["MUTATION_REPORT"]).write_text(json.dumps({"tests": TESTS, "imported": imported}))
