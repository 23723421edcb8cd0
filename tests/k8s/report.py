FIRST = "| what was done | what was seen | held |"


class Report:
    """Rows by test, in the order of the tests; a run of some of them leaves the others' rows as they are."""

    def __init__(self, order: list[str], *, fresh: bool) -> None:
        """`order` names all tests; a fresh report forgets the page."""
        self.order, self.rows = order, {} if fresh else _rows(order)
        self.facts: dict[str, str] = {}

    def seen(self, test: str, what: str, figures: str, *, good: bool = True) -> None:
        """One row; whoever calls has checked it."""
        held = "yes" if good else "**no**"
        self.rows[test] = f"| {what} | {figures} | {held} <!-- {test} --> |"

    def write(self) -> None:
        """The page."""
        lines = [HEAD, f"## Run of {time.strftime('%-d %B %Y')}", ""]
        lines += [
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in self.facts.items()),
            "",
        ]
        lines += [
            FIRST,
            "|---|---|---|",
            *(self.rows[test] for test in self.order if test in self.rows),
        ]
        PAGE.write_text("\n".join(lines) + "\n")


def _rows(order: list[str]) -> dict[str, str]:
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    return {test: line for line in lines for test in order if line.endswith(f"<!-- {test} --> |")}


class Row:
    """Where one test says what it saw."""

    def __init__(self, report: Report, test: str) -> None:
        self._report, self._test = report, test

    def seen(self, what: str, figures: str, *, good: bool = True) -> None:
        """Whoever calls has checked it."""
        self._report.seen(self._test, what, figures, good=good)
