with

deliveries as (

    select * from {{ ledger_rows(ref('statsig_deliveries')) }}
    where operation in ('add', 'adopt', 'remove')

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
