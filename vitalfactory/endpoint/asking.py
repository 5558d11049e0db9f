"""Many questions to one endpoint at the same time, behind a plain generator.

    for answered in ask(endpoint, questions, diagnosis_form(), {"temperature": 0}):
        ...

The requests run in a thread of their own. Questions are taken from their iterator, in the caller's thread, only when
there is room: at no time are more than ``concurrency`` of them asked and not yet taken by the caller.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from vitalfactory.endpoint.client import (
    CONTENT_FILTER,
    REJECTED,
    TRANSIENT,
    Bill,
    Client,
    Completion,
    Endpoint,
    Failed,
    Stop,
)
from vitalfactory.endpoint.structured import Checked, Form, Mode, WrongAnswer, find_mode, response_format

WRONG_ANSWER, CUT_OFF = "wrong answer", "cut off"
LEAST_FAULTS = 8
"""Questions in a row that an endpoint must leave unanswered before the run ends."""

GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes
    ----------
    key : str
        Unique in one run.
    messages : list of dict
        ``role`` and ``content``.
    parameters : mapping
        What its requests hold beside what all do.
    """

    key: str
    messages: list[dict[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """How a question ended.

    Attributes
    ----------
    key : str
    state : {'answered', 'failed'}
    text : str or None
        The last answer as it came; None where none did.
    value : Any
        What the form made of it; None where the question failed.
    repaired : bool
        It took tolerance to read it.
    reason : str or None
        Why it failed: a short phrase that can be counted.
    cut : bool
        The last answer ended at the longest one allowed.
    calls : int
        Answers paid for.
    prompt_tokens, completion_tokens : int
    lost : int
        Requests whose answer never came whole.
    logprob : float or None
        See :class:`vitalfactory.endpoint.client.Completion`.
    """

    key: str
    state: Literal["answered", "failed"]
    text: str | None
    value: Any
    repaired: bool
    reason: str | None
    cut: bool
    calls: int
    prompt_tokens: int
    completion_tokens: int
    lost: int = 0
    logprob: float | None = None


def ask(
    endpoint: Endpoint,
    questions: Iterable[Question],
    form: Form,
    parameters: Mapping[str, Any],
    *,
    tries: int = 3,
    mode: Mode | None = None,
) -> Iterator[Answered]:
    """Ask many questions.

    Parameters
    ----------
    endpoint : Endpoint
    questions : iterable of Question
    form : Form
        What each answer must be.
    parameters : mapping
        What else every request holds, such as ``temperature`` and ``max_tokens``.
    tries : int
        Answers to one question; a wrong one is asked again with what is wrong with it.
    mode : {'json_schema', 'json_object', 'plain'}, optional
        How the endpoint is held to the form; by default it is probed first.

    Yields
    ------
    Answered
        In any order, one for each question.

    Raises
    ------
    VitalFactoryError
        Nothing more will be answered: nobody is there, the key or the model is refused, or one question after the
        other fails. All that was answered before has been yielded.
    """
    engine = _Engine(endpoint, form, parameters, tries, mode)
    engine.thread.start()
    try:
        yield from engine.run(iter(questions))
    finally:
        engine.close()


class _Engine:
    """The thread that asks, and what it hands over."""

    def __init__(
        self, endpoint: Endpoint, form: Form, parameters: Mapping[str, Any], tries: int, mode: Mode | None
    ) -> None:
        self.endpoint, self.form, self.parameters, self.tries, self.mode = endpoint, form, parameters, tries, mode
        self.thread = threading.Thread(target=self._in_thread, name="ask", daemon=True)
        self.results: queue.SimpleQueue[Answered | BaseException] = queue.SimpleQueue()
        self._inbox: asyncio.Queue[Question | None] = asyncio.Queue()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Any] | None = None
        self._faults = 0
        self._any = self._over = False

    def run(self, questions: Iterator[Question]) -> Iterator[Answered]:
        """Hand questions in and answers out."""
        waiting = 0
        while True:
            for question in islice(questions, self.endpoint.concurrency - waiting):
                self._call(self._inbox.put_nowait, question)
                waiting += 1
            if not waiting:
                return
            result = self.results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
            waiting -= 1

    def close(self) -> None:
        """End the thread; what is still under way is given up."""
        self._call(self._end)
        self.thread.join()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and why stands among the results
            self._loop.call_soon_threadsafe(function, *arguments)

    def _end(self) -> None:
        self._inbox.put_nowait(None)
        if self._task:
            self._task.cancel()

    def _in_thread(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._main())
            except BaseException as error:
                self.results.put(error)

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        async with Client(self.endpoint) as client:
            first = await self._inbox.get()
            if first is None:
                return
            if self.mode is None:
                plain = self.form.schema is None
                self.mode = "plain" if plain else await find_mode(client, self.form, self.parameters, Bill())
            self._inbox.put_nowait(first)
            await self._serve(client)

    async def _serve(self, client: Client) -> None:
        """Work on questions until the caller has no more, or one raises."""
        workers = [asyncio.create_task(self._work(client)) for _ in range(self.endpoint.concurrency)]
        try:
            done, rest = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            await self._let_finish(rest)
            for worker in done:
                worker.result()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _let_finish(self, workers: Collection[asyncio.Task[None]]) -> None:
        """Wait a little for what is under way, since it may be paid for; nothing new is begun."""
        self._over = True
        for _ in workers:
            self._inbox.put_nowait(None)
        if workers:
            await asyncio.wait(workers, timeout=GRACE_SECONDS)

    async def _work(self, client: Client) -> None:
        while (question := await self._inbox.get()) is not None and not self._over:
            answered = await self._answer(client, question)
            self.results.put(answered)
            self._watch(answered)

    async def _answer(self, client: Client, question: Question) -> Answered:
        """Ask one question, again where its answer is wrong."""
        bill, messages = Bill(), question.messages
        held = response_format(self.form, self.mode or "plain")
        parameters = {**self.parameters, **held, **question.parameters}
        completion: Completion | None = None
        reason = WRONG_ANSWER
        for _ in range(self.tries):
            try:
                completion = await client.complete(messages, parameters, bill)
                return answered(question.key, completion, read(self.form, completion), bill)
            except WrongAnswer as fault:
                assert completion is not None
                reason = CUT_OFF if completion.cut else WRONG_ANSWER
                messages = [*question.messages, *_again(completion.text, str(fault))]
            except Failed as fault:
                return failed(question.key, completion, fault.reason, bill)
        return failed(question.key, completion, reason, bill)

    def _watch(self, answered: Answered) -> None:
        """End the run where one question after the other fails for the same kind of reason."""
        self._any = self._any or answered.state == "answered"
        rejected = (answered.reason or "").startswith(REJECTED) and not self._any
        self._faults = self._faults + 1 if rejected or answered.reason in TRANSIENT else 0
        if self._faults >= max(LEAST_FAULTS, self.endpoint.concurrency):
            raise Stop(
                f"{self.endpoint.base_url}: left {self._faults} questions in a row unanswered ({answered.reason}); "
                "what is done is kept, run again when it answers"
            )


def _again(text: str, fault: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}, {"role": "user", "content": fault}]


def read(form: Form, completion: Completion) -> Checked:
    """Read an answer as a form says.

    Raises
    ------
    WrongAnswer
        It is not of that form, or was cut off within it.
    Failed
        The endpoint's filter, or the model, refused to give it.
    """
    if completion.filtered:
        raise Failed(CONTENT_FILTER)
    checked = form.read(completion.text)
    if checked.repaired and completion.cut:
        raise WrongAnswer("The answer was cut off at the longest length allowed. Answer again, shorter.")
    return checked


def answered(key: str, completion: Completion, checked: Checked, bill: Bill) -> Answered:
    """Put together how a question ended that has its answer."""
    return Answered(
        key=key,
        state="answered",
        text=completion.text,
        value=checked.value,
        repaired=checked.repaired,
        reason=None,
        cut=completion.cut,
        logprob=completion.logprob,
        **vars(bill),
    )


def failed(key: str, completion: Completion | None, reason: str, bill: Bill) -> Answered:
    """Put together how a question ended that has none."""
    return Answered(
        key=key,
        state="failed",
        text=completion.text if completion else None,
        value=None,
        repaired=False,
        reason=reason,
        cut=completion.cut if completion else False,
        **vars(bill),
    )
