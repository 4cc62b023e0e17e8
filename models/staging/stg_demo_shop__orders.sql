with

source as (

    select * from {{ ref('raw_demo_shop__orders') }}
    where loaded_at < {{ dbt.dateadd('day', 1, as_of_date()) }}

),

renamed as (

    select
        order_id,
        customer_id,
        device_id,
        lower(trim(status)) as status,
        amount,
        shipping as shipping_cost,
        coupon as coupon_code,
        items,
        deliver_on,
        ordered_at,
        properties,
        loaded_at
    from source

)

select * from renamed
