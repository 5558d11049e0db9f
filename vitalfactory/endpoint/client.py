"""One request to an OpenAI-compatible endpoint: its time limit, its tries, and what each kind of refusal means.

The key is read from the environment (``OPENAI_API_KEY``) when a request is made and stands nowhere else. Text that was
sent never appears in an error: an endpoint's own words may repeat it, so only its error codes are passed on.

aiohttp is asked directly. A request through the openai package takes 4 to 5 ms of processor time (2 to 3.5 ms through
aiohttp), which one core does 250 times a second; this takes 0.7 ms. It also does what that package leaves out: a limit
on the whole request and not on each silence of it, a Retry-After of more than two minutes, jitter on a Retry-After,
and a count of the answers that were paid for.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from vitalfactory.endpoint.limits import Pace, backoff, retry_after
from vitalfactory.endpoint.prices import estimate_tokens
from vitalfactory.errors import VitalFactoryError

if TYPE_CHECKING:
    import aiohttp

KEY = "OPENAI_API_KEY"
PATH = "/chat/completions"
CONNECT_SECONDS = 6.0
PATIENCE_SECONDS = 2.5
"""How long an endpoint that was never heard of is tried."""
LONGEST_WAIT = 600.0
"""Of a Retry-After; an endpoint that asks for more ends the run."""
RETRIED = (408, 409, 425, 429)
KEY_REFUSED = (401, 403)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
REMEMBERED = 4096

NOT_DONE = "not done in the batch"
TRANSIENT = frozenset({"timeout", "connection lost", "rate limit", "server error", "unreadable response", NOT_DONE})
"""Reasons that lie with the endpoint and not with the question: asked again another time, it may be answered."""
CONTENT_FILTER, TOO_LONG, REJECTED = "content filter", "prompt too long", "request refused"

_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|too (long|large)|too many tokens", re.IGNORECASE)
_FILTERED = re.compile(r"content.?(filter|policy|management)|moderation|data_inspection|safety", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Stop(VitalFactoryError):
    """Nothing that is asked of this endpoint will be answered."""


class Failed(Exception):
    """One question cannot be answered.

    Parameters
    ----------
    reason : str
        A short phrase that can be counted.
    detail : str
        The endpoint's own words. They may repeat what was sent.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class _Again(Exception):
    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class _Unreachable(_Again):
    def __init__(self, fault: str) -> None:
        super().__init__("connection lost")
        self.fault = fault


