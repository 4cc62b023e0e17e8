{% test json_object(model, column_name) %}

select {{ column_name }}
from {{ model }}
where
    {{ column_name }} is not null
    and not ({{ statsig_sync.is_json_object(column_name) }})

{% endtest %}
