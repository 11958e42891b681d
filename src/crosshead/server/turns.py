"""Who is looked at next: requests take turns at batches of about so many tokens.

Those that waited longest come first. While several wait, none gets more than its share of a batch before all had
theirs, so a short request behind a long one waits for a batch, not for its end. Not safe for several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

SHARE = 4
"""A request gets at most this part of a batch before the others had theirs."""


def cost_of(text: str) -> int:
    """Estimate tokens: four bytes each, and what every text costs."""
    return 8 + (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) // 4


class Request(Protocol):
    """Texts that belong together."""

    @property
    def group(self) -> object:
        """Requests of different groups are never looked at together: they have different models."""

    @property
    def costs(self) -> Sequence[int]:
        """Tokens of each text, estimated."""

    taken: int
    """Texts that were given to a batch already."""
    left: int
    """Tokens of the texts that were not."""
    given_up: bool
    """Nobody waits for the answer any more."""


R = TypeVar("R", bound=Request)


class Turns(Generic[R]):
    """The requests that wait, and the next batch."""

    def __init__(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self._waiting: list[R] = []

    def __len__(self) -> int:
        """Count the requests that wait."""
        return len(self._waiting)

    @property
    def tokens(self) -> int:
        """What was not looked at yet."""
        return sum(request.left for request in self._waiting)

    def add(self, request: R) -> None:
        """Let a request wait behind the others."""
        self._waiting.append(request)

    def tokens_before(self, tokens: int) -> int:
        """Estimate what is looked at before a new request of so many tokens: of each other one as much, at most."""
        turn = max(tokens, self._batch_tokens // SHARE)
        return sum(min(request.left, turn) for request in self._waiting)

    def next_batch(self) -> list[tuple[R, slice]]:
        """Cut the next batch: requests, and which of their texts. Empty if nobody waits."""
        self._waiting = [request for request in self._waiting if not request.given_up]
        alike = [request for request in self._waiting if request.group is self._waiting[0].group]
        first = {id(request): request.taken for request in alike}
        budget = self._batch_tokens
        for most in (max(1, budget // SHARE), budget):
            for request in alike:
                if budget > 0:
                    budget -= _take(request, min(most, budget))
        batch = [(r, slice(first[id(r)], r.taken)) for r in alike if r.taken > first[id(r)] or not r.costs]
        self._rotate(request for request, _ in batch)
        return batch

    def _rotate(self, served: Iterable[R]) -> None:
        """Take out who has all, and put who wants more behind the others."""
        had = {id(request): request for request in served}
        others = [request for request in self._waiting if id(request) not in had]
        self._waiting = others + [request for request in had.values() if request.taken < len(request.costs)]


def _take(request: Request, budget: int) -> int:
    """Take texts for ``budget`` tokens, at least one; return what they cost."""
    spent = 0
    while request.taken < len(request.costs) and (not spent or spent + request.costs[request.taken] <= budget):
        spent += request.costs[request.taken]
        request.taken += 1
    request.left -= spent
    return spent
