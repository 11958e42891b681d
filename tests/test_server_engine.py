"""The engine: turns are fair, answers are the tagger's own whatever lies beside them, the queue is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_parts import HashingEncoder, make_tagger
from crosshead.loading import Model
from crosshead.server import model as server_model
from crosshead.server.engine import MANY_TEXTS, Engine
from crosshead.server.errors import RefusedError
from crosshead.server.metrics import Metrics
from crosshead.server.model import Served
from crosshead.server.settings import ServerSettings
from crosshead.server.turns import SHARE, Turns, cost_of
from crosshead.tagging.tagger import Encoded, Looked, Tag, Tagger

TEXTS = ["Shells fell on the river bank.", "The neighbours closed a border.", "The writer keeps bees.", "Snow."]

# -- turns -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Waiting:
    costs: Sequence[int]
    group: object = None
    taken: int = 0
    given_up: bool = False
    left: int = 0
    got: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = sum(self.costs)


def turns_of(budget: int, *requests: Waiting) -> Turns[Waiting]:
    turns: Turns[Waiting] = Turns(budget)
    for request in requests:
        turns.add(request)
    return turns


def cut(turns: Turns[Waiting]) -> list[tuple[Waiting, int, int]]:
    return [(request, part.start, part.stop) for request, part in turns.next_batch()]


def test_one_request_alone_gets_the_whole_batch() -> None:
    only = Waiting([10] * 25)
    turns = turns_of(100, only)
    assert cut(turns) == [(only, 0, 10)]
    assert cut(turns) == [(only, 10, 20)]
    assert (len(turns), turns.tokens) == (1, 50)
    assert cut(turns) == [(only, 20, 25)]
    assert (len(turns), turns.tokens, cut(turns)) == (0, 0, [])


def test_a_short_request_behind_a_long_one_waits_for_no_more_than_a_batch() -> None:
    long, short = Waiting([10] * 1000), Waiting([10, 10])
    turns = turns_of(100, long, short)
    assert cut(turns) == [(long, 0, 8), (short, 0, 2)]
    assert len(turns) == 1


def test_those_that_had_their_turn_stand_behind_the_others() -> None:
    longs = [Waiting([10] * 100) for _ in range(2 * SHARE)]
    turns = turns_of(10 * SHARE, *longs)
    assert [request for request, _, _ in cut(turns)] == longs[:SHARE]
    assert [request for request, _, _ in cut(turns)] == longs[SHARE:]
    assert [request for request, _, _ in cut(turns)] == longs[:SHARE]


def test_a_text_larger_than_a_batch_goes_alone() -> None:
    huge, small = Waiting([5000, 1]), Waiting([1])
    turns = turns_of(100, huge, small)
    assert cut(turns) == [(huge, 0, 1)]
    assert cut(turns) == [(small, 0, 1), (huge, 1, 2)]


def test_nobody_is_looked_at_for_whom_nobody_waits() -> None:
    left, stays = Waiting([1]), Waiting([1])
    turns = turns_of(100, left, stays)
    left.given_up = True
    assert cut(turns) == [(stays, 0, 1)]
    assert len(turns) == 0


def test_different_models_are_never_mixed() -> None:
    old = [Waiting([1], group="old") for _ in range(2)]
    new = Waiting([1], group="new")
    turns = turns_of(100, old[0], new, old[1])
    assert [request for request, _, _ in cut(turns)] == old
    assert [request for request, _, _ in cut(turns)] == [new]


def test_nothing_to_look_at_is_done_at_once() -> None:
    nothing = Waiting([])
    turns = turns_of(100, nothing)
    assert cut(turns) == [(nothing, 0, 0)]
    assert len(turns) == 0


def test_others_hold_a_request_up_for_as_much_as_it_has_itself() -> None:
    turns = turns_of(100, Waiting([1000]), Waiting([10]))
    assert turns.tokens_before(10) == 25 + 10
    assert turns.tokens_before(5000) == 1000 + 10


@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(1, 300), max_size=30)), min_size=1, max_size=12),
    st.integers(1, 400),
)
def test_every_text_is_given_out_once_and_in_order(requests: list[tuple[int, list[int]]], budget: int) -> None:
    waiting = [Waiting(costs, group=group) for group, costs in requests]
    turns = turns_of(budget, *waiting)
    while len(turns):
        batch = turns.next_batch()
        assert batch, "every batch moves on"
        assert len({id(request.group) for request, _ in batch}) == 1
        pieces = [sum(request.costs[part]) for request, part in batch]
        assert sum(pieces) <= budget + max(max(request.costs[part], default=0) for request, part in batch)
        for request, part in batch:
            request.got.extend(range(part.start, part.stop))
    assert all(request.got == list(range(len(request.costs))) for request in waiting)
    assert all(request.left == 0 for request in waiting)


def test_the_cost_of_a_text_follows_its_bytes() -> None:
    assert cost_of("a" * 400) == 108
    assert cost_of("部" * 400) == 308
    assert cost_of("") == cost_of("abc") == 8
    assert cost_of("\ud83d") == 8, "half of a pair costs something too and breaks nothing"


# -- the engine --------------------------------------------------------------------------------------------------------


class Gate(HashingEncoder):
    """Waits until it is opened; notes what it was given."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.opened = threading.Event()
        self.batches: list[list[str]] = []
        if is_open:
            self.opened.set()

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.batches.append(list(texts))
        assert self.opened.wait(20)
        return super().encode(texts)


