{% test total_audience_size(model, audiences, max_ids=10000000) %}

with

audiences as (

    {% for audience in audiences -%}
    select count(distinct {{ audience['column'] }}) as ids
    from {{ audience['relation'] }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

total as (

    select sum(ids) as ids
    from audiences

)

select ids from total
where ids > {{ max_ids }}

{% endtest %}
