"""What is asked, and the one right answer to it. Nothing here is fixed for `jwt`, so no answer can be known before."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

KEY = b"this key signs the tokens of a benchmark, nothing else"
"""Compiled into every subject. It is no secret."""
GREETINGS = {
    "en": "Welcome",
    "ar": "أهلا وسهلا",
    "de": "Willkommen",
    "es": "Bienvenido",
    "fr": "Bienvenue",
    "hi": "स्वागत है",
    "ja": "ようこそ",
    "pt": "Bem-vindo",
}
UNKNOWN = ("cy", "eo", "fi", "mi", "tlh", "zu")
"""Languages that no subject has a greeting in."""
REGIONS = ("", "", "-AT", "-CH", "-MX", "-419")
LIFETIME_S = 86_400
"""Of a token: longer than any measurement."""
GOOD_QUESTIONS = 4
LOAD_QUESTIONS = 256
"""So many different requests go round under the load."""


@dataclass(frozen=True)
class Question:
    """A request, and what a right answer has."""

    status: int
    media_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Workload:
    """What all subjects are asked. Every call makes new questions, if the workload has more than one."""

    name: str
    good: Callable[[], Question]
    refused: Callable[[], list[Question]] = list
    varies: bool = False

    def questions(self) -> list[Question]:
        """What is asked before and after the load: in a random order, so that an answer tells nothing about the next."""
        questions = [self.good() for _ in range(GOOD_QUESTIONS if self.varies else 1)] + self.refused()
        random.shuffle(questions)
        return questions

    def load(self) -> list[dict[str, str]]:
        """The headers of the requests that go round under the load; none where all are the same."""
        return [self.good().headers for _ in range(LOAD_QUESTIONS)] if self.varies else []


def _hello() -> Question:
    return Question(200, "text/plain", b"hello\n")


def _greeting() -> Question:
    user, language = f"user-{secrets.token_hex(4)}", random.choice(list(GREETINGS))
    answer = {"user": user, "language": language, "greeting": GREETINGS[language]}
    body = json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"Authorization": _bearer(user), "Accept-Language": _accept_language(language)}
    return Question(200, "application/json", body, headers)


def _refused() -> list[Question]:
    """Tokens with one fault each, and none at all."""
    user = f"user-{secrets.token_hex(4)}"
    good, other = _bearer(user), _bearer(user + "x")
    faulty = (
        _bearer(user, expires=time.time() - LIFETIME_S),
        _bearer(user, key=KEY + b"."),
        # Another one's claims under this signature.
        ".".join([*other.split(".")[:2], good.split(".")[2]]),
        _bearer(user, algorithm="none"),
    )
    answer = (401, "application/json", b'{"error":"the token is not good"}')
    return [Question(*answer), *(Question(*answer, {"Authorization": value}) for value in faulty)]


def _accept_language(chosen: str) -> str:
    """A list of which only `chosen` is the right choice: it weighs most of those that there are."""
    others = random.sample([language for language in GREETINGS if language != chosen], 2)
    ranges = [
        f"{chosen}{random.choice(REGIONS)};q=0.{random.randint(6, 9)}",
        f"{random.choice(UNKNOWN)}{random.choice(REGIONS)}",
        *(f"{other}{random.choice(REGIONS)};q=0.{random.randint(1, 5)}" for other in others),
    ]
    random.shuffle(ranges)
    return ", ".join([*ranges, "*;q=0.1"])


def _bearer(user: str, *, expires: float | None = None, key: bytes = KEY, algorithm: str = "HS256") -> str:
    """The value of `Authorization` with a token for this user (RFC 7515, RFC 7519)."""
    header = {"alg": algorithm, "typ": "JWT"}
    claims = {"sub": user, "exp": int(expires or time.time() + LIFETIME_S)}
    signed = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"Bearer {signed}.{_base64url(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


WORKLOADS = {
    workload.name: workload
    for workload in (Workload("hello", _hello), Workload("jwt", _greeting, _refused, varies=True))
}
