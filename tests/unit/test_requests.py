"""What one HTTP call carries."""

from __future__ import annotations

import gzip

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sync.core.compression import compressed
from sync.core.ledger import LINES
from sync.core.requests import Request
from tests.unit.simulated import events, ids, keys_of

_EVENTS = st.lists(
    st.dictionaries(st.text(), st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), max_size=3),
    min_size=2,
    max_size=20,
)


@given(found=_EVENTS)
def test_halves_have_every_event_once_byte_by_byte_and_each_with_its_line(found: list[dict[str, object]]) -> None:
    # The way that a warehouse writes a number or a text need not be the way that Python does.
    bodies = [b'{"at": 1.50, "text": "\\u00e9\\/",  "more": ' + msgspec.json.encode(one) + b"}" for one in found]
    body = b'{"events":[' + b",".join(bodies) + b'],"statsigMetadata":{"sdkType": "x"}}'
    rows = [(str(place), "hash", "visit", place) for place in range(len(bodies))]
    whole = Request("log", pl.DataFrame(rows, schema=dict(LINES), orient="row"), compressed(body), len(body))
    for place, half in enumerate(whole.halves()):
        content = gzip.decompress(half.body or b"")
        assert content == b'{"events":[' + b",".join(bodies[place::2]) + b'],"statsigMetadata":{"sdkType": "x"}}'
        assert half.body_bytes == len(content)
        assert half.lines["key"].to_list() == [str(number) for number in range(place, len(bodies), 2)]
        assert half.size == len(bodies[place::2])


@given(count=st.integers(2, 50))
def test_a_request_that_is_split_to_the_end_is_its_keys(count: int) -> None:
    for whole in (events(range(count)), ids("add", map(str, range(count)))):
        waiting, alone = [whole], []
        while waiting:
            one = waiting.pop()
            if one.size == 1:
                alone += keys_of(one)
            else:
                waiting += one.halves()
        assert sorted(alone, key=int) == [str(key) for key in range(count)]
