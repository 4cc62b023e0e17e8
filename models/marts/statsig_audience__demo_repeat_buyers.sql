with

orders as (

    select * from {{ ref('stg_demo_shop__orders') }}
    where
        status = 'completed'
        and ordered_at >= {{ dbt.dateadd('day', -29, as_of_date()) }}

),

final as (

    select
        customer_id,
        count(distinct order_id) as orders_last_30_days,
        max(ordered_at) as last_ordered_at
    from orders
    group by customer_id
    having count(distinct order_id) >= 2

)

select * from final
