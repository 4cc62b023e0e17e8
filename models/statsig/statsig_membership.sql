with

{{ statsig_sync.membership_ctes(ledger_rows(ref('statsig_snapshot')), 'view') }},

-- A request in doubt matters only where it is later than all that is settled, and would change something.
since as (

    select
        project,
        segment_id,
        id,
        case when coalesce(unknown_add, -1) > coalesce(unknown_remove, -1) then 'add' else 'remove' end as last_doubt,
        case
            when coalesce(added, -1) > coalesce(removed, -1) and coalesce(unknown_remove, -1) > added then 'uncertain'
            when coalesce(added, -1) > coalesce(removed, -1) then 'in'
            when coalesce(unknown_add, -1) > coalesce(removed, -1) then 'uncertain'
            -- Nothing is sure of this id: it may be in the list without the ledgers' doing.
            when removed is null and unknown_remove is not null then 'uncertain'
            when removed is not null then 'out'
        end as status
    from changed

),

final as (

    select
        project,
        segment_id,
        id,
        case when coalesce(added, -1) > coalesce(removed, -1) then 'in' else 'out' end as status,
        cast(null as {{ dbt.type_string() }}) as doubt
    from unchanged

    union all

    select
        project,
        segment_id,
        id,
        status,
        case when status = 'uncertain' then last_doubt end as doubt
    from since
    -- An id about which no request was accepted or is in doubt may be in the list or not: nothing is known of it.
    where status is not null

)

select * from final
