with

source as (

    select * from {{ ledger_rows(ref('statsig_batch_log')) }}

),

-- What is certain beats what is in doubt, and that the claim, whatever the clocks of the machines say.
ranked as (

    select
        *,
        row_number() over (
            -- What is the same for all lines of a batch stands here so that a reader of some batches reads only those.
            partition by batch_id, project, destination, operation
            order by
                case state when 'claimed' then 3 when 'unknown' then 2 else 1 end,
                logged_at desc,
                case state when 'accepted' then 1 when 'rejected' then 2 else 3 end
        ) as recency
    from source

),

latest as (

    select * from ranked
    where recency = 1

),

claims as (

    select
        batch_id,
        operation,
        min(logged_at) as claimed_at,
        max(body_bytes) as body_bytes
    from source
    group by batch_id, operation

),

final as (

    select
        latest.batch_id,
        latest.run_id,
        latest.sync_name,
        latest.project,
        latest.destination,
        latest.operation,
        case when latest.state = 'claimed' then 'unknown' else latest.state end as state,
        latest.sequence,
        latest.keys,
        claims.body_bytes,
        latest.attempts,
        latest.http_status,
        latest.elapsed_ms,
        latest.message,
        claims.claimed_at,
        case when latest.state <> 'claimed' then latest.logged_at end as settled_at
    from latest
    inner join claims
        on
            latest.batch_id = claims.batch_id
            and latest.operation = claims.operation

)

select * from final
