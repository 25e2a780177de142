"""How Sphinx builds the documentation; every warning is an error."""

import re

import flowmaps

project = "flowmaps"
author = "the flowmaps contributors"
copyright = "the flowmaps contributors"
version = release = flowmaps.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_theme = "furo"
html_title = "flowmaps"
exclude_patterns = ["_build"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False


_LITERAL = re.compile(r"(``.*?``|`[^`]*`)")


def _plain_text(app, what, name, obj, options, lines):
    """Escape what docstrings mean literally, such as (batch, *event) and |x|, outside of code."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        if not in_example:
            parts = _LITERAL.split(line)
            parts[::2] = [re.sub(r"(?<!\\)([*|]|_(?=\W|$))", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app):
    """Register the hook before napoleon reads the docstrings."""
    app.connect("autodoc-process-docstring", _plain_text, priority=100)
