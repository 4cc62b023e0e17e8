{% macro forbidden_event_name_characters() %}
  {{- return(adapter.dispatch('forbidden_event_name_characters', 'statsig_sync')()) -}}
{% endmacro %}

{#- NUL is not among them: most warehouses, PostgreSQL for one, cannot hold it in text. -#}
{% macro default__forbidden_event_name_characters() -%}
  '[]{}<>#=;&$%|' || chr(92) || chr(10) || chr(13)
{%- endmacro %}

{% macro duckdb__forbidden_event_name_characters() -%}
  {{ statsig_sync.default__forbidden_event_name_characters() }} || chr(0)
{%- endmacro %}
