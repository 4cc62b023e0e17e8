"""The members of a list are read whole or not at all, also where another tool changes it meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from sync.core.delivery import Outcome, Patience
from sync.core.reading import Page, Version
from sync.edges.statsig import ConsoleClient
from sync.errors import DeliveryError
from sync.run.consoles import Consoles
from sync.run.members import read_members
from sync.run.world import all_syncs
from sync.spec.model import SegmentConfig, Sync
from tests.integration.harness import CONSOLE_KEY, Project
from tests.integration.in_process import StillClock, run_still, world_of
from tests.integration.scripted import Asked, Said, scripted
from tests.integration.stand_in import StandIn

READ_IDS = "GET /console/*/id_list"
READ_VERSION = "GET /console/*/idlist_metadata"
MEMBERS = [f"u{number}" for number in range(1_500)]
PAUSES = [2.0, 4.0, 8.0, 16.0]


class Meddler(ConsoleClient):
    """Another tool, which changes the list after the first page of each of so many readings, or is still at it."""

    def __init__(self, url: str, clock: StillClock) -> None:
        super().__init__(url, CONSOLE_KEY, clock, Patience())
        self.change: Callable[[int], None] = lambda reading: None
        self.changing_readings = 0
        self.updating_readings = 0
        self.readings = 0

    def id_list_version(self, segment_id: str) -> Version | None:
        found = super().id_list_version(segment_id)
        if self.updating_readings and found is not None:
            self.updating_readings -= 1
            return Version(found.number, is_updating=True)
        return found

    def id_page(self, segment_id: str, number: int, size: int) -> tuple[Page | None, Outcome]:
        found = super().id_page(segment_id, number, size)
        # The sandbox gives 1,000 at once; what is asked for before that is known is no reading yet.
        if (number, size) == (1, 1_000):
            self.readings += 1
            if self.readings <= self.changing_readings:
                self.change(self.readings)
        return found

    def swap(self, reading: int) -> None:
        """One id goes and a stranger comes: the list is as long as before."""
        self.change_ids("people", "remove", [MEMBERS[reading]])
        self.change_ids("people", "add", [f"stranger{reading}"])

    def take_out(self, reading: int) -> None:
        """One id goes."""
        self.change_ids("people", "remove", [MEMBERS[reading]])


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def meddler(statsig: Any, clock: StillClock) -> Iterator[Meddler]:
    with closing(Meddler(statsig.url, clock)) as client:
        yield client


@pytest.fixture
def people(project: Project, arrived: StandIn) -> Sync:
    """A sync whose list has more than one page, and that has not run yet."""
    arrived.put_segment("people", *MEMBERS)
    project.table("people", "select 'u' || range as user_id from range(1500)")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    (only,) = all_syncs(world_of(project, StillClock()).graph)
    return only


@pytest.fixture
def read(project: Project, people: Sync, meddler: Meddler, clock: StillClock) -> Iterator[Callable[[], set[str]]]:
    """Reads the list, while the other tool is at work."""

    class Shared(Consoles):
        def of(self, sync: Sync) -> ConsoleClient:
            return meddler

    with ExitStack() as stack:
        consoles = Shared(world_of(project, clock), Patience(), stack)
        yield lambda: set(read_members(people, consoles, clock))


def test_a_list_at_rest_is_read_once(read: Callable[[], set[str]], arrived: StandIn, clock: StillClock) -> None:
    assert read() == set(MEMBERS)
    # A page that is cut, and then the two of the size that Statsig gives.
    assert (len(arrived.requests(READ_IDS)), clock.pauses) == (3, [])


def test_a_list_that_changes_between_two_pages_is_read_again(
    read: Callable[[], set[str]], meddler: Meddler, arrived: StandIn, clock: StillClock
) -> None:
    meddler.change, meddler.changing_readings = meddler.swap, 2
    assert read() == arrived.ids("people") >= {"stranger1", "stranger2"}
    assert (meddler.readings, clock.pauses) == (3, PAUSES[:2])


def test_a_list_that_is_being_updated_is_read_again(
    read: Callable[[], set[str]], meddler: Meddler, clock: StillClock
) -> None:
    meddler.updating_readings = 1
    assert read() == set(MEMBERS)
    assert clock.pauses == PAUSES[:1]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 404},
        {"kind": "body", "body": '{"data": {"version": 3}}'},
        {"kind": "body", "body": '{"data": "none"}'},
    ],
    ids=["404", "other names", "no object"],
)
def test_without_metadata_a_list_goes_by_its_totals(
    read: Callable[[], set[str]], meddler: Meddler, arrived: StandIn, fault: dict[str, Any]
) -> None:
    arrived.fault(**fault, call=READ_VERSION, count=None)
    assert read() == set(MEMBERS)
    meddler.change, meddler.readings, meddler.changing_readings = meddler.take_out, 0, 1
    assert read() == set(MEMBERS) - {MEMBERS[1]}
    assert meddler.readings == 2


def test_a_list_that_does_not_come_to_rest_is_given_up(
    read: Callable[[], set[str]], meddler: Meddler, clock: StillClock
) -> None:
    meddler.change, meddler.changing_readings = meddler.swap, 100
    with pytest.raises(DeliveryError, match=r"'people'.*kept changing while it was read.*Nothing was sent"):
        read()
    assert (meddler.readings, clock.pauses) == (5, PAUSES)


# Pages of other kinds than the sandbox's.

LISTED = [f"u{number:03}" for number in range(57)]
NOTHING: dict[str, Any] = {}


@dataclass
class Pages:
    """Statsig's answers for a list of 57 ids, in ways that its documentation leaves open.

    ``most`` is the largest page that it gives, and ``refuses`` whether it refuses a larger one or gives fewer ids;
    ``counts_as_asked`` says that places are counted in the size that was asked for all the same. ``total`` and
    ``count`` say whether those are told, ``links`` whether the next page is. ``versions`` are told one by one.
    """

    most: int = 1_000
    refuses: bool = False
    counts_as_asked: bool = False
    total: bool = True
    count: int | None = None
    links: bool = True
    versions: list[int] | None = None
    ids: list[str] = field(default_factory=lambda: list(LISTED))

    def __call__(self, asked: Asked) -> Said:
        if asked.path.endswith("/idlist_metadata"):
            if self.versions is None:
                return 404, {"status": 404, "message": "no"}
            number = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
            return 200, {"data": {"currentVersion": number, "isUpdating": False}}
        limit, number = int(asked.parameters["limit"]), int(asked.parameters["page"])
        if self.refuses and limit > self.most:
            return 400, {"status": 400, "message": "limit is too large"}
        given = min(limit, self.most)
        step = limit if self.counts_as_asked else given
        start = (number - 1) * step
        data = {"ids": self.ids[start : start + given], **({"count": self.count} if self.count is not None else {})}
        pagination: dict[str, Any] = {"totalItems": len(self.ids)} if self.total else {}
        if self.links:
            pagination["nextPage"] = "/next" if start + step < len(self.ids) else None
            pagination["previousPage"] = "/previous" if number > 1 else None
        return 200, {"message": "ok", "data": data, **({"pagination": pagination} if pagination else {})}


class _Direct(Consoles):
    """One client, for whatever sync."""

    def __init__(self, console: ConsoleClient) -> None:
        self._console = console
        self.heartbeat = lambda: None

    def of(self, sync: Sync) -> ConsoleClient:
        return self._console


def read_pages(pages: Callable[[Asked], Said]) -> tuple[list[str], list[tuple[int, int]]]:
    """The ids that are read from such a server, and the sizes and numbers of the pages that were asked for."""
    config = SegmentConfig(object="segment", segment_id="people", mode="mirror")
    sync, clock = Sync("people", "a.yml", "model.shop.people", config), StillClock()
    with scripted(pages) as server, closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience())) as console:
        found = read_members(sync, _Direct(console), clock)
    read = [(int(one.parameters["limit"]), int(one.parameters["page"])) for one in server.calls("GET", "/id_list")]
    return found.to_list(), read


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"total": False, "count": 57},
        {"total": False, "versions": [4]},
        {"total": False},
        {"links": False},
        {"total": False, "count": 57, "links": False},
        {"total": False, "links": False},
    ],
    ids=["all", "count", "versions", "the end", "total without links", "count without links", "nothing"],
)
@pytest.mark.parametrize("size", [{"most": 1_000}, {"most": 57}, {"most": 56}, {"most": 10}], ids=str)
@pytest.mark.parametrize("way", [NOTHING, {"refuses": True}, {"counts_as_asked": True}], ids=["cut", "400", "places"])
def test_no_id_is_lost_whatever_size_of_pages_statsig_gives_and_whatever_it_tells(
    told: dict[str, Any], size: dict[str, Any], way: dict[str, Any]
) -> None:
    ids, _ = read_pages(Pages(**{**told, **size, **way}))
    assert ids == LISTED


def test_the_largest_page_that_is_answered_in_full_is_asked_for() -> None:
    assert read_pages(Pages())[1] == [(10_000, 1)]
    assert read_pages(Pages(most=40))[1] == [(10_000, 1), (40, 1), (40, 2)]
    assert read_pages(Pages(most=100, refuses=True))[1] == [(10_000, 1), (1_000, 1), (100, 1)]


def test_a_list_that_changes_between_pages_is_read_again_also_without_totals() -> None:
    pages = Pages(most=40, total=False, versions=[4, 5, 5])
    ids, read = read_pages(pages)
    assert (ids, len(read)) == (LISTED, 5)


def test_where_nothing_shows_a_change_two_readings_have_to_be_the_same() -> None:
    pages = Pages(most=40, total=False)

    def changing(asked: Asked) -> Said:
        said = pages(asked)
        if asked.parameters.get("page") == "1" and asked.parameters["limit"] == "40" and pages.ids == LISTED:
            pages.ids = LISTED[1:]
        return said

    ids, _ = read_pages(changing)
    assert ids == LISTED[1:]


def test_a_server_that_does_not_know_pages_gives_the_whole_list_at_once() -> None:
    ids, _ = read_pages(lambda asked: (200, {"message": "ok", "data": {"ids": LISTED}}))
    assert ids == LISTED


def test_a_count_of_the_page_is_not_taken_for_one_of_the_list() -> None:
    pages = Pages(most=40, total=False)

    def counting(asked: Asked) -> Said:
        status, said, *_ = pages(asked)
        if "data" in said and "ids" in said["data"]:
            said["data"]["count"] = len(said["data"]["ids"])
        return status, said

    assert read_pages(counting)[0] == LISTED


def page(ids: list[str], total: Any, next_page: str | None = "/next") -> str:
    return json.dumps({"data": {"ids": ids}, "pagination": {"nextPage": next_page, "totalItems": total}})


@pytest.mark.parametrize("endless", [page(["ann"], 1), page([], 1)], ids=["the same id", "no id"])
@pytest.mark.usefixtures("people")
def test_pages_without_an_end_are_given_up_and_nothing_is_sent(
    project: Project, arrived: StandIn, clock: StillClock, endless: str
) -> None:
    arrived.fault("body", body=endless, call=READ_IDS, count=None)
    with pytest.raises(DeliveryError, match="kept changing while it was read"):
        run_still(project, clock)
    assert len(arrived.requests(READ_IDS)) <= 10
    assert arrived.sent_data() == 0


@pytest.mark.parametrize(
    "body",
    ['{"data": {}}', '{"data": {"ids": [1]}, "pagination": {"totalItems": 1}}'],
    ids=["no ids", "ids that are no text"],
)
def test_an_answer_that_is_not_a_page_of_ids_ends_the_reading(
    read: Callable[[], set[str]], arrived: StandIn, body: str
) -> None:
    arrived.fault("body", body=body, call=READ_IDS, count=None)
    with pytest.raises(DeliveryError, match="not a page of ids"):
        read()


def test_a_page_that_cannot_be_read_ends_the_reading_with_statsigs_word(
    read: Callable[[], set[str]], arrived: StandIn
) -> None:
    arrived.fault("status", status=403, body='{"message": "no"}', call=READ_IDS, count=None)
    with pytest.raises(DeliveryError, match=r"does not accept the key in STATSIG_CONSOLE_API_KEY"):
        read()
