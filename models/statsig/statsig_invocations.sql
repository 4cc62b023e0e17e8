with

build_log as (

    select * from {{ ledger_rows(ref('statsig_build_log')) }}
    where record = 'invocation'

),

ranked as (

    select
        *,
        row_number() over (
            partition by project_name, profile_name, target_name, target_database, target_schema
            order by logged_at desc, invocation_id desc
        ) as recency
    from build_log

),

final as (

    select
        project_name,
        profile_name,
        target_name,
        target_database,
        target_schema,
        invocation_id,
        command,
        dbt_version,
        package_version,
        logged_at,
        syncs,
        graph,
        ledgers,
        lineage_hash,
        known_syncs
    from ranked
    where recency = 1

)

select * from final
