"""Sphinx settings: MyST pages, furo theme, API pages from docstrings and type hints."""

from __future__ import annotations

from importlib.metadata import version as installed_version

project = "stepaudio"
author = "The stepaudio authors"
project_copyright = author
release = version = installed_version("stepaudio")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "experiments/large-margin/*"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
# Comes with PyTorch for GPUs.
autodoc_mock_imports = ["triton"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
# A name is described where it is defined, not again where a package offers it.
autodoc_default_options = {"ignore-module-all": True}
# Fields of dataclasses are described once, in the Attributes section.
napoleon_use_ivar = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "stepaudio"
html_static_path = ["_static"]