def served_by(gate: HashingEncoder) -> Served:
    return Served(Model(replace(make_tagger(), encoder=gate), "gate", "1", ""))


def tags(served: Served, looked: Looked) -> list[Tag]:
    return served.tagger.conclude(looked, [len(looked)])[0]


class Running:
    """An engine for the length of a test."""

    def __init__(self, served: Served | Callable[[], Served], **told: Any) -> None:
        self.metrics = Metrics()
        current = served if callable(served) else lambda: served
        self.engine = Engine(current, ServerSettings(**told), self.metrics)

    async def __aenter__(self) -> Engine:
        self.engine.start()
        return self.engine

    async def __aexit__(self, *error: object) -> None:
        await self.engine.stop()


async def waits(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_what_comes_meanwhile_is_looked_at_together_and_answered_as_alone() -> None:
    gate = Gate(is_open=False)
    tagger = make_tagger()

    async def run() -> list[list[Tag]]:
        async with Running(served_by(gate)) as engine:
            first = asyncio.create_task(engine.run(TEXTS[:1], tags))
            await waits(lambda: bool(gate.batches))
            others = [asyncio.create_task(engine.run([f"{text} {i}", text], tags)) for i, text in enumerate(TEXTS)]
            await asyncio.sleep(0.01)
            gate.opened.set()
            return [await first, *[await other for other in others]]

    found = asyncio.run(run())
    assert len(gate.batches) == 2, "one for who came first, one for all who came meanwhile"
    assert found[0] == tagger.tag_article(TEXTS[:1])
    assert found[1:] == [tagger.tag_article([f"{text} {i}", text]) for i, text in enumerate(TEXTS)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([*TEXTS, "Border " * 30]), max_size=12), min_size=1, max_size=8),
    st.integers(1, 300),
)
def test_how_requests_are_cut_changes_no_answer(articles: list[list[str]], batch_tokens: int) -> None:
    tagger = make_tagger()

    async def run() -> list[list[Tag]]:
        async with Running(served_by(Gate()), batch_tokens=batch_tokens) as engine:
            return await asyncio.gather(*(engine.run(article, tags) for article in articles))

    assert asyncio.run(run()) == tagger.tag_articles(articles)


def test_a_long_answer_is_written_beside_the_thread_that_looks() -> None:
    async def run() -> tuple[str, str]:
        def name(_: Served, looked: Looked) -> str:
            return threading.current_thread().name

        async with Running(served_by(Gate())) as engine:
            return await engine.run(TEXTS, name), await engine.run(["Snow."] * (MANY_TEXTS + 1), name)

    few, many = asyncio.run(run())
    assert few == "engine"
    assert many.startswith("writer")


def test_a_request_that_fails_spoils_no_other() -> None:
    class Picky(HashingEncoder):
        def encode(self, texts: Sequence[str]) -> Encoded:
            if "poison" in texts:
                raise ZeroDivisionError
            return super().encode(texts)

    async def run() -> list[Any]:
        async with Running(served_by(Picky())) as engine:
            requests = [engine.run([text], tags) for text in (TEXTS[0], "poison", TEXTS[1])]
            return await asyncio.gather(*requests, return_exceptions=True)

    first, poisoned, last = asyncio.run(run())
    assert isinstance(poisoned, ZeroDivisionError)
    assert [first, last] == [make_tagger().tag_texts([text]) for text in TEXTS[:2]]


