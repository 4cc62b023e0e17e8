{% macro utc_now() %}
  {{- return(adapter.dispatch('utc_now', 'statsig_sync')()) -}}
{% endmacro %}

{% macro default__utc_now() -%}
  cast(current_timestamp at time zone 'UTC' as timestamp)
{%- endmacro %}
