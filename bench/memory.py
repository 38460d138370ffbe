"""100 million events under an 8 GB memory limit: the features of `windows`, once, in a fresh process.

What counts is the peak of resident memory as the kernel keeps it (VmHWM), the interpreter and pages of mapped
files included. Samples from outside, 20 a second, tell how much of it was anonymous and how much was file
pages.
"""

from __future__ import annotations

from dataclasses import replace

from bench import data
from bench.harness import OURS, Measured, Options, Row
from bench.process import SideFailed, Worker
from bench.windows import ours

GB = 1e9


def run(options: Options) -> list[Row]:
    if not options.ours:
        print("bench: memory has no other side")
        return []
    size, limit_gb = (5_000_000, 1) if options.quick else (100_000_000, 8)
    log = data.events(size, (100_000,))
    arguments = {"log": log.log, "spine": log.spine(100_000), "key": "account_id", "amount": "amount"}
    side = ours(arguments, {"ASOF_MEMORY_LIMIT": f"{limit_gb}GB"})
    limit = f"limit {limit_gb} GB"
    warm = data.events(1_000_000, (100_000,))  # so that compiling is not part of the seconds
    small = replace(side, arguments=arguments | {"log": warm.log, "spine": warm.spine(100_000)})
    try:
        with Worker(small, options.threads) as worker:
            worker.ask("run")
        with Worker(side, options.threads) as worker:
            answer, versions, samples = worker.ask("run"), worker.ask("versions"), dict(worker.samples)
    except SideFailed as failure:
        print(f"bench: ours could not run: {failure}", flush=True)
        return [Row("memory", "memory", None, limit_gb, limit, unit="GB", bar="<= 1.0", failed=True)]
    memory = {k: v for k, v in answer.items() if k.endswith("_bytes")}
    memory |= {f"sampled_{name}_bytes": value for name, value in samples.items()}
    found = Measured(OURS, answer["seconds"], [answer["seconds"]], [answer["cpu_seconds"]], memory, versions)
    notes = [
        f"{size:,} events, {answer['rows']:,} spine rows in {answer['seconds']:.1f} s",
        f"resident peak {found.peak / GB:.2f} GB; highest samples: anonymous {samples.get('RssAnon', 0) / GB:.2f} GB",
        f"highest sample of file pages {samples.get('RssFile', 0) / GB:.2f} GB",
    ]
    peak = max(found.peak, memory.get("children_peak_bytes", 0)) / GB
    fits = Row("memory", "memory", peak, limit_gb, limit, "GB", "<= 1.0", {OURS: found}, notes)
    return [fits, Row("memory", "memory-seconds", answer["seconds"], None, "", sides={OURS: found})]
