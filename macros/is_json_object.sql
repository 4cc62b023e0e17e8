{% macro is_json_object(expression) %}
  {{- return(adapter.dispatch('is_json_object', 'statsig_sync')(expression)) -}}
{% endmacro %}

{% macro default__is_json_object(expression) -%}
  cast({{ expression }} as {{ dbt.type_string() }}) is json object with unique keys
{%- endmacro %}

{#-
  DuckDB reads NaN, Infinity and a comma before a closing bracket as JSON. So they are looked for in what is left of
  the text without its strings, where no other letters than those of true, false, null and exponents can stand. It reads
  numbers that are too large for anything, too, such as 1e400.
-#}
{% macro duckdb__is_json_object(expression) -%}
  {%- set rest -%}
    regexp_replace(cast(try_cast({{ expression }} as json) as varchar), '"(\\.|[^"\\])*"', '""', 'g')
  {%- endset -%}
  coalesce(
    json_type(try_cast({{ expression }} as json)) = 'OBJECT'
    and len(json_keys(try_cast({{ expression }} as json)))
        = len(list_distinct(json_keys(try_cast({{ expression }} as json))))
    and not regexp_matches({{ rest }}, '(?i)nan|inf|,\s*[}\]]')
    and not list_contains(
      [isfinite(try_cast(number as double)) for number in regexp_extract_all({{ rest }}, '\d[0-9.eE+-]*')], false
    ),
    false
  )
{%- endmacro %}
