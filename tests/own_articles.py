"""Four short articles with headings, such as a newcomer may bring first."""

from __future__ import annotations

PLACES = ("harbour", "bridge", "valley", "airfield")
WORDS = ("encoder=tfidf", "views=tfidf")
"""Words alone: what can be trained in seconds."""


def article(place: str) -> str:
    """Write a short article with headings."""
    return (
        f"# The war at the {place}\n\n"
        f"## Front\n\nShells fell on the {place} at dawn and two columns crossed the river beside it.\n\n"
        f"The garrison of the {place} lost ground, and its gunners fired until noon.\n\n"
        f"## Refugees\n\nFamilies from the {place} fled across the border and camp in tents.\n\n"
        f"The price of bread near the {place} has doubled since the road was cut.\n\n"
        f"## Diplomacy\n\nEnvoys met to talk about the {place}, and two capitals sent weapons.\n\n"
        f"The council voted on sanctions because of the {place} and adjourned.\n"
    )
