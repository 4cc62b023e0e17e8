with

source as (

    select * from {{ ref('raw_demo_shop__page_views') }}
    where loaded_at < {{ dbt.dateadd('day', 1, as_of_date()) }}

),

renamed as (

    select
        view_id,
        user_id,
        device_id,
        event as event_name,
        viewed_at,
        url as page_path,
        properties,
        loaded_at
    from source

)

select * from renamed
