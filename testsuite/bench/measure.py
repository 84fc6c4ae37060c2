"""Timing engines against each other on a machine that others use too.

In each round every engine runs one short burst, in an order that changes from round to round, so that
what slows the machine for a while slows all of them; engines are compared within rounds only.
"""

import itertools
import os
import sys
import time

import numpy as np

UNCOUNTED_RUNS, LEAST_RUNS = 2, 3  # of a burst
RESAMPLES = 2000
LOADS = 3


def load(make, *arguments):
    """The engine that `make` makes, and the median of the seconds from nothing to its first result."""
    seconds = []
    for _ in range(LOADS):
        start = time.perf_counter()
        engine = make(*arguments)
        engine.run()
        seconds.append(time.perf_counter() - start)
    return engine, float(np.median(seconds))


def interleave(engines, rounds, burst, pause, what):
    """The seconds of each run, a list for each round, by the engines' names.

    A burst is as many runs as fit into `burst` seconds. Before them come a pause, for the threads of the
    engine before to end their spinning, and runs that are not counted, which fill the caches again.
    """
    seconds = {name: [] for name in engines}
    orders = list(itertools.permutations(engines))
    for number in range(rounds):
        progress(f"{what}: round {number + 1} of {rounds}")
        for name in orders[number % len(orders)]:
            run = engines[name].run
            time.sleep(pause)
            for _ in range(UNCOUNTED_RUNS):
                run()
            times = []
            end = time.perf_counter() + burst
            while len(times) < LEAST_RUNS or time.perf_counter() < end:
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
            seconds[name].append(times)
    progress("")
    return seconds


def progress(text):
    """Replaces the line on the terminal, if there is one."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


def summary(rounds):
    """Milliseconds of all runs of an engine."""
    p10, median, p90 = np.percentile(np.concatenate(rounds) * 1e3, [10, 50, 90])
    return {"median_ms": median, "p10_ms": p10, "p90_ms": p90, "runs": sum(map(len, rounds))}


def ratio(ours, theirs):
    """Our time over theirs: the median of the rounds' ratios, with its 95 % interval by bootstrap over rounds."""
    ratios = np.array([np.median(a) / np.median(b) for a, b in zip(ours, theirs)])
    picks = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return {"median": float(np.median(ratios)), "low": low, "high": high}


class OtherWork:
    """How much of the machine other processes took since this was made: a share of all cores, or None."""

    def __init__(self):
        self.start = busy_seconds()

    def share(self):
        if self.start is None:
            return None
        others, wall = (now - then for now, then in zip(busy_seconds(), self.start))
        return max(0.0, others / wall / os.cpu_count())


def busy_seconds():
    """(seconds that cores spent on other processes, seconds passed), where the system tells."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, file.readline().split()[1:9])
    except OSError:
        return None
    own = os.times()
    busy = (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")
    return busy - own.user - own.system, time.perf_counter()