@dataclass(frozen=True)
class Endpoint:
    """How an endpoint is asked.

    Attributes
    ----------
    base_url : str
        Such as ``https://host/v1``.
    model : str
    concurrency : int
        Requests under way at the same time.
    requests_per_minute, tokens_per_minute : int or None
    timeout : float
        Seconds for one request, from the connection to the last byte of its answer.
    retries : int
        Further tries of one request after a lost connection, a time-out, 408, 409, 425, 429 or 5xx.
    """

    base_url: str
    model: str
    concurrency: int = 16
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 120.0
    retries: int = 6

    def __post_init__(self) -> None:
        """Refuse an address that is none, and numbers out of range."""
        if not _is_address(self.base_url):
            raise VitalFactoryError(
                f"--base-url {_without_login(self.base_url)}: expected an address such as https://host/v1; the key "
                f"is taken from {KEY}"
            )
        for name, least in (("concurrency", 1), ("requests_per_minute", 1), ("tokens_per_minute", 1), ("retries", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise VitalFactoryError(f"--{name.replace('_', '-')} {value}: expected at least {least}")
        if not self.timeout > 0:
            raise VitalFactoryError(f"--timeout {self.timeout}: expected a number of seconds above 0")

    @property
    def url(self) -> str:
        """The address that completions are asked of."""
        return self.base_url.rstrip("/") + PATH

    def beside(self, path: str) -> str:
        """Return the address of what a server of llama.cpp has beside the OpenAI-compatible part."""
        return self.base_url.rstrip("/").removesuffix("/v1") + path


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return False
    return known and not parts.username and not parts.query


def _without_login(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)


@dataclass
class Bill:
    """What one question has cost.

    Attributes
    ----------
    calls : int
        Answers that came whole, and are paid for.
    lost : int
        Requests whose answer never came whole: the endpoint may count them too.
    prompt_tokens, completion_tokens : int
        As the endpoint counts them, or estimated where it does not.
    """

    calls: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes
    ----------
    id : str or None
    text : str
    cut : bool
        It ended at the longest answer allowed.
    filtered : bool
        The endpoint's filter or the model itself refused to answer.
    prompt_tokens, completion_tokens : int or None
    logprob : float or None
        The sum of the log-probabilities of the answer's tokens, where the endpoint was asked for them and tells them.
    """

    id: str | None
    text: str
    cut: bool
    filtered: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    logprob: float | None = None


def read_completion(body: Any) -> Completion:
    """Read a chat completion.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content") or "", message.get("refusal")
        finish, usage = choice.get("finish_reason"), body.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("not a chat completion") from None
    if not isinstance(content, str) or not all(count is None or isinstance(count, int) for count in counts):
        raise ValueError("not a chat completion")
    filtered = finish == "content_filter" or bool(refusal)
    name = body.get("id")
    known = name if isinstance(name, str) else None
    return Completion(known, content, finish == "length", filtered, counts[0], counts[1], _logprob(choice))


def _logprob(choice: Mapping[str, Any]) -> float | None:
    """Add up the log-probabilities of a choice's tokens; None where they are not told."""
    try:
        tokens = choice["logprobs"]["content"]
        return float(sum(token["logprob"] for token in tokens)) if tokens else None
    except (KeyError, TypeError):
        return None


class Client:
    """An endpoint's connections, limits and what is known of it; an asynchronous context.

    Parameters
    ----------
    endpoint : Endpoint
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.heard = False
        self._requests = Pace(endpoint.requests_per_minute)
        self._tokens = Pace(endpoint.tokens_per_minute)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._proxy = _proxy(endpoint.url)
        self._sessions: list[aiohttp.ClientSession] = []
        self._started = 0.0

    async def __aenter__(self) -> Client:
        """Open a session."""
        self._open()
        self._started = asyncio.get_running_loop().time()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every session."""
        for session in self._sessions:
            await session.close()

    def _open(self) -> None:
        """Start a session with connections of its own."""
        import aiohttp

        key = os.environ.get(KEY, "").strip()
        if not key.isascii() or not key.isprintable():
            raise Stop(f"{KEY}: expected printable ASCII characters alone")
        login = {"Authorization": f"Bearer {key}"} if key else {}
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", **login},
            timeout=aiohttp.ClientTimeout(
                total=self.endpoint.timeout, connect=CONNECT_SECONDS, ceil_threshold=float("inf")
            ),
        )
        self._sessions.append(session)

    async def complete(
        self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], bill: Bill
    ) -> Completion:
        """Ask for one completion, again where that may help.

        Parameters
        ----------
        messages : sequence of mapping
        parameters : mapping
            What else the request holds: ``temperature``, ``max_tokens``, ``response_format``.
        bill : Bill
            Takes what was spent.

        Raises
        ------
        Failed
            This question is not answered.
        Stop
            None will be.
        """
        body = {"model": self.endpoint.model, "messages": messages, **parameters}
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        attempt = 0
        while True:
            expected = await self._wait_turn(messages, parameters)
            before = bill.prompt_tokens + bill.completion_tokens
            try:
                return await self._once(data, messages, bill)
            except _Again as fault:
                self._check_patience(fault)
                if attempt >= self.endpoint.retries:
                    raise Failed(fault.reason) from None
                wait = backoff(attempt, fault.wait)
            finally:
                self._tokens.correct(bill.prompt_tokens + bill.completion_tokens - before - expected)
            attempt += 1
            await asyncio.sleep(wait)

    async def tokenize(self, text: str, *, special: bool = False) -> list[int] | None:
        """Ask a server of llama.cpp for the tokens of a text.

        Parameters
        ----------
        text : str
        special : bool
            Read the names of special tokens as these.

        Returns
        -------
        list of int or None
            None where the endpoint tells no tokens.

        Raises
        ------
        Stop
            Nobody is there, or the key is refused.
        """
        data = json.dumps({"content": text, "parse_special": special}).encode()
        tokens = (await self._beside("/tokenize", data)).get("tokens")
        return tokens if isinstance(tokens, list) and all(isinstance(token, int) for token in tokens) else None

    async def end_token(self) -> int | None:
        """Ask a server of llama.cpp for the token that ends an answer; None where it does not tell."""
        name = (await self._beside("/props", None)).get("eos_token")
        tokens = await self.tokenize(name, special=True) if isinstance(name, str) else None
        return tokens[0] if tokens and len(tokens) == 1 else None

    async def _beside(self, path: str, data: bytes | None) -> dict[str, Any]:
        """Ask for an object that is no completion; empty where the endpoint has none."""
        while True:
            try:
                status, headers, body = await self._send(self.endpoint.beside(path), data, Bill())
                break
            except _Again as fault:
                self._check_patience(fault)
                if not isinstance(fault, _Unreachable):
                    raise Stop(f"{self.endpoint.base_url}: no answer ({fault.reason})") from None
                await asyncio.sleep(backoff(0))
        self.heard = True
        if status in KEY_REFUSED:
            self._refuse(status, headers, body)
        try:
            answer = json.loads(body)
        except ValueError:
            return {}
        return answer if status == 200 and isinstance(answer, dict) else {}

    async def _wait_turn(self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> int:
        """Wait for what the limits allow; return the tokens that were reserved."""
        await self._requests.take()
        if self.endpoint.tokens_per_minute is None:
            return 0
        expected = _prompt_tokens(messages) + int(parameters.get("max_tokens") or 0)
        await self._tokens.take(expected)
        return expected

    def _check_patience(self, fault: _Again) -> None:
        """End the run where nobody was ever heard, or where the endpoint wants to be left alone for long."""
        waited = asyncio.get_running_loop().time() - self._started
        if isinstance(fault, _Unreachable) and not self.heard and waited > PATIENCE_SECONDS:
            raise Stop(
                f"{self.endpoint.base_url}: nobody answers there ({fault.fault}); start the endpoint, or give another "
                "--base-url"
            )
        if fault.wait is not None and fault.wait > LONGEST_WAIT:
            raise Stop(
                f"{self.endpoint.base_url}: asks to come back in {fault.wait:.0f} s; what is done is kept, run again "
                "then"
            )

    async def _once(self, data: bytes, messages: Sequence[Mapping[str, Any]], bill: Bill) -> Completion:
        """Send one request and tell its outcome."""
        status, headers, body = await self._send(self.endpoint.url, data, bill)
        self.heard = True
        if status != 200:
            self._refuse(status, headers, body)
        try:
            answer = json.loads(body)
            if isinstance(answer, dict) and "error" in answer and "choices" not in answer:
                raise _Again("server error")
            completion = read_completion(answer)
        except ValueError:
            bill.calls += 1
            bill.prompt_tokens += _prompt_tokens(messages)
            raise _Again("unreadable response") from None
        if self._is_stray(completion):
            bill.lost += 1
            self._open()  # the connection that it came by, which is not known, must bring no other answer
            raise _Again("unreadable response")
        bill.calls += 1
        _charge(bill, completion, messages)
        return completion

    async def _send(self, url: str, data: bytes | None, bill: Bill) -> tuple[int, Mapping[str, str], bytes]:
        import aiohttp

        try:
            async with self._sessions[-1].request(
                "GET" if data is None else "POST", url, data=data, proxy=self._proxy, allow_redirects=False
            ) as response:
                return response.status, response.headers, await response.read()
        except aiohttp.ClientConnectorCertificateError:
            raise Stop(f"{self.endpoint.base_url}: its certificate is not trusted on this machine") from None
        except aiohttp.ClientConnectorError as error:
            raise _Unreachable(_fault(error.os_error)) from None
        except aiohttp.ConnectionTimeoutError:
            raise _Unreachable(f"no connection in {CONNECT_SECONDS:.0f} s") from None
        except TimeoutError:
            bill.lost += 1
            raise _Again("timeout") from None
        except aiohttp.ClientError:
            bill.lost += 1
            raise _Again("connection lost") from None

    def _is_stray(self, completion: Completion) -> bool:
        """Tell an answer that was delivered before, and now stands where another question's should.

        Where an endpoint names all its answers alike, their names say nothing.
        """
        if completion.id is None:
            return False
        known = completion.id in self._seen
        self._seen[completion.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return known and len(self._seen) > 1

    def _refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> NoReturn:
        """Tell what a status other than 200 means."""
        where, (code, words) = self.endpoint.base_url, _error(body)
        told = f"status {status}{f', {code}' if code else ''}"
        if 300 <= status < 400:
            raise Stop(f"{where}: sends requests on to another address ({told}); give that one as --base-url")
        if status in KEY_REFUSED and not _FILTERED.search(f"{code} {words}"):
            what = f"the key in {KEY} is refused" if os.environ.get(KEY) else f"a key is needed; set {KEY}"
            raise Stop(f"{where}: {what} ({told})")
        if status == 402 or code == "insufficient_quota":
            raise Stop(f"{where}: the account's quota is spent ({told})")
        if status in (404, 405):
            raise Stop(f"{where}: knows no model {self.endpoint.model!r}, or has no {PATH} ({told})")
        if status in RETRIED or status >= 500:
            raise _Again("rate limit" if status == 429 else "server error", retry_after(headers))
        if _FILTERED.search(f"{code} {words}"):
            raise Failed(CONTENT_FILTER)
        if status == 413 or _TOO_LONG.search(f"{code} {words}"):
            raise Failed(TOO_LONG)
        raise Failed(f"{REJECTED} ({told})", words)


def _fault(error: OSError) -> str:
    """Name why there was no connection; looking a name up has error numbers of its own."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else "unknown host"


def _error(body: bytes) -> tuple[str, str]:
    """Read an error's code, if it looks like one, and its own words."""
    try:
        answer = json.loads(body)
    except ValueError:
        return "", body[:500].decode("utf-8", "replace")
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if not isinstance(error, dict):
        return "", str(error)
    codes = [str(error[name]) for name in ("code", "type") if error.get(name)]
    return next((code for code in codes if _CODE.fullmatch(code) and not code.isdigit()), ""), str(
        error.get("message", "")
    )


def _charge(bill: Bill, completion: Completion, messages: Sequence[Mapping[str, Any]]) -> None:
    prompt, answer = completion.prompt_tokens, completion.completion_tokens
    bill.prompt_tokens += _prompt_tokens(messages) if prompt is None else prompt
    bill.completion_tokens += estimate_tokens(completion.text) if answer is None else answer


def _prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(estimate_tokens(text) for message in messages for text in _texts(message["content"]))


def _texts(content: str | Sequence[Mapping[str, Any]]) -> list[str]:
    """List the texts of a message; what its images take, the endpoint alone can say."""
    return [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]


def _proxy(url: str) -> str | None:
    """Find the proxy that the environment names for an address; this machine is asked directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return None if host in LOOPBACK or proxy_bypass(host) else getproxies().get(parts.scheme)
