{{ config(materialized='fold') }}

with

{{ statsig_sync.membership_ctes(statsig_sync.snapshot_before(), 'fold') }},

-- A request in doubt that is later than all that is known of one of its ids has to stay among the lines since: what
-- becomes of it may be written late.
open_doubts as (

    select
        lines.project,
        lines.segment_id,
        min(lines.sequence) as sequence
    from lines
    inner join changed
        on
            lines.project = changed.project
            and lines.segment_id = changed.segment_id
            and lines.id = changed.id
    where
        lines.state = 'unknown'
        and lines.sequence > coalesce(changed.added, -1)
        and lines.sequence > coalesce(changed.removed, -1)
    group by lines.project, lines.segment_id

),

reached as (

    select
        batches.project,
        batches.segment_id,
        coalesce(min(open_doubts.sequence) - 1, max(batches.sequence)) as reach
    from batches
    left join open_doubts
        on
            batches.project = open_doubts.project
            and batches.segment_id = open_doubts.segment_id
    group by batches.project, batches.segment_id

),

made_of as (

    select
        reached.project,
        reached.segment_id,
        reached.reach,
        count(batches.batch_id) as batches,
        count(case when batches.state = 'accepted' then 1 end) as accepted_batches,
        max(batches.batch_id) as last_batch_id
    from reached
    left join batches
        on
            reached.project = batches.project
            and reached.segment_id = batches.segment_id
            and reached.reach >= batches.sequence
    group by reached.project, reached.segment_id, reached.reach

),

known as (

    select
        project,
        segment_id,
        id,
        added,
        removed
    from unchanged

    union all

    select
        project,
        segment_id,
        id,
        added,
        removed
    from changed
    where
        added is not null
        or removed is not null

),

final as (

    select
        known.project,
        known.segment_id,
        known.id,
        known.added,
        known.removed,
        made_of.reach,
        made_of.batches,
        made_of.accepted_batches,
        made_of.last_batch_id
    from known
    inner join made_of
        on
            known.project = made_of.project
            and known.segment_id = made_of.segment_id

)

select * from final
