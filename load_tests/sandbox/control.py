"""The sandbox's own paths: bill, quotas, faults, answers, journal, health. Sync, bytes in and bytes out."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from load_tests.sandbox.account import Account, Quotas
from load_tests.sandbox.answers import Answers
from load_tests.sandbox.bill import Bill
from load_tests.sandbox.faults import Faults, Rule, Rules
from load_tests.sandbox.journal import Journal

OK = 200, b'{"ok":true}'


class Control(Struct):
    """Answers control requests over the state it was given."""

    bill: Bill
    account: Account
    answers: Answers
    faults: Faults
    journal: Journal
    refuse: Callable[[float], None]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and JSON body."""
        try:
            return self._answer(method, path, body)
        except msgspec.DecodeError as wrong:
            return 400, msgspec.json.encode({"error": str(wrong)})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        match method, path:
            case "GET", "/sandbox/bill":
                return 200, msgspec.json.encode(self.bill.statement())
            case "DELETE", "/sandbox/bill":
                self.bill.reset()
            case "GET", "/sandbox/journal":
                return 200, msgspec.json.encode(self.journal.shown())
            case "DELETE", "/sandbox/journal":
                self.journal.reset()
            case "GET", "/sandbox/faults":
                return 200, msgspec.json.encode({"rules": self.faults.rules})
            case "PUT", "/sandbox/faults":
                self._strike(msgspec.json.decode(body, type=Rules).rules)
            case "DELETE", "/sandbox/faults":
                self.faults.set([])
            case "GET", "/sandbox/answers":
                return 200, msgspec.json.encode(self.answers)
            case "PUT", "/sandbox/answers":
                self.answers.replace(msgspec.json.decode(body, type=Answers))
            case "POST", "/sandbox/answers":
                self.answers.add(msgspec.json.decode(body, type=Answers))
            case "DELETE", "/sandbox/answers":
                self.answers.replace(Answers())
            case "GET", "/sandbox/quotas":
                return 200, msgspec.json.encode(self.account.quotas)
            case "PUT", "/sandbox/quotas":
                self.account.quotas = msgspec.json.decode(body, type=Quotas)
            case "DELETE", "/sandbox/quotas":
                self.account.quotas = {}
            case "GET", "/sandbox/health":
                pass
            case _:
                return 404, msgspec.json.encode({"error": f"the sandbox has no {method} {path}"})
        return OK

    def _strike(self, rules: list[Rule]) -> None:
        self.faults.set([rule for rule in rules if rule.fault != "refuse"])
        for rule in rules:
            if rule.fault == "refuse":
                self.refuse(rule.seconds or 1.0)
