"""What this tool does besides sending: plans of what is new, of what was all sent before, and of a segment."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import send_by_sync
from benchmarks.project import Project
from benchmarks.receiver import Receiver
from benchmarks.report import Work
from benchmarks.start import sandbox

SEND, NEW, SETTLED, MIRROR = "run, all events new", "plan, all events new", "plan, all sent before", "plan of a mirror"

_ANTI_JOIN = """
select count(*) from orders
anti join (select key from statsig_changelog where sync_name = 'orders') as sent on sent.key = orders.order_id
"""
_BOTH_COLUMNS = "select bit_xor(hash(user_id)) from buyers; select bit_xor(hash(id)) from members"


def works(project: Project, receiver: Receiver, folder: Path, times: int) -> list[Work]:
    """Does everything with a project, each as often as ``times``; ``folder`` is one to work in."""
    new = [project.plan(project.warehouse, receiver.url, "orders") for _ in range(times)]
    sent = []
    for _ in range(times):
        # The last copy, in which all events were sent, is the one for the plan that finds nothing new.
        warehouse = project.copy(folder)
        sent.append(send_by_sync(project, warehouse, receiver))
    settled, joins = [], []
    for _ in range(times):
        joins.append(project.seconds_of(warehouse, _ANTI_JOIN))
        settled.append(project.plan(warehouse, receiver.url, "orders"))
    events = [plan["events"] for _, plan in (new[-1], settled[-1])]
    received = f"{min(one.received.distinct for one in sent):,} received"
    return [
        Work(NEW, project.rows, [cost for cost, _ in new], f"{events[0]:,} events"),
        Work(SEND, project.rows, [one.measured for one in sent], received),
        Work(
            *(SETTLED, project.rows, [cost for cost, _ in settled], f"{events[1]:,} events"),
            yardstick="anti-join of the keys",
            yardstick_seconds=joins,
        ),
        _mirror(project, times),
    ]


def _mirror(project: Project, times: int) -> Work:
    costs, scans = [], []
    with _sandbox_with_segment() as url:
        for _ in range(times):
            scans.append(project.seconds_of(project.warehouse, _BOTH_COLUMNS))
            cost, plan = project.plan(project.warehouse, url, "buyers")
            costs.append(cost)
    found = f"{plan['adds']:,} in, {plan['removes']:,} out"
    return Work(MIRROR, project.rows, costs, found, yardstick="reading both columns", yardstick_seconds=scans)


@contextmanager
def _sandbox_with_segment() -> Iterator[str]:
    """The address of a stand-in for Statsig that has the segment; its members are asked for by no plan."""
    with sandbox() as url:
        segment = {"id": "buyers", "name": "buyers", "type": "id_list", "idType": "userID", "ids": ["user_0"]}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/sandbox/segments", json.dumps(segment).encode(), headers)
        urllib.request.urlopen(request, timeout=60).close()
        yield url
