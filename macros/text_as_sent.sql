{#- A column's value as the text that is sent to Statsig. -#}
{% macro text_as_sent(column_name) %}
  {{- return(adapter.dispatch('text_as_sent', 'statsig_sync')(column_name)) -}}
{% endmacro %}

{% macro default__text_as_sent(column_name) -%}
  cast({{ column_name }} as {{ dbt.type_string() }})
{%- endmacro %}

{#-
  By the type, which a test may not know when it is compiled. Of binary data, DuckDB has a text form that it reads back;
  hex() itself does not take columns of every type.
-#}
{% macro duckdb__text_as_sent(column_name) -%}
  case
    when typeof({{ column_name }}) = 'BLOB'
      then lower(hex(try_cast(cast({{ column_name }} as varchar) as blob)))
    when regexp_matches(typeof({{ column_name }}), '^(STRUCT|MAP|UNION|VARIANT)|\]$')
      then cast(to_json({{ column_name }}) as varchar)
    else cast({{ column_name }} as varchar)
  end
{%- endmacro %}
