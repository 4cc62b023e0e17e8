{% test within_statsig_limits(model, column_name, kind) %}

{%- set limits = {"event_name": 64, "event_value": 64, "metadata_value": 64, "id": 64, "json": 4096} -%}
{%- if execute and kind not in limits -%}
  {%- do exceptions.raise_compiler_error(
    "The test within_statsig_limits needs kind: " ~ (limits | list)[:-1] | join(", ") ~ " or json; it is " ~ kind ~ "."
  ) -%}
{%- endif %}

with

texts as (

    select {{ statsig_sync.text_as_sent(column_name) }} as text_form
    from {{ model }}

)

select text_form from texts
where length(text_form) > {{ limits.get(kind, 0) }}

{% endtest %}
