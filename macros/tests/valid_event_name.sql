{% test valid_event_name(model, column_name) %}

with

names as (

    select
        {{ column_name }} as event_name,
        translate({{ column_name }}, {{ statsig_sync.forbidden_event_name_characters() }}, '') as allowed_part
    from {{ model }}

)

select event_name from names
where
    {{ statsig_sync.is_blank('event_name') }}
    or length(event_name) >= 128
    or length(allowed_part) < length(event_name)

{% endtest %}
