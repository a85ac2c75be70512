"""A hook of mkdocs: a page may link to a file of the repository that is outside docs/.

`../benchmarks/results/fewshot-ND.png` works where the repository is read, and names nothing in the
site. The site gets a copy of every such file, at the same place below its root.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_OUTSIDE = re.compile(r"\]\(\.\./([\w./-]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.docs_dir).parent
    named = {
        name
        for file in list(files.documentation_pages())
        for name in _OUTSIDE.findall(file.content_string)
    }
    for name in sorted(named):
        content = (root / name).read_bytes()
        files.append(File.generated(config, _address(name), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    del page, config, files
    return _OUTSIDE.sub(lambda found: f"]({_address(found[1])})", markdown)


def _address(name: str) -> str:
    """Where a file is in the site. What is no page of docs/ is shown as it is, not as a page."""
    return f"{name}.txt" if name.endswith((".md", ".yaml")) else name
