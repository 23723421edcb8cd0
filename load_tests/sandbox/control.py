"""The sandbox's own paths: bill, quotas, faults, answers, journal, token, health."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from load_tests.sandbox.account import Account, Quotas
from load_tests.sandbox.answers import Answers
from load_tests.sandbox.bill import Bill
from load_tests.sandbox.faults import Faults, Rule, Rules
from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.http1 import Incoming
from load_tests.sandbox.journal import Journal

OK = 200, b'{"ok":true}'
PAGES = ("bill", "journal", "faults", "answers", "quotas", "token", "health")


class Control(Struct):
    """Answers control requests over the state it was given."""

    bill: Bill
    account: Account
    answers: Answers
    faults: Faults
    journal: Journal
    tokens: Tokens
    refuse: Callable[[float], None]

    def answer(self, asked: Incoming, now: float) -> tuple[int, bytes]:
        """Status and JSON body; `now` in seconds since the epoch."""
        page = asked.path.removeprefix("/sandbox/")
        if asked.method == "POST" and page == "token":
            return self.tokens.exchange(asked, now)
        try:
            told = self._do(asked.method, page, asked.body)
        except msgspec.DecodeError as wrong:
            return 400, msgspec.json.encode({"error": str(wrong)})
        if told is None:
            said = f"the sandbox has no {asked.method} {asked.path}"
            return 404, msgspec.json.encode({"error": said})
        return OK if told is True else (200, msgspec.json.encode(told))

    def _do(self, method: str, page: str, body: bytes) -> Any:
        if method == "GET":
            return self._show(page)
        return self._forget(page) if method == "DELETE" else self._take(method, page, body)

    def _show(self, page: str) -> Any:
        if page not in PAGES:
            return None
        shown: dict[str, Callable[[], Any]] = {
            "bill": self.bill.statement,
            "journal": self.journal.shown,
            "faults": lambda: {"rules": self.faults.rules},
            "answers": lambda: self.answers,
            "quotas": lambda: self.account.quotas,
            "token": lambda: {"issued": self.tokens.issued},
            "health": lambda: True,
        }
        return shown[page]()

    def _forget(self, page: str) -> Any:
        match page:
            case "bill":
                self.bill.reset()
            case "journal":
                self.journal.reset()
            case "faults":
                self.faults.set([])
            case "answers":
                self.answers.replace(Answers())
            case "quotas":
                self.account.quotas = {}
            case _:
                return None
        return True

    def _take(self, method: str, page: str, body: bytes) -> Any:
        match method, page:
            case "PUT", "faults":
                self._strike(msgspec.json.decode(body, type=Rules).rules)
            case "PUT", "answers":
                self.answers.replace(msgspec.json.decode(body, type=Answers))
            case "POST", "answers":
                self.answers.add(msgspec.json.decode(body, type=Answers))
            case "PUT", "quotas":
                self.account.quotas = msgspec.json.decode(body, type=Quotas)
            case _:
                return None
        return True

    def _strike(self, rules: list[Rule]) -> None:
        self.faults.set([rule for rule in rules if rule.fault != "refuse"])
        for rule in rules:
            if rule.fault == "refuse":
                self.refuse(rule.seconds or 1.0)
