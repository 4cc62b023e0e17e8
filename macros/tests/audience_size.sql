{% test audience_size(model, column_name, max_ids=none, min_ids=none) %}

{%- if execute and max_ids is none and min_ids is none -%}
  {%- do exceptions.raise_compiler_error("The test audience_size needs max_ids, min_ids or both.") -%}
{%- endif %}

with

audience as (

    select count(distinct {{ column_name }}) as ids
    from {{ model }}

)

select ids from audience
where
    1 = 0
    {% if max_ids is not none %}or ids > {{ max_ids }}{% endif %}
    {% if min_ids is not none %}or ids < {{ min_ids }}{% endif %}

{% endtest %}
