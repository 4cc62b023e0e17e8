"""Write the demo's raw data, an online shop's, as CSV files into ``seeds/``.

The same data come out at every run and on every version of Python, because every choice is derived from
``random.Random.random`` with a fixed seed, the one method whose sequence Python promises to keep.

The data have the dirt that real data have, in known places: see the functions whose names end in ``_dirt``.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Row = dict[str, object]

FIRST_DAY = datetime(2026, 9, 15)
LAST_DAY = datetime(2026, 11, 1)
"""The ``as_of`` of ``dbt_project.yml`` is this day."""

CUSTOMERS = 2_000
DEVICES = 2_600
ORDERS = 5_000
PAGE_VIEWS = 7_000
OPT_OUTS = 900

FIRST_CUSTOMER_ID = 10_001
FIRST_ORDER_ID = 500_001

COUNTRIES = ("DE", "DE", "DE", "US", "US", "GB", "FR", "NL", "AT", "PL", "de", "us ", "UK", "Germany", "")
PLANS = ("free", "free", "free", "plus", "pro")
ORDER_STATUSES = ("completed",) * 16 + ("Completed ", "pending", "cancelled", "returned")
COUPONS = ("", "", "", "", "AUTUMN10", "WELCOME5", "FREESHIP")
PRODUCTS = ("TENT-2", "TENT-4", "STOVE-1", "LAMP-3", "ROPE-60", "BOTTLE-1", "BOOTS-44", "JACKET-M", "PACK-45")
CHANNELS = ("web", "web", "web", "app", "phone")
EVENTS = ("page_view",) * 9 + ("add_to_cart",) * 3 + ("beta_opened",) * 4 + ("checkout_started",) * 2 + ("search",)
ODD_EVENTS = ("page_view[mobile]", "add_to_cart;", "search=tent", "  ", "", "50%_off", "x" * 130)
PAGES = ("/", "/sale", "/tents", "/stoves", "/boots", "/cart", "/help/returns")
INVALID_PROPERTIES = ('{"channel": "web",', '["web", "app"]', '{"channel": "web",}', '{"weight": NaN}', '"web"')


@dataclass(frozen=True)
class Draw:
    """Random choices that come out the same on every version of Python."""

    source: random.Random

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1, each as likely as the others."""
        return int(self.source.random() * limit)

    def one_of(self, values: Sequence[T]) -> T:
        """One of the values; a value that stands there twice is twice as likely."""
        return values[self.below(len(values))]

    def often_low(self, limit: int) -> int:
        """A whole number below ``limit``; low ones are more frequent, as with loyal customers."""
        return int(self.source.random() ** 1.5 * limit)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.source.random() < probability

    def moments(self, count: int) -> list[datetime]:
        """So many seconds between the first day and the end of the last one, in order."""
        seconds = int((LAST_DAY - FIRST_DAY + timedelta(days=1)).total_seconds())
        return [FIRST_DAY + timedelta(seconds=at) for at in sorted(self.below(seconds) for _ in range(count))]

    def uuid(self) -> str:
        """A random UUID (version 4)."""
        return str(uuid.UUID(bytes=bytes(self.below(256) for _ in range(16)), version=4))


def loaded_after(draw: Draw, moment: datetime) -> datetime:
    """When the row reached the warehouse: within the hour, and one in fifty a day or two late."""
    late = timedelta(days=1 + draw.below(2)) if draw.chance(0.02) else timedelta()
    return moment + timedelta(minutes=1 + draw.below(59)) + late


def customers(draw: Draw) -> list[Row]:
    """Customers, with rows that were exported twice and rows that lost their id."""
    rows: list[Row] = []
    for number in range(CUSTOMERS):
        created_at = FIRST_DAY - timedelta(minutes=draw.below(900 * 24 * 60))
        row: Row = {
            "customer_id": FIRST_CUSTOMER_ID + number,
            "email": f"customer{number + 1}@example.com",
            "country": draw.one_of(COUNTRIES),
            "plan": draw.one_of(PLANS),
            "created_at": created_at,
            "loaded_at": created_at + timedelta(hours=1),
        }
        rows.append(customer_dirt(draw, row))
        if draw.chance(0.01):
            rows.append(row)
    return rows


def customer_dirt(draw: Draw, row: Row) -> Row:
    """Blank addresses, addresses in capitals, and a few rows without an id."""
    if draw.chance(0.02):
        row["email"] = "   "
    elif draw.chance(0.03):
        row["email"] = str(row["email"]).upper()
    if draw.chance(0.004):
        row["customer_id"] = ""
    return row


