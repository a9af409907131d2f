"""Ray's side of `make bench-ray`: runs rounds of work on request.

    side.py CORES       runs rounds until its standard input ends
    side.py versions    prints the versions in one line

After Ray has run a first task, it prints {"ready": versions}. Then each line of standard input requests a round,
{"round": name, "n": count}, and one line is the reply: {"sample": {quantity: value}}, or {"error": text}. The quantities are
those of row.go; times are in seconds. Preparing and releasing objects is not timed.

The workloads are those of Ray's own ray_perf.py and test_single_node.py, where Ray has them.
"""

import functools
import gc
import json
import os
import platform
import signal
import sys
import tempfile
import traceback
from time import perf_counter

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # sends nothing to the authors of Ray

import numpy as np
import ray

BATCH = 1_000  # tasks that a client submits before it gets them, and refs to wait for
CLIENTS = 4
GRAIN = 10e-6  # seconds of computing in a fine-grained task
BY_HAND = 10  # batches of fine-grained tasks, made by hand
LEAVES = 256
REFS = 10_000  # arguments, refs in an object, gets
RETURNS = 3_000
LARGE = 100 << 20  # bytes


def per_second(n, took):
    return {"rate": n / took}


def expect(got, want):
    if got != want:
        raise ValueError(f"got {got!r}, want {want!r}")


def timed(n, work):
    """Calls work n times, and returns the rate per second."""
    start = perf_counter()
    for _ in range(n):
        work()
    return per_second(n, perf_counter() - start)


@ray.remote
def small_value():
    return b"ok"


def tasks_sync(n):
    took = []
    start = perf_counter()
    for _ in range(n):
        begun = perf_counter()
        ray.get(small_value.remote())
        took.append(perf_counter() - begun)
    all_of_it = perf_counter() - start
    took.sort()
    return per_second(n, all_of_it) | {"p50": quantile(took, 50), "p99": quantile(took, 99)}