def test_writing_an_answer_may_fail_too() -> None:
    def fails(_: Served, looked: Looked) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        async with Running(served_by(Gate())) as engine:
            with pytest.raises(ZeroDivisionError):
                await engine.run(TEXTS, fails)
            assert await engine.run(TEXTS, tags) == make_tagger().tag_article(TEXTS)

    asyncio.run(run())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again() -> None:
    gate = Gate(is_open=False)

    async def run() -> None:
        async with Running(served_by(gate), max_queue=2) as engine:
            at_work = asyncio.create_task(engine.run(["at work"], tags))
            await waits(lambda: bool(gate.batches))
            waiting = [asyncio.create_task(engine.run([f"waiting {i}"], tags)) for i in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(RefusedError, match="more requests wait than can be answered in time") as refused:
                await engine.run(["too many"], tags)
            assert (refused.value.status, refused.value.kind) == (429, "overloaded")
            assert refused.value.retry_after is not None
            assert refused.value.retry_after >= 1
            patient = asyncio.create_task(engine.run(["patient"], tags, patient=True))
            await asyncio.sleep(0.05)
            gate.opened.set()
            await asyncio.gather(at_work, *waiting, patient)
        assert not any("too many" in batch for batch in gate.batches)

    asyncio.run(run())


def test_more_than_can_be_looked_at_in_time_is_refused() -> None:
    gate = Gate(is_open=False)

    async def run() -> None:
        async with Running(served_by(gate), timeout_s=60) as engine:
            at_work = asyncio.create_task(engine.run(["at work"], tags))
            await waits(lambda: bool(gate.batches))
            long = asyncio.create_task(engine.run(["x" * 200_000] * 4, tags))
            await asyncio.sleep(0)
            with pytest.raises(RefusedError, match="more requests wait"):
                await engine.run(["z" * 200_000] * 4, tags)  # 200,000 tokens before it, some thousands a second
            short = asyncio.create_task(engine.run(["short"], tags))  # takes turns with the long one
            await asyncio.sleep(0)
            gate.opened.set()
            await asyncio.gather(at_work, long, short)

    asyncio.run(run())


def test_who_leaves_is_not_looked_at_and_who_waits_too_long_is_told() -> None:
    gate = Gate(is_open=False)

    async def run() -> None:
        async with Running(served_by(gate), timeout_s=0.2) as engine:
            at_work = asyncio.create_task(engine.run(["at work"], tags))
            await waits(lambda: bool(gate.batches))
            leaves = asyncio.create_task(engine.run(["leaves"], tags))
            await asyncio.sleep(0)
            leaves.cancel()
            with pytest.raises(RefusedError, match="not answered within 0 s; send less at a time") as late:
                await engine.run(["late"], tags)
            assert late.value.status == 504
            gate.opened.set()
            with pytest.raises(RefusedError):
                await at_work
            with pytest.raises(asyncio.CancelledError):
                await leaves
        assert gate.batches == [["at work"]]

    asyncio.run(run())


def test_stopping_finishes_what_was_taken_and_takes_no_more() -> None:
    gate = Gate(is_open=False)

    async def run() -> None:
        engine = Running(served_by(gate)).engine
        engine.start()
        taken = [asyncio.create_task(engine.run([text], tags)) for text in TEXTS]
        await waits(lambda: bool(gate.batches))
        stopping = asyncio.create_task(engine.stop())
        await waits(lambda: engine._stopping)
        with pytest.raises(RefusedError, match="the server is stopping") as refused:
            await engine.run(["late"], tags)
        assert refused.value.status == 503
        gate.opened.set()
        assert [await task for task in taken] == [make_tagger().tag_texts([text]) for text in TEXTS]
        await stopping

    asyncio.run(run())


def test_a_request_is_finished_by_the_model_it_began_with() -> None:
    gates = [Gate(is_open=False), Gate()]
    models = [served_by(gate) for gate in gates]
    now = [models[0]]

    async def run() -> tuple[Served, Served]:
        def which(served: Served, looked: Looked) -> Served:
            return served

        async with Running(lambda: now[0], batch_tokens=10) as engine:
            begun = asyncio.create_task(engine.run(TEXTS, which))
            await waits(lambda: bool(gates[0].batches))
            now[0] = models[1]
            later = asyncio.create_task(engine.run(TEXTS, which))
            await asyncio.sleep(0)
            gates[0].opened.set()
            return await begun, await later

    assert asyncio.run(run()) == (models[0], models[1])
    assert len(gates[0].batches) == len(gates[1].batches) == len(TEXTS)


# -- what a model at work remembers ------------------------------------------------------------------------------------


def test_what_was_seen_lately_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_model, "REMEMBERED", 3)
    gate = Gate()
    served = served_by(gate)
    whole = served.look([*TEXTS[:2], TEXTS[0]])
    assert gate.batches == [TEXTS[:2]]
    expected = make_tagger().look([*TEXTS[:2], TEXTS[0]])
    assert np.array_equal(whole.log_proba, expected.log_proba)
    assert np.array_equal(whole.n_truncated, expected.n_truncated)
    again = served.look(TEXTS[:1])
    assert np.array_equal(again.log_proba, expected.log_proba[:1])
    assert len(gate.batches) == 1
    served.look(TEXTS[2:])  # four in all: the one that was asked for longest ago goes
    served.look(TEXTS[1:2])
    assert gate.batches[1:] == [TEXTS[2:], TEXTS[1:2]]
    assert len(served._known) == 3
    assert len(served.look([])) == 0


def test_no_text_is_kept_in_what_is_remembered() -> None:
    served = served_by(Gate())
    served.look(TEXTS)
    assert all(isinstance(key, bytes) and len(key) == 16 for key in served._known)


def test_models_that_share_an_encoder_wait_for_each_other() -> None:
    tagger: Tagger = make_tagger()
    first = Served(Model(tagger, "a", "1", ""))
    same = Served(Model(replace(tagger, threshold=0.1), "a", "2", ""), first)
    other = Served(Model(make_tagger(), "b", "1", ""), first)
    assert same._working is first._working
    assert other._working is not first._working
