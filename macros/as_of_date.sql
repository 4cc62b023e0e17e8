{% macro as_of_date() %}cast('{{ var("as_of") }}' as date){% endmacro %}
