"""What pytest loads at every start. Only `--nbval` asks for the rest, and for the packages of `bookproof[verify]`."""

from typing import Any


def pytest_configure(config: Any) -> None:
    if getattr(config.option, "nbval", False):
        from bookproof import plugin

        config.pluginmanager.register(plugin, "bookproof-chapters")