def orders(draw: Draw, devices: Sequence[str]) -> list[Row]:
    """Orders, some of them exported twice with another amount."""
    rows: list[Row] = []
    for number, ordered_at in enumerate(draw.moments(ORDERS)):
        customer = draw.often_low(CUSTOMERS)
        items = [draw.one_of(PRODUCTS) for _ in range(1 + draw.below(3))]
        row: Row = {
            "order_id": FIRST_ORDER_ID + number,
            "customer_id": FIRST_CUSTOMER_ID + customer,
            "device_id": devices[customer] if draw.chance(0.5) else "",
            "status": draw.one_of(ORDER_STATUSES),
            "amount": f"{9 + draw.below(390)}.{draw.below(100):02d}",
            "shipping": draw.one_of(("0.00", "4.90", "9.90")),
            "coupon": draw.one_of(COUPONS),
            "items": "|".join(items),
            "deliver_on": (ordered_at + timedelta(days=2 + draw.below(5))).date(),
            "ordered_at": ordered_at,
            "properties": order_properties(draw),
            "loaded_at": loaded_after(draw, ordered_at),
        }
        rows.append(order_dirt(draw, row, devices))
        if draw.chance(0.006):
            rows.append({**row, "amount": f"{9 + draw.below(390)}.00"})
    return rows


def order_properties(draw: Draw) -> str:
    """What the shop knows besides: nothing for most orders, else a JSON object, rarely something else."""
    if draw.chance(0.008):
        return draw.one_of(INVALID_PROPERTIES)
    if draw.chance(0.6):
        return ""
    return json.dumps({"channel": draw.one_of(CHANNELS), "gift": draw.chance(0.1)}, separators=(",", ":"))


def order_dirt(draw: Draw, row: Row, devices: Sequence[str]) -> Row:
    """Guests, who have a device and no customer, and a few orders that have neither."""
    if draw.chance(0.04):
        row["customer_id"] = ""
        row["device_id"] = draw.one_of(devices) if draw.chance(0.9) else ""
    return row


def page_views(draw: Draw, devices: Sequence[str]) -> list[Row]:
    """What visitors did on the site; most of them are not signed in."""
    rows: list[Row] = []
    for number, viewed_at in enumerate(draw.moments(PAGE_VIEWS)):
        visitor = draw.often_low(DEVICES) if draw.chance(0.3) else draw.below(DEVICES)
        signed_in = visitor < CUSTOMERS and draw.chance(0.4)
        event = draw.one_of(EVENTS)
        row: Row = {
            "view_id": f"v{number + 1:05d}",
            "user_id": str(FIRST_CUSTOMER_ID + visitor) if signed_in else "",
            "device_id": devices[visitor],
            "event": event,
            "viewed_at": viewed_at,
            "url": draw.one_of(PAGES),
            "properties": view_properties(draw, event),
            "loaded_at": loaded_after(draw, viewed_at),
        }
        rows.append(view_dirt(draw, row))
    return rows


def view_properties(draw: Draw, event: str) -> str:
    """What was put into the cart; nothing for the other events."""
    if event not in {"add_to_cart", "checkout_started"}:
        return ""
    if draw.chance(0.02):
        return draw.one_of(INVALID_PROPERTIES)
    return json.dumps({"sku": draw.one_of(PRODUCTS), "quantity": 1 + draw.below(3)}, separators=(",", ":"))


def view_dirt(draw: Draw, row: Row) -> Row:
    """Odd event names, refused cookies, device ids that are blank or carry a space, visitors without any id."""
    if draw.chance(0.006):
        row["event"] = draw.one_of(ODD_EVENTS)
    if draw.chance(0.03):
        row["device_id"] = draw.one_of(("", "  ", f"{row['device_id']} "))
    if draw.chance(0.003):
        row["user_id"], row["device_id"] = "", ""
    return row


def opt_outs(draw: Draw) -> list[Row]:
    """The mail tool's export: who asked for no more marketing, and who changed their mind later."""
    rows: list[Row] = []
    for changed_at in draw.moments(OPT_OUTS):
        row: Row = {
            "customer_id": str(FIRST_CUSTOMER_ID + draw.below(CUSTOMERS)),
            "channel": draw.one_of(("email", "email", "email", "sms")),
            "is_opted_out": "true" if draw.chance(0.85) else "false",
            "changed_at": changed_at,
            "loaded_at": loaded_after(draw, changed_at),
        }
        rows.append(opt_out_dirt(draw, row))
    return rows


def opt_out_dirt(draw: Draw, row: Row) -> Row:
    """Ids that a person typed or a spreadsheet changed."""
    if draw.chance(0.02):
        typed = str(row["customer_id"])
        row["customer_id"] = draw.one_of((f" {typed}", f"{typed}\u00a0", f"{typed}\t", "  ", ""))
    return row


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as a CSV file with ``\\n`` line ends; an empty field is a null to dbt."""
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Write all seeds into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the demo's raw data as CSV files.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "seeds")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    # A generator of its own for each table, so that one can change without changing the others.
    devices_draw = Draw(random.Random("devices"))
    devices = [devices_draw.uuid() for _ in range(DEVICES)]
    write(folder / "raw_demo_shop__customers.csv", customers(Draw(random.Random("customers"))))
    write(folder / "raw_demo_shop__orders.csv", orders(Draw(random.Random("orders")), devices))
    write(folder / "raw_demo_shop__page_views.csv", page_views(Draw(random.Random("page views")), devices))
    write(folder / "raw_demo_shop__marketing_opt_outs.csv", opt_outs(Draw(random.Random("opt-outs"))))


if __name__ == "__main__":
    main()
