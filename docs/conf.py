"""The site: `make docs` builds it into site/. Its source is the repository, so that every link also holds there."""

from __future__ import annotations

project = "crosshead"
author = copyright = "the crosshead authors"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "docs/**.md",
    "data/README.md",
    "data/CODEBOOK.md",
    "experiments/*/README.md",
]
# Not looked into at all: folders of tens of thousands of files.
exclude_patterns = [".*", "models", "mlflow", "reports", "site", "src", "tests", "data/articles", "data/prepared"]
templates_path = ["_templates"]
html_extra_path = ["site_start"]

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # "…" stands in examples of JSON
highlight_language = "none"
nitpicky = True

html_theme = "furo"
html_title = "crosshead"
html_copy_source = False
html_show_sphinx = False
html_static_path: list[str] = []
html_css_files: list[str] = []
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#22639f", "color-brand-content": "#22639f"},
    "dark_css_variables": {"color-brand-primary": "#8fc1f0", "color-brand-content": "#8fc1f0"},
}
