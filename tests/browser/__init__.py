"""The built book in a real browser: `visits.py` opens a page, `checks.py` lists what is wrong in it."""
