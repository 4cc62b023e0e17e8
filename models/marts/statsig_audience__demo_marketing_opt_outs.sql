with

changes as (

    select * from {{ ref('stg_demo_shop__marketing_opt_outs') }}
    where channel = 'email'

),

ranked as (

    select
        customer_id,
        is_opted_out,
        changed_at,
        row_number() over (partition by customer_id order by changed_at desc, loaded_at desc) as recency
    from changes

),

final as (

    select
        customer_id,
        changed_at as opted_out_at
    from ranked
    where
        recency = 1
        and is_opted_out

)

select * from final
