"""How Oakbridge is asked, and how it prints a result: the simulated vendor of the contract tests."""

from typing import Any

from bridge.sdk.table_simulator import Sitting, Table, TableBench

__all__ = ["VARIANTS", "Bench"]


def row(sitting: Sitting) -> dict[str, Any]:
    person = f"person{sitting.person}@example.test"
    return {"id": sitting.number, "email": person, "quiz": "Q7", "finished": sitting.finished, "percent": sitting.score}


class Bench(TableBench):
    table = Table(
        path="/results", since="since", page="page", rows="results", more_at="more", row=row, visible_after=60.0,
        key=("x-token", "invented"), credentials={"token": ("invented",)},
    )  # fmt: skip


VARIANTS = {"documented": Bench}
