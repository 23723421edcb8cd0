"""The sandbox's own paths: bill, faults, journal, health. Sync, bytes in and bytes out."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from load_tests.sandbox.bill import Bill
from load_tests.sandbox.faults import Faults, Rules
from load_tests.sandbox.journal import Journal

OK = 200, b'{"ok":true}'


class Control(Struct):
    """Answers control requests over the state it was given."""

    bill: Bill
    faults: Faults
    journal: Journal
    refuse: Callable[[float], None]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and JSON body."""
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
                return self._set(body)
            case "DELETE", "/sandbox/faults":
                self.faults.set([])
            case "GET", "/sandbox/health":
                pass
            case _:
                return 404, msgspec.json.encode({"error": f"the sandbox has no {method} {path}"})
        return OK

    def _set(self, body: bytes) -> tuple[int, bytes]:
        try:
            rules = msgspec.json.decode(body, type=Rules).rules
        except msgspec.DecodeError as wrong:
            return 400, msgspec.json.encode({"error": str(wrong)})
        self.faults.set([rule for rule in rules if rule.fault != "refuse"])
        for rule in rules:
            if rule.fault == "refuse":
                self.refuse(rule.seconds or 1.0)
        return OK
