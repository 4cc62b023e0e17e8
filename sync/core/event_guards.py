"""What events are refused for: a first run that is not one, more than is usual, keys made at each build, duplicates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from sync.core.guards import percent
from sync.core.history import FirstRun, Sibling
from sync.core.plan import EventPlan, Refusal
from sync.spec.statsig import CONSOLE_KEY_VARIABLE, SERVER_SECRET_VARIABLE

# A sync that is used to few events is not refused for a busy day.
_LEAST_USUAL = 1_000
# With fewer keys than these, nothing can be said of most of them.
_FEW_KEYS = 3


def event_refusals(plans: Iterable[EventPlan], allowed: Collection[str]) -> list[Refusal]:
    """What the guards on events refuse; ``allowed`` names the syncs whose events the command line allows.

    A first run has to say what it sends, whatever is allowed.
    """
    refusals: list[Refusal] = []
    for plan in plans:
        problems = [] if plan.sync.name in allowed else list(event_problems(plan))
        if not problems and (problem := backfill_problem(plan)):
            problems.append(problem)
        refusals.extend(Refusal(plan.sync.name, problem) for problem in problems)
    return refusals


def with_allowed_events(plan: EventPlan, allowed: Collection[str]) -> EventPlan:
    """The plan, which says so where the command line allows events that the guards would have refused."""
    if plan.sync.name not in allowed or not any(event_problems(plan)):
        return plan
    before = f"{plan.overrides}, " if plan.overrides else ""
    return replace(plan, overrides=f"{before}--allow-events {plan.sync.name}")


def backfill_problem(plan: EventPlan) -> str | None:
    """What a first run asks for: how much of what the model has it is to send; None where that is written."""
    if not plan.is_first_run or plan.config.backfill is not None:
        return None
    found = f"it would send {plan.keys:,} event(s){plan.times.text}" if plan.keys else "the model has no event yet"
    return (
        f"this is the first run; {found}. Write backfill: all, none, or a date (from that day on) under "
        "config.meta.statsig. Later runs send what is new, whatever stands there."
    )


def event_problems(plan: EventPlan) -> Iterator[str]:
    """Why these events are refused, unless the command line allows them."""
    advice = f"If this is meant, run once with --allow-events {plan.sync.name}"
    first_run = plan.history.first_run
    if first_run is not None and plan.keys and (problem := _first_run_problem(plan, first_run)):
        first = "it has sent nothing yet" if first_run.is_again else "this is the first run"
        yield f"{first}, but {problem} {advice}."
    if problem := _lost_problem(plan):
        yield f"{problem} {advice}."
    elif problem := _keys_problem(plan):
        yield f"{problem} {advice}; where the model holds only the newest rows, write guard: {{allow_gone_keys: true}}."
    elif problem := _size_problem(plan):
        yield f"{problem} {advice}, or change guard: in the exposure."
    if problem := _duplicates_problem(plan):
        yield f"{problem} {advice}, or write guard: {{max_duplicates_percent: ...}}."


def event_notes(plan: EventPlan) -> tuple[str, ...]:
    """What a person should know of the events: the run ledger keeps it."""
    return (*_metadata_notes(plan), *_arrived_notes(plan))


def _first_run_problem(plan: EventPlan, first_run: FirstRun) -> str | None:
    """What speaks against a first run being one: the nearest first."""
    if siblings := [one for one in first_run.siblings if not one.is_other]:
        return _sibling_problem(plan, max(siblings, key=lambda one: one.keys))
    if first_run.elsewhere:
        other = max(first_run.elsewhere, key=lambda one: one.events)
        return (
            f"ledgers in the schema {other.schema} say that {plan.sync.name} has sent {other.events:,} event(s). So "
            "dbt builds the ledgers elsewhere than before: a +schema, another target, or another schema in the "
            "profile. Set it back, or move the old ledgers here (README, 'The ledgers are in another schema')."
        )
    if first_run.was_seen:
        return (
            "statsig_build_log knows of earlier runs, so the ledgers have been emptied or replaced. Restore them, or "
            "write backfill: none, or a date."
        )
    if first_run.arrived.found:
        arrived = first_run.arrived
        if others := _others(first_run):
            return (
                f"Statsig has {arrived.found:,} of {arrived.asked:,} of its events that were looked up, and {others} "
                "under the same event name. If these are other events, let each sync have keys of its own, such as "
                "with a prefix; if they are the same, take one of the two out."
            )
        return (
            f"Statsig has {arrived.found:,} of {arrived.asked:,} of its events that were looked up. So the ledgers "
            "that know of them are not here: a deleted database, or another one. Restore them, or write backfill: "
            "none, or a date."
        )
    return None


def _sibling_problem(plan: EventPlan, sibling: Sibling) -> str:
    name = sibling.identity.sync_name
    sent = f"{sibling.identity} has sent {sibling.keys:,} of the event(s) that it would send"
    if sibling.is_live:
        return f"{sent}, from the same model, so each would count twice in Statsig. Take one of the two out."
    project = sibling.identity.project
    if project == plan.project:
        written = name
    else:
        usual = SERVER_SECRET_VARIABLE if plan.sync.config.object == "events" else CONSOLE_KEY_VARIABLE
        key = project.partition(":")[2] or usual
        written = f"{{api_key_env: {key}}}" if name == plan.sync.name else f"{{exposure: {name}, api_key_env: {key}}}"
    return (
        f"{sent}. If that was this sync under another name, write renamed_from: {written} under config.meta.statsig, "
        "and its history is carried on."
    )


def _others(first_run: FirstRun) -> str | None:
    """Which syncs of other models have sent the same keys, as a part of a sentence."""
    others = [one for one in first_run.siblings if one.is_other]
    return " and ".join(f"{one.identity} has sent {one.keys:,} of the same keys" for one in others) or None


def _lost_problem(plan: EventPlan) -> str | None:
    """Why the ledgers do not know any more what they say was sent."""
    last = plan.history.last_sent
    if last is None or not last.lost or not plan.keys:
        return None
    return (
        f"statsig_run_log says that {last.lost:,} event(s) of its last runs were accepted, and statsig_batch_log and "
        "statsig_changelog know nothing of them. So a ledger was lost or emptied, and what was sent before would go "
        "again. Restore it."
    )


def _keys_problem(plan: EventPlan) -> str | None:
    """Why the keys look as if each build made other ones for the same rows."""
    last = plan.history.last_sent
    if last is None or plan.config.guard.allow_gone_keys or last.keys < _FEW_KEYS or 2 * last.gone <= last.keys:
        return None
    returning = plan.times.returning if plan.traits.has_time else plan.keys
    # What only holds the newest rows has lost all that was sent, and brings as many as it did last.
    if returning < min(last.gone, last.gone if last.newest_keys is None else last.newest_keys):
        return None
    times = ", for times that were sent before" if plan.traits.has_time else ""
    return (
        f"{last.gone:,} of the {last.keys:,} keys that were sent last are no longer in the model, and {plan.keys:,} "
        f"new ones come{times}. So the keys look as if each build made other ones for the same rows, as uuid() and "
        "row_number() do, and each event would count twice in Statsig. Make unique_key a column that a row keeps."
    )


def _size_problem(plan: EventPlan) -> str | None:
    guard, usual = plan.config.guard, plan.history.usual
    if plan.keys > guard.max_events:
        return (
            f"it would send {plan.keys:,} event(s){plan.times.text}; the guard allows up to {guard.max_events:,} in "
            "one run (max_events)."
        )
    if usual is None or plan.keys <= guard.max_times_usual * max(usual, _LEAST_USUAL):
        return None
    return (
        f"it would send {plan.keys:,} event(s){plan.times.text}; about {usual:,.0f} are usual by now, as the runs of "
        f"the last 30 days went. The guard allows {guard.max_times_usual:g} times as many (max_times_usual), and at "
        f"least {guard.max_times_usual * _LEAST_USUAL:,.0f}."
    )


def _duplicates_problem(plan: EventPlan) -> str | None:
    most = plan.config.guard.max_duplicates_percent
    share = 100 * plan.duplicates / plan.rows_read if plan.rows_read else 0.0
    if share <= most:
        return None
    return (
        f"{plan.duplicates:,} of {plan.rows_read:,} rows ({percent(share, most)} %) have the "
        f"{plan.config.unique_key} of another row; the guard allows up to {most:g} %. Of such rows one is sent, and "
        "the others are lost. Choose a unique_key that is different in every row, and put dbt's tests unique and "
        "not_null on it."
    )


def _metadata_notes(plan: EventPlan) -> Iterator[str]:
    last = plan.history.last_sent
    gone = (
        [] if last is None else [one for one in last.metadata_columns or () if one not in plan.traits.metadata_columns]
    )
    if gone:
        yield (
            f"earlier events had the metadata {', '.join(gone)}, which the model no longer has under that name. In "
            "Statsig, metrics and filters on it find nothing in new events."
        )


def _arrived_notes(plan: EventPlan) -> Iterator[str]:
    if plan.history.first_run is None:
        return
    arrived = plan.history.first_run.arrived
    if plan.keys and (others := _others(plan.history.first_run)):
        yield f"{others} under the same event name; if these are the same events, they count twice in Statsig."
    if arrived.problem:
        yield f"Statsig could not be asked whether these events are there already: {arrived.problem}"
    days = [f"{count:,} on {day}" for day, count in sorted(arrived.days.items()) if count]
    if days:
        yield (
            f"Statsig has events named {plan.traits.name} already: {', '.join(days)} (Pacific time). If this sync has "
            "not sent them, another sender uses that name too."
        )
