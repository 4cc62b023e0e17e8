with

-- A test that ran on fewer rows than there are has proved nothing, so the one before it stands.
build_log as (

    select * from {{ ledger_rows(ref('statsig_build_log')) }}
    where
        record = 'node'
        and not (resource_type in ('test', 'unit_test') and left_out_rows is not null)

),

runs as (

    select
        project_name,
        profile_name,
        target_name,
        target_database,
        target_schema,
        unique_id,
        invocation_id,
        max(resource_type) as resource_type,
        max(name) as name,
        max(command) as command,
        coalesce(max(case when status <> 'started' then status end), 'started') as status,
        max(relation_name) as relation_name,
        coalesce(max(started_at), min(logged_at)) as started_at,
        max(completed_at) as completed_at,
        -- Of commands that overlap, the one that was through with the node last has left it as it is.
        max(coalesce(completed_at, logged_at)) as last_seen_at,
        max(logged_at) as logged_at,
        max(failures) as failures,
        max(left_out_rows) as left_out_rows,
        max(case when made_anew then 1 else 0 end) as made_anew,
        max(parents) as parents,
        max(tests) as tests
    from build_log
    group by
        project_name,
        profile_name,
        target_name,
        target_database,
        target_schema,
        unique_id,
        invocation_id

),

ranked as (

    select
        *,
        max(case when made_anew = 1 and status = 'success' then last_seen_at end) over (
            partition by project_name, profile_name, target_name, target_database, target_schema, unique_id
        ) as made_anew_at,
        row_number() over (
            partition by project_name, profile_name, target_name, target_database, target_schema, unique_id
            order by last_seen_at desc, invocation_id desc
        ) as recency
    from runs

),

-- What was left out stays left out, also where a later run has added rows, until a run makes the relation anew.
marked as (

    select
        *,
        max(case when status <> 'skipped' and last_seen_at >= coalesce(made_anew_at, last_seen_at) then left_out_rows end) over (
            partition by project_name, profile_name, target_name, target_database, target_schema, unique_id
        ) as rows_still_left_out
    from ranked

),

writers as (

    select
        relation_name,
        project_name,
        profile_name,
        target_name,
        target_database,
        target_schema,
        row_number() over (partition by relation_name order by last_seen_at desc, invocation_id desc) as recency
    from runs
    where relation_name is not null and status <> 'skipped'

),

final as (

    select
        marked.project_name,
        marked.profile_name,
        marked.target_name,
        marked.target_database,
        marked.target_schema,
        marked.unique_id,
        marked.resource_type,
        marked.name,
        marked.invocation_id,
        marked.command,
        marked.status,
        marked.relation_name,
        marked.started_at,
        marked.completed_at,
        marked.logged_at,
        marked.failures,
        marked.rows_still_left_out as left_out_rows,
        marked.parents,
        case
            when
                writers.project_name <> marked.project_name
                or writers.profile_name <> marked.profile_name
                or writers.target_name <> marked.target_name
                or writers.target_database <> marked.target_database
                or writers.target_schema <> marked.target_schema
                then
                    'project ' || writers.project_name || ', profile ' || writers.profile_name || ', target '
                    || writers.target_name || ', schema ' || writers.target_schema
        end as overwritten_by,
        marked.tests
    from marked
    left join writers on marked.relation_name = writers.relation_name and writers.recency = 1
    where marked.recency = 1

)

select * from final
