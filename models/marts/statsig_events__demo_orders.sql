with

orders as (

    select * from {{ ref('stg_demo_shop__orders') }}
    where status = 'completed'

),

customers as (

    select * from {{ ref('stg_demo_shop__customers') }}

),

first_orders as (

    select
        customer_id,
        min(ordered_at) as first_ordered_at
    from orders
    where customer_id is not null
    group by customer_id

),

final as (

    select
        orders.order_id,
        orders.customer_id,
        orders.device_id,
        customers.email,
        customers.country,
        orders.amount,
        orders.shipping_cost,
        orders.coupon_code,
        string_to_array(orders.items, '|') as skus,
        orders.deliver_on,
        orders.ordered_at = first_orders.first_ordered_at as is_first_order,
        orders.ordered_at,
        orders.properties,
        orders.loaded_at
    from orders
    left join customers on orders.customer_id = customers.customer_id
    left join first_orders on orders.customer_id = first_orders.customer_id

)

select * from final
