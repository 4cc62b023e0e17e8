with

batch_log as (

    select * from {{ ledger_rows(ref('statsig_batch_log')) }}

),

all_deliveries as (

    select * from {{ ledger_rows(ref('statsig_deliveries')) }}
    where operation in ('add', 'adopt', 'remove')

),

-- What was known of a list before it was forgotten counts no more.
forgotten as (

    select
        project,
        destination,
        max(sequence) as sequence
    from batch_log
    where
        operation = 'forget'
        and state = 'accepted'
    group by project, destination

),

deliveries as (

    select all_deliveries.*
    from all_deliveries
    left join forgotten
        on
            all_deliveries.project = forgotten.project
            and all_deliveries.destination = forgotten.destination
    where
        forgotten.sequence is null
        or all_deliveries.sequence > forgotten.sequence

),

-- No window functions: a changelog of ten million rows must fold in seconds.
last_requests as (

    select
        project,
        destination,
        key,
        coalesce(
            max(case when state = 'accepted' and operation in ('add', 'adopt') then sequence end), -1
        ) as accepted_add,
        coalesce(max(case when state = 'accepted' and operation = 'remove' then sequence end), -1) as accepted_remove,
        coalesce(max(case when state = 'unknown' and operation = 'add' then sequence end), -1) as unknown_add,
        coalesce(max(case when state = 'unknown' and operation = 'remove' then sequence end), -1) as unknown_remove
    from deliveries
    group by project, destination, key

),

-- A request in doubt matters only where it is later than all that is settled, and would change something.
folded as (

    select
        project,
        destination,
        key,
        case when unknown_add > unknown_remove then 'add' else 'remove' end as last_doubt,
        case
            when accepted_add > accepted_remove and unknown_remove > accepted_add then 'uncertain'
            when accepted_add > accepted_remove then 'in'
            when unknown_add > accepted_remove then 'uncertain'
            -- Nothing is sure of this id: it may be in the list without the ledgers' doing.
            when accepted_remove = -1 and unknown_remove > -1 then 'uncertain'
            else 'out'
        end as status
    from last_requests
    -- An id about which no request was accepted or is in doubt may be in the list or not: nothing is known of it.
    where
        accepted_add > -1
        or accepted_remove > -1
        or unknown_add > -1
        or unknown_remove > -1

),

final as (

    select
        project,
        destination as segment_id,
        key as id,
        status,
        case when status = 'uncertain' then last_doubt end as doubt
    from folded

)

select * from final
