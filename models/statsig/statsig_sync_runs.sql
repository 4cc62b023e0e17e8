with

source as (

    select * from {{ ledger_rows(ref('statsig_run_log')) }}

),

-- A run that has ended stays ended, even where a renewal of its lease is written late.
ranked as (

    select
        *,
        case when state in ('finished', 'failed', 'aborted') then 1 else 0 end as has_ended,
        row_number() over (
            partition by run_id, sync_name
            order by
                case when state in ('finished', 'failed', 'aborted') then 1 else 2 end,
                logged_at desc,
                case when state = 'running' then 1 else 2 end
        ) as recency
    from source

),

latest as (

    select * from ranked
    where recency = 1

),

spans as (

    select
        run_id,
        sync_name,
        min(logged_at) as started_at,
        max(lease_expires_at) as lease_expires_at,
        max(object) as object,
        max(mode) as mode,
        max(project) as project,
        max(destination) as destination,
        max(holder) as holder,
        max(overrides) as overrides,
        max(model) as model,
        max(unique_key) as unique_key,
        max(event_name) as event_name,
        max(renamed_from) as renamed_from,
        max(events_from) as events_from,
        max(events_until) as events_until,
        max(notes) as notes,
        max(dbt_invocation_id) as dbt_invocation_id,
        max(sync_version) as sync_version
    from source
    group by run_id, sync_name

),

ended as (

    select
        latest.run_id,
        latest.sync_name,
        case
            when latest.has_ended = 1 then latest.state
            when spans.lease_expires_at < {{ utc_now() }} then 'aborted'
            else 'running'
        end as state,
        spans.started_at,
        case when latest.has_ended = 1 then latest.logged_at end as ended_at,
        spans.object,
        spans.mode,
        spans.project,
        spans.destination,
        latest.rows_read,
        latest.rows_rejected,
        latest.adds_planned,
        latest.removes_planned,
        latest.events_planned,
        latest.keys_accepted,
        latest.keys_rejected,
        latest.keys_unsent,
        latest.keys_unknown,
        latest.requests,
        latest.message,
        spans.holder,
        spans.overrides,
        spans.model,
        spans.unique_key,
        spans.event_name,
        spans.renamed_from,
        spans.events_from,
        spans.events_until,
        spans.notes,
        spans.dbt_invocation_id,
        spans.sync_version
    from latest
    inner join spans
        on
            latest.run_id = spans.run_id
            and latest.sync_name = spans.sync_name

),

final as (

    select
        run_id,
        sync_name,
        state,
        started_at,
        ended_at,
        cast({{ dbt.datediff('started_at', 'ended_at', 'millisecond') }} as double precision) / 1000 as duration_seconds,
        object,
        mode,
        project,
        destination,
        rows_read,
        rows_rejected,
        adds_planned,
        removes_planned,
        events_planned,
        keys_accepted,
        keys_rejected,
        keys_unsent,
        keys_unknown,
        requests,
        message,
        holder,
        overrides,
        model,
        unique_key,
        event_name,
        renamed_from,
        events_from,
        events_until,
        notes,
        dbt_invocation_id,
        sync_version
    from ended

)

select * from final
