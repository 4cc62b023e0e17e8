with

membership as (

    select * from {{ ledger_rows(ref('statsig_membership')) }}

),

final as (

    select
        project,
        segment_id,
        id,
        status
    from membership
    where status in ('in', 'uncertain')

)

select * from final
