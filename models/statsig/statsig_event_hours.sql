with

changelog as (

    select * from {{ ledger_rows(ref('statsig_changelog')) }}

),

batches as (

    select * from {{ ledger_rows(ref('statsig_batches')) }}

),

-- An event without a time has the time at which Statsig received it: between the claim and the outcome.
accepted as (

    select
        batches.sync_name,
        batches.project,
        changelog.event_name,
        changelog.key,
        {{ dbt.date_trunc('hour', 'coalesce(changelog.event_time, batches.claimed_at)') }} as first_hour,
        {{ dbt.date_trunc('hour', 'coalesce(changelog.event_time, batches.settled_at)') }} as hour,
        batches.settled_at
    from changelog
    inner join batches on changelog.batch_id = batches.batch_id
    where
        batches.operation = 'log'
        and batches.state = 'accepted'
        and changelog.event_name is not null

),

final as (

    select
        sync_name,
        project,
        event_name,
        first_hour,
        hour,
        count(distinct key) as events,
        max(settled_at) as last_settled_at
    from accepted
    group by sync_name, project, event_name, first_hour, hour

)

select * from final
