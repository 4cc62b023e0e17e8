{#- The snapshot as the last build left it: what there is to go on from, or no row where there is none. -#}
{% macro snapshot_before() %}
  {%- if statsig_sync.has_snapshot() -%}
    {{- return(this.render()) -}}
  {%- endif -%}
  {%- set columns = [] -%}
  {%- for column in ('project', 'segment_id', 'id', 'added', 'removed', 'reach', 'batches', 'accepted_batches', 'last_batch_id') -%}
    {%- set is_text = column in ('project', 'segment_id', 'id', 'last_batch_id') -%}
    {%- do columns.append('cast(null as ' ~ (dbt.type_string() if is_text else dbt.type_bigint()) ~ ') as ' ~ column) -%}
  {%- endfor -%}
  {{- return('(select ' ~ columns | join(', ') ~ ' where 1 = 0)') -}}
{% endmacro %}


{#- Whether there is a snapshot of this version to go on from. -#}
{% macro has_snapshot() %}
  {%- if not execute or should_full_refresh() -%}
    {{- return(false) -}}
  {%- endif -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- if existing is none or not existing.is_table -%}
    {{- return(false) -}}
  {%- endif -%}
  {{- return(statsig_sync.has_columns_of_model(existing)) -}}
{% endmacro %}


{#- The members of all lists, from the snapshot and the lines of the ledgers since.

    The numbers of the batches say what came later. An id is as its last accepted request left it, so to read a line
    that is in the snapshot already changes nothing: `lines` may be more than those since, and never fewer. A request in
    doubt is never in the snapshot. The snapshot of a list holds only while the ledgers have the very batches that it was
    made of: after `prune`, or where a batch has come late, all lines of the list are read until the next build.

    `lines` has a row for each line since, `changed` one for each id in them, with what the snapshot knows of it. -#}
{% macro membership_ctes(snapshot, materialized) %}
batches as (

    select
        batch_id,
        project,
        destination as segment_id,
        operation,
        state,
        sequence,
        claimed_at
    from {{ statsig_sync.ledger_rows(ref('statsig_batches'), materialized) }}
    where operation in ('add', 'adopt', 'remove', 'forget')

),

-- What was known of a list before it was forgotten counts no more.
forgotten as (

    select
        project,
        segment_id,
        max(sequence) as sequence
    from batches
    where
        operation = 'forget'
        and state = 'accepted'
    group by project, segment_id

),

reaches as (

    select
        project,
        segment_id,
        max(reach) as reach,
        max(batches) as batches,
        max(accepted_batches) as accepted_batches,
        max(last_batch_id) as last_batch_id
    from {{ snapshot }} as snapshot
    group by project, segment_id

),

valid as (

    select
        reaches.project,
        reaches.segment_id,
        reaches.reach
    from reaches
    inner join batches
        on
            reaches.project = batches.project
            and reaches.segment_id = batches.segment_id
            and reaches.reach >= batches.sequence
    left join forgotten
        on
            reaches.project = forgotten.project
            and reaches.segment_id = forgotten.segment_id
            and reaches.reach < forgotten.sequence
    where forgotten.sequence is null
    group by
        reaches.project,
        reaches.segment_id,
        reaches.reach,
        reaches.batches,
        reaches.accepted_batches,
        reaches.last_batch_id
    having
        count(*) = reaches.batches
        and count(case when batches.state = 'accepted' then 1 end) = reaches.accepted_batches
        and max(batches.batch_id) = reaches.last_batch_id

),

batches_since as (

    select
        batches.batch_id,
        batches.project,
        batches.segment_id,
        batches.operation,
        batches.state,
        batches.sequence,
        batches.claimed_at
    from batches
    left join valid
        on
            batches.project = valid.project
            and batches.segment_id = valid.segment_id
    left join forgotten
        on
            batches.project = forgotten.project
            and batches.segment_id = forgotten.segment_id
    where
        batches.operation <> 'forget'
        and batches.state in ('accepted', 'unknown')
        and batches.sequence > coalesce(valid.reach, -1)
        and batches.sequence > coalesce(forgotten.sequence, -1)

),

lines as (

    select
        batches_since.project,
        batches_since.segment_id,
        changelog.key as id,
        batches_since.operation,
        batches_since.state,
        batches_since.sequence
    from {{ statsig_sync.ledger_rows(ref('statsig_changelog'), materialized) }} as changelog
    inner join batches_since on changelog.batch_id = batches_since.batch_id
    -- A line is written with its batch's claim or after it, and the changelog lies in the order of time: what is older
    -- is not read at all.
    where changelog.logged_at >= (select min(batches_since.claimed_at) from batches_since)

),

-- No window functions: a changelog of ten million rows must fold in seconds.
last_lines as (

    select
        project,
        segment_id,
        id,
        max(case when state = 'accepted' and operation <> 'remove' then sequence end) as added,
        max(case when state = 'accepted' and operation = 'remove' then sequence end) as removed,
        max(case when state = 'unknown' and operation = 'add' then sequence end) as unknown_add,
        max(case when state = 'unknown' and operation = 'remove' then sequence end) as unknown_remove
    from lines
    group by project, segment_id, id

),

changed as (

    select
        last_lines.project,
        last_lines.segment_id,
        last_lines.id,
        case
            when last_lines.added > coalesce(held.added, -1) then last_lines.added
            else held.added
        end as added,
        case
            when last_lines.removed > coalesce(held.removed, -1) then last_lines.removed
            else held.removed
        end as removed,
        last_lines.unknown_add,
        last_lines.unknown_remove
    from last_lines
    left join (
        select snapshot.*
        from {{ snapshot }} as snapshot
        inner join valid
            on
                snapshot.project = valid.project
                and snapshot.segment_id = valid.segment_id
    ) as held
        on
            last_lines.project = held.project
            and last_lines.segment_id = held.segment_id
            and last_lines.id = held.id

),

unchanged as (

    select
        snapshot.project,
        snapshot.segment_id,
        snapshot.id,
        snapshot.added,
        snapshot.removed
    from {{ snapshot }} as snapshot
    inner join valid
        on
            snapshot.project = valid.project
            and snapshot.segment_id = valid.segment_id
    left join last_lines
        on
            snapshot.project = last_lines.project
            and snapshot.segment_id = last_lines.segment_id
            and snapshot.id = last_lines.id
    where last_lines.id is null

)
{%- endmacro %}
