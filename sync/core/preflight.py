"""What must hold before a segment is written, and what to do where it does not.

Source: Statsig's Console API reference, "Segments": only ID lists can be changed id by id.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sync.core.delivery import Outcome, State
from sync.spec.model import SegmentConfig

_OTHER_TYPES = {
    "rule_based": "a rule-based segment, whose members follow from its rules",
    "analysis_list": "an analysis list",
    "user_store_id_list": "a user store's ID list",
}


def segment_problem(config: SegmentConfig, found_type: str, found_id_type: str) -> str | None:
    """Why this segment cannot be written by this sync; None where it can."""
    if found_type != "id_list":
        kind = _OTHER_TYPES.get(found_type, f"of type {found_type!r}")
        return (
            f"segment '{config.segment_id}' is {kind}; only an ID list can be synced. Make an ID list segment in the "
            "Statsig console and write its id as segment_id."
        )
    if found_id_type.lower() != config.statsig_id_type.lower():
        return (
            f"segment '{config.segment_id}' holds ids of type {found_id_type}, but the sync sends "
            f"{config.statsig_id_type}. {_id_type_advice(found_id_type)}"
        )
    return None


def _id_type_advice(found: str) -> str:
    match found.lower():
        case "userid":
            return "Write id_type: user_id, or name a segment with the other id type."
        case "stableid":
            return "Write id_type: stable_id, or name a segment with the other id type."
        case _:
            return f"Write id_type: custom_id and custom_id: {found}, or name a segment with the other id type."


def missing_problem(config: SegmentConfig) -> str:
    """What to do about a segment that is not there, and that the sync must not make."""
    return (
        f"segment '{config.segment_id}' is not in this Statsig project. Check segment_id (the last part of "
        "the segment's address in the console), or set create_if_missing: true."
    )


def key_refused(status: int) -> str:
    """What to do about a Console API Key that Statsig refuses."""
    return (
        f"Statsig does not accept the key (HTTP {status}). Make a Console API Key with write access in the Statsig "
        "console: Project Settings > Keys & Environments."
    )


def disabled(config: SegmentConfig) -> str:
    """What to know of a segment that is switched off ("isEnabled" in the Console API reference)."""
    return (
        f"segment '{config.segment_id}' is disabled in Statsig, so nobody is matched by it, whoever is in the list. "
        "Enable it in the console."
    )


def archived(config: SegmentConfig) -> str:
    """What to do about a segment that someone has archived."""
    return (
        f"segment '{config.segment_id}' is archived in Statsig. Unarchive it in the console, name another segment as "
        "segment_id, or take the exposure out."
    )


def vanished(config: SegmentConfig, members: int) -> str:
    """What to do about a segment that the ledgers know and Statsig does not."""
    gone = f"segment '{config.segment_id}' is gone from Statsig, but the ledgers know {members:,} members."
    if config.create_if_missing:
        return f"{gone} {_MADE_AGAIN[config.mode]}"
    is_filled_by_others = config.mode == "remove"
    fill = "whoever fills it does it again" if is_filled_by_others else "fill it with: statsig-sync verify --repair"
    return f"{gone} Make it again in the console, as an ID list of {config.statsig_id_type}; {fill}."


_MADE_AGAIN = {
    "mirror": "run makes it again, and fills it with the audience.",
    "add": "run makes it again, and fills it with these and the audience.",
    "remove": "run makes it again, without members; whoever fills it does it again.",
}


def emptied(config: SegmentConfig, sync_name: str, members: int) -> str:
    """What to do about a list that is empty in Statsig, and has members as far as the ledgers know."""
    return (
        f"segment '{config.segment_id}' has 0 ids in Statsig, and the ledgers know {members:,}. A run sends only what "
        f"changes; compare with: statsig-sync verify {sync_name} --repair"
    )


def unknown(config: SegmentConfig, count: int) -> str:
    """What to do about a segment that has members and that the ledgers do not know."""
    return (
        f"segment '{config.segment_id}' has {count:,} ids, and the ledgers know nothing of it yet, so there is nothing "
        "to compare it with. Run statsig-sync run first: it adopts the list."
    )


def unlabelled(config: SegmentConfig, refusal: Outcome) -> str:
    """What to say of a segment that was made without what its exposure says."""
    return (
        f"warning: segment '{config.segment_id}' was made without the exposure's description, tags and owner, because "
        f"Statsig refused them.{_said(refusal)} Set them in the console, or change them in the exposure for the next "
        "segment."
    )


def _said(outcome: Outcome) -> str:
    return f" Statsig said: {outcome.message.rstrip('.')}." if outcome.message else ""


RUN_AGAIN = "; run again to go on."


def explain(outcome: Outcome, key_variable: str, url: str) -> str:
    """An outcome that is not a success, in plain words with what to do next."""
    said = f" Statsig said: {outcome.message.rstrip('.')}." if outcome.message and outcome.http_status else ""
    if outcome.http_status is None:
        what = outcome.message or "no answer"
        return f"{what} ({urlsplit(url).netloc}) after {outcome.attempts} attempt(s){RUN_AGAIN}"
    if outcome.http_status in (401, 403):
        return (
            f"Statsig does not accept the key in {key_variable} (HTTP {outcome.http_status}); compare it with those in "
            f"the Statsig console, Project Settings > Keys & Environments.{said}"
        )
    if outcome.http_status == 429:
        return f"the rate limit held after {outcome.attempts} attempt(s); run again to go on from here.{said}"
    if outcome.state is State.UNKNOWN:
        return (
            f"HTTP {outcome.http_status} after {outcome.attempts} attempt(s): whether it was applied is not known; "
            f"see statsig_unsettled.{said}"
        )
    return f"HTTP {outcome.http_status} after {outcome.attempts} attempt(s).{said}"


def explain_refusals(outcome: Outcome, refusals: int) -> str:
    """Why a sync gives up where Statsig refuses row after row."""
    said = f" Statsig said: {outcome.message.rstrip('.')}." if outcome.message else ""
    return (
        f"Statsig refused {refusals:,} rows one after the other and took none between them (HTTP "
        f"{outcome.http_status}), so the fault may not be in the rows: they are not held back, and the next run sends "
        f"them again. If it is in them, mend them in the model.{said}"
    )
