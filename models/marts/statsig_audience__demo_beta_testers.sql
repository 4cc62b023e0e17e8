with

page_views as (

    select * from {{ ref('stg_demo_shop__page_views') }}
    where event_name = 'beta_opened'

),

final as (

    select
        device_id,
        min(viewed_at) as first_opened_at,
        count(*) as times_opened
    from page_views
    group by device_id

)

select * from final
