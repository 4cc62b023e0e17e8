{% test has_identifier(model, columns) %}

select *
from {{ model }}
where
    {% for column in columns -%}
    {{ 'and ' if not loop.first }}{{ statsig_sync.is_blank(column) }}
    {% endfor %}

{% endtest %}
