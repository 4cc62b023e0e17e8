with

changelog as (

    select * from {{ ledger_rows(ref('statsig_changelog')) }}

),

batches as (

    select * from {{ ledger_rows(ref('statsig_batches')) }}

),

final as (

    select
        batches.sync_name,
        batches.project,
        batches.destination,
        batches.operation,
        changelog.key,
        changelog.row_hash,
        changelog.event_name,
        changelog.event_time,
        batches.state,
        batches.batch_id,
        batches.run_id,
        batches.sequence,
        batches.claimed_at,
        batches.settled_at
    from changelog
    inner join batches on changelog.batch_id = batches.batch_id

)

select * from final
