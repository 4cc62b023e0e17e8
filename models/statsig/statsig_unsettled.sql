with

deliveries as (

    select * from {{ ledger_rows(ref('statsig_deliveries')) }}

),

batches as (

    select * from {{ ledger_rows(ref('statsig_batches')) }}

),

members as (

    select * from {{ ledger_rows(ref('statsig_members')) }}

),

last_unknown_events as (

    select
        sync_name,
        project,
        destination,
        key,
        max(sequence) as sequence
    from deliveries
    where
        operation = 'log'
        and state = 'unknown'
    group by sync_name, project, destination, key

),

settled_events as (

    select distinct
        last_unknown_events.sync_name,
        last_unknown_events.project,
        last_unknown_events.destination,
        last_unknown_events.key
    from last_unknown_events
    inner join deliveries
        on
            last_unknown_events.sync_name = deliveries.sync_name
            and last_unknown_events.project = deliveries.project
            and last_unknown_events.destination = deliveries.destination
            and last_unknown_events.key = deliveries.key
    where
        deliveries.operation = 'log'
        and deliveries.state = 'accepted'
        and deliveries.sequence > last_unknown_events.sequence

),

events as (

    select deliveries.*
    from deliveries
    inner join last_unknown_events
        on
            deliveries.sync_name = last_unknown_events.sync_name
            and deliveries.project = last_unknown_events.project
            and deliveries.destination = last_unknown_events.destination
            and deliveries.key = last_unknown_events.key
            and deliveries.sequence = last_unknown_events.sequence
    left join settled_events
        on
            deliveries.sync_name = settled_events.sync_name
            and deliveries.project = settled_events.project
            and deliveries.destination = settled_events.destination
            and deliveries.key = settled_events.key
    where
        deliveries.operation = 'log'
        and deliveries.state = 'unknown'
        and settled_events.key is null

),

last_unknown_ids as (

    select
        deliveries.project,
        deliveries.destination,
        deliveries.key,
        max(deliveries.sequence) as sequence
    from deliveries
    inner join members
        on
            deliveries.project = members.project
            and deliveries.destination = members.segment_id
            and deliveries.key = members.id
    where
        members.status = 'uncertain'
        and deliveries.state = 'unknown'
        and deliveries.operation in ('add', 'remove')
    group by deliveries.project, deliveries.destination, deliveries.key

),

ids as (

    select deliveries.*
    from deliveries
    inner join last_unknown_ids
        on
            deliveries.project = last_unknown_ids.project
            and deliveries.destination = last_unknown_ids.destination
            and deliveries.key = last_unknown_ids.key
            and deliveries.sequence = last_unknown_ids.sequence
    where
        deliveries.state = 'unknown'
        and deliveries.operation in ('add', 'remove')

),

unsettled as (

    select * from events
    union all
    select * from ids

),

final as (

    select
        unsettled.sync_name,
        unsettled.project,
        unsettled.destination,
        unsettled.operation,
        unsettled.key,
        unsettled.batch_id,
        unsettled.run_id,
        unsettled.claimed_at,
        batches.message
    from unsettled
    inner join batches on unsettled.batch_id = batches.batch_id

)

select * from final
