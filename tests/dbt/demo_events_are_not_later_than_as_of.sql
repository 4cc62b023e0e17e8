-- No event is from after the day that the variable `as_of` names, so an earlier day shows the shop as it was.
with

events as (

    select ordered_at as event_time from {{ ref('statsig_events__demo_orders') }}
    union all
    select viewed_at as event_time from {{ ref('statsig_events__demo_page_views') }}

)

select event_time from events
where event_time >= {{ dbt.dateadd('day', 1, as_of_date()) }}
