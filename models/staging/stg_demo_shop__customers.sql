with

source as (

    select * from {{ ref('raw_demo_shop__customers') }}
    where loaded_at < {{ dbt.dateadd('day', 1, as_of_date()) }}

),

renamed as (

    select
        customer_id,
        nullif(lower(trim(email)), '') as email,
        case upper(trim(country))
            when 'UK' then 'GB'
            when 'GERMANY' then 'DE'
            else upper(trim(country))
        end as country,
        plan as plan_name,
        created_at,
        row_number() over (partition by customer_id order by loaded_at desc, created_at desc) as recency
    from source
    where customer_id is not null

),

final as (

    select
        customer_id,
        email,
        country,
        plan_name,
        created_at
    from renamed
    where recency = 1

)

select * from final
