"""Does the model still fit the text? What is tagged now against what the model learnt from, article by article.

::

    reading    files, feeds, prepared tables, rows that `crosshead tag` wrote → two samples
    checks     what is compared, with a p-value each, corrected for being several
    drift      the results, as plain values for the terminal, JSON and MLflow
    plots, page   the same as one HTML page
"""

from __future__ import annotations
