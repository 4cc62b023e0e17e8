{% test usable_id(model, column_name) %}

with

ids as (

    select cast({{ column_name }} as {{ dbt.type_string() }}) as id
    from {{ model }}

)

-- The first and the last character are enough to find blanks around an id, and cheaper than trimming it.
select id from ids
where
    {{ statsig_sync.is_blank('left(id, 1)') }}
    or {{ statsig_sync.is_blank('right(id, 1)') }}

{% endtest %}
