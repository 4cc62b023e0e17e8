{#- The characters that Unicode calls white space; `trim` takes off blanks only, and not the same ones everywhere. -#}
{% macro whitespace_characters() -%}
  {%- set code_points = [9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 133, 160, 5760] + range(8192, 8203) | list
    + [8232, 8233, 8239, 8287, 12288] -%}
  {%- for code_point in code_points -%}
    chr({{ code_point }}){{ ' || ' if not loop.last }}
  {%- endfor -%}
{%- endmacro %}


{% macro is_blank(expression) -%}
  coalesce(translate(cast({{ expression }} as {{ dbt.type_string() }}), {{ statsig_sync.whitespace_characters() }}, ''), '') = ''
{%- endmacro %}
