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
        max(failures) as failures,
        max(left_out_rows) as left_out_rows,
        max(tests) as tests
    from build_log
    group by project_name, profile_name, target_name, unique_id, invocation_id

),

ranked as (

    select
        *,
        row_number() over (
            partition by project_name, profile_name, target_name, unique_id
            order by last_seen_at desc, invocation_id desc
        ) as recency
    from runs

),

final as (

    select
        project_name,
        profile_name,
        target_name,
        unique_id,
        resource_type,
        name,
        invocation_id,
        command,
        status,
        relation_name,
        started_at,
        completed_at,
        failures,
        left_out_rows,
        tests
    from ranked
    where recency = 1

)

select * from final
