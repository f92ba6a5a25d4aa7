"""The long description of the package: the README with whole addresses, as an index knows of no repository."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

TARGET = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?!#|[a-z]+:)(?P<path>[^)\s]+)\)")


class LongDescription(MetadataHookInterface):
    """Gives what `dynamic = ["readme"]` in pyproject.toml leaves open."""

    def update(self, metadata: dict) -> None:
        """Add the README, its relative links as links into the repository at the version that is built."""
        repository, version = metadata["urls"]["Repository"], f"v{metadata['version']}"

        def whole(link: re.Match) -> str:
            kind = "raw" if link["picture"] else "blob"
            return f"{link['picture']}{link['text']}({repository}/{kind}/{version}/{link['path']})"

        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": TARGET.sub(whole, text)}
