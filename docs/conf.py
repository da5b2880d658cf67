"""Sphinx configuration; `make docs` turns every warning into an error."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_cancel_provider import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "airflow-cancel-provider"
author = "the airflow-cancel-provider contributors"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    "myst_parser",
    "cli_reference",
    "tables",
]
exclude_patterns = ["_build"]
nitpicky = False
# An empty text in a docstring stays one.
smartquotes = False
# Only the changelog, which GitHub shows too, is written in Markdown.
source_suffix = {".rst": "restructuredtext"}

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
# A prompt is not copied with its command.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"airflow-cancel-provider {release}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False

# Our own extensions: the reference of the command line is written from its parser.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))