def quantile(ordered, percent):
    """Returns the smallest value that at least this percentage of the values does not exceed."""
    within = -(-percent * len(ordered) // 100)
    return ordered[max(within, 1) - 1]


def tasks_async(n):
    start = perf_counter()
    for _ in range(n):
        ray.get([small_value.remote() for _ in range(BATCH)])
    return per_second(n * BATCH, perf_counter() - start)


@ray.remote(num_cpus=0)
class Client:
    def small_value_batch(self, n):
        ray.get([small_value.remote() for _ in range(n)])


@functools.cache
def clients():
    return [Client.remote() for _ in range(CLIENTS)]


def multi_client(n):
    all_of_them = clients()
    start = perf_counter()
    for _ in range(n):
        ray.get([c.small_value_batch.remote(BATCH) for c in all_of_them])
    return per_second(n * CLIENTS * BATCH, perf_counter() - start)


def spin(turns):
    """Uses the CPU: a turn is one step of a random number generator."""
    x = turns | 1
    for _ in range(turns):
        x = (x * 25214903917 + 11) & 0xFFFFFFFFFFFF
    return x


@functools.cache
def grain_turns():
    """Returns how many turns take as long as a grain, in the fastest of several tries."""
    turns, best = 10_000, float("inf")
    for _ in range(20):
        start = perf_counter()
        spin(turns)
        best = min(best, perf_counter() - start)
    return round(turns * GRAIN / best)


@ray.remote
def fine(turns):
    return spin(turns)


@ray.remote
def fine_batch(turns, n):
    return [spin(turns) for _ in range(n)]


def grain_naive(n):
    turns = grain_turns()
    start = perf_counter()
    ray.get([fine.remote(turns) for _ in range(n)])
    return per_second(n, perf_counter() - start)


def grain_by_hand(n):
    turns = grain_turns()
    start = perf_counter()
    ray.get([fine_batch.remote(turns, n // BY_HAND) for _ in range(BY_HAND)])
    return per_second(n, perf_counter() - start)


@ray.remote
def nest(depth):
    return 0 if depth == 0 else 1 + ray.get(nest.remote(depth - 1))


def nested(depth):
    start = perf_counter()
    expect(ray.get(nest.remote(depth)), depth)
    return {"seconds": perf_counter() - start}


@ray.remote
def leaf(i):
    return i


@ray.remote
def add(a, b):
    return a + b


def tree(n):
    start = perf_counter()
    for _ in range(n):
        level = [leaf.remote(i) for i in range(LEAVES)]
        while len(level) > 1:
            level = [add.remote(a, b) for a, b in zip(level[::2], level[1::2])]
        expect(ray.get(level[0]), LEAVES * (LEAVES - 1) // 2)
    return per_second(n * (2 * LEAVES - 1), perf_counter() - start)


def wait_refs(n):
    def wait_one_by_one():
        pending, fetch = [small_value.remote() for _ in range(BATCH)], True
        for _ in range(BATCH):
            _, pending = ray.wait(pending, fetch_local=fetch)
            fetch = False  # the first wait fetches all of them
        expect(len(pending), 0)

    return timed(n, wait_one_by_one)


@ray.remote
def sum_args(*args):
    return sum(args)


@functools.cache
def many_refs():
    return [ray.put(i) for i in range(REFS)]


def many_args(n):
    refs = many_refs()
    return timed(n, lambda: expect(ray.get(sum_args.remote(*refs)), REFS * (REFS - 1) // 2))


def many_gets(n):
    refs = many_refs()
    return timed(n, lambda: expect(len(ray.get(refs)), REFS))


@ray.remote
def create_object_containing_ref():
    return [ray.put(1) for _ in range(REFS)]


@functools.cache
def object_containing_ref():
    ref = create_object_containing_ref.remote()
    ray.wait([ref])
    return ref


def refs_in_object(n):
    ref = object_containing_ref()
    return timed(n, lambda: expect(len(ray.get(ref)), REFS))


@ray.remote(num_returns=RETURNS)
def return_many():
    return tuple(range(RETURNS))


def many_returns(n):
    return timed(n, lambda: expect(ray.get(return_many.remote())[-1], RETURNS - 1))


def put_small(n):
    return timed(n, lambda: ray.put(0))


@functools.cache
def small_ref():
    return ray.put(0)


def get_small(n):
    ref = small_ref()
    return timed(n, lambda: ray.get(ref))


@functools.cache
def large_array():
    return np.arange(LARGE // 8, dtype=np.int64)


def put_large(n):
    array, took = large_array(), 0.0
    for _ in range(n):
        start = perf_counter()
        ref = ray.put(array)
        took += perf_counter() - start
        del ref
    return per_second(n * LARGE, took)


@ray.remote
def last_of(array):
    return int(array[-1])


@functools.cache
def large_ref():
    return ray.put(large_array())


def large_arg(n):
    ref = large_ref()
    return timed(n, lambda: expect(ray.get(last_of.remote(ref)), LARGE // 8 - 1))


ROUNDS = {
    f.__name__: f
    for f in (
        tasks_sync,
        tasks_async,
        multi_client,
        grain_naive,
        grain_by_hand,
        nested,
        tree,
        wait_refs,
        many_args,
        refs_in_object,
        many_returns,
        many_gets,
        put_small,
        get_small,
        put_large,
        large_arg,
    )
}


def answer(line):
    try:
        request = json.loads(line)
        gc.collect()  # garbage of the former round
        return {"sample": ROUNDS[request["round"]](request["n"])}
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}


def versions():
    return f"Ray {ray.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"


def serve(cores, answers):
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:
        ray.init(
            address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=home
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Ray's own handler does not remove the directory
        try:
            expect(ray.get(small_value.remote()), b"ok")
            print(json.dumps({"ready": versions()}), file=answers, flush=True)
            for line in sys.stdin:
                print(json.dumps(answer(line)), file=answers, flush=True)
        finally:
            ray.shutdown()


def main():
    if sys.argv[1:] == ["versions"]:
        print(versions())
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints is not a reply
    serve(int(sys.argv[1]), answers)


if __name__ == "__main__":
    main()
