"""The package behind the book *Attention in Vision*: a folder for each station on the way of the data."""

__version__ = "0.2.0"
