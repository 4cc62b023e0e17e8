with

source as (

    select * from {{ ref('raw_demo_shop__marketing_opt_outs') }}
    where loaded_at < {{ dbt.dateadd('day', 1, as_of_date()) }}

),

renamed as (

    select
        customer_id,
        channel,
        is_opted_out,
        changed_at,
        loaded_at
    from source

)

select * from renamed
