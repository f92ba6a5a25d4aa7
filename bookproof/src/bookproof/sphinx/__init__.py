"""Sphinx extensions: what notebooks say of their pictures reaches the page."""
