with

page_views as (

    select * from {{ ref('stg_demo_shop__page_views') }}

),

final as (

    select
        view_id,
        event_name,
        user_id,
        device_id,
        page_path,
        viewed_at,
        properties,
        loaded_at
    from page_views

)

select * from final
