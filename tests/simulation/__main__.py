"""`scripts/simulate`: simulated months, one per seed, over several processes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import structlog

from tests.simulation.world import LEFT_OUT, VENDORS, Verdict, World


def main() -> int:
    """Exit code 0 when every seed went well, else 1."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Simulate a month of vendors, webhooks, crashes, refusals and skewed clocks for each seed: every "
        "attempt must be in the journal exactly once, as it is, with no call over a quota.",
    )
    parser.add_argument("--seeds", type=int, default=20, help="so many seeds, from 1 (20)")
    parser.add_argument("--seed", type=int, help="this seed alone: replays a failure")
    parser.add_argument(
        "--vendors", default=",".join(VENDORS), help="with commas; all that have a simulator if not given"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (all cores)")
    chosen = parser.parse_args()
    vendors = [name.strip() for name in chosen.vendors.split(",") if name.strip()]
    if wrong := [name for name in vendors if name not in VENDORS]:
        reasons = "; ".join(LEFT_OUT.get(name, f"{name}: no vendor of that name") for name in wrong)
        parser.error(f"{reasons}. Known: {', '.join(VENDORS)}")
    seeds = range(1, chosen.seeds + 1) if chosen.seed is None else [chosen.seed]
    if chosen.vendors == ",".join(VENDORS):
        print("".join(f"left out: {reason}\n" for reason in LEFT_OUT.values()), end="", flush=True)
    with ProcessPoolExecutor(chosen.jobs, initializer=_quiet) as pool:
        waiting = [(seed, pool.submit(_run, seed, vendors)) for seed in seeds]
        verdicts = [_tell(seed, job.result()) for seed, job in waiting]
    return _sum_up([verdict for verdict in verdicts if isinstance(verdict, Verdict)], len(verdicts))


def _run(seed: int, vendors: Sequence[str]) -> Verdict | str:
    try:
        return World(seed, vendors).run()
    except Exception:  # noqa: BLE001 - told beside the seed that replays it
        return traceback.format_exc()


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _tell(seed: int, verdict: Verdict | str) -> Verdict | str:
    if isinstance(verdict, str):
        print(f"seed {seed}: ended in an error; replay: scripts/simulate --seed {seed}\n{verdict}", flush=True)
    elif verdict.well:
        print(f"seed {seed}: well, {sum(verdict.attempts.values())} attempts", flush=True)
    else:
        print(f"seed {seed}: FAILED; replay: scripts/simulate --seed {seed}", flush=True)
        for line in verdict.lines():
            print(f"  {line}", flush=True)
    return verdict


def _sum_up(verdicts: Sequence[Verdict], total: int) -> int:
    attempts, calls, happened = Counter[str](), Counter[str](), Counter[str]()
    for verdict in verdicts:
        attempts.update(verdict.attempts)
        calls.update(verdict.calls)
        happened.update(verdict.happened)
    print(f"disasters: {', '.join(f'{number} x {what}' for what, number in happened.most_common())}")
    for name, number in attempts.items():
        print(f"{name}: {number} attempts, {calls[name] / max(number, 1):.1f} calls per attempt")
    well = sum(verdict.well for verdict in verdicts)
    print(f"{well} of {total} seeds went well")
    return 0 if well == total else 1


if __name__ == "__main__":
    sys.exit(main())
