with

events as (

    select ordered_at as event_time from {{ ref('statsig_events__orders') }}
    union all
    select viewed_at as event_time from {{ ref('statsig_events__page_views') }}

)

select event_time from events
where event_time >= {{ dbt.dateadd('day', 1, as_of_date()) }}
