{#- A table that is made anew from itself at each build, and that views read. dbt's own `table` puts another table in its
    place; where a view belongs to the table and not to its name, as in PostgreSQL, that would take the views along. -#}
{% materialization fold, default %}
  {%- set target_relation = this.incorporate(type='table') -%}
  {%- set existing_relation = load_cached_relation(this) -%}
  {%- set folded_relation = make_intermediate_relation(target_relation) -%}
  {%- set grant_config = config.get('grants') -%}

  {#- What a build has left that died half-way. -#}
  {% do drop_relation_if_exists(load_cached_relation(folded_relation)) %}
  {% do drop_relation_if_exists(load_cached_relation(make_backup_relation(target_relation, 'table'))) %}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}

  -- `BEGIN` happens here:
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {% call statement('main') -%}
    {{ get_create_table_as_sql(False, folded_relation, sql) }}
  {%- endcall %}

  {% set left_over = statsig_sync.put_in_place(folded_relation, existing_relation, target_relation) %}

  {{ run_hooks(post_hooks, inside_transaction=True) }}

  {% set should_revoke = should_revoke(existing_relation, full_refresh_mode=True) %}
  {% do apply_grants(target_relation, grant_config, should_revoke=should_revoke) %}

  {% do persist_docs(target_relation, model) %}

  -- `COMMIT` happens here
  {{ adapter.commit() }}

  {% do drop_relation_if_exists(left_over) %}

  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#- Makes a table the target, in the transaction that made it; returns the relation that is left over, or none. -#}
{% macro put_in_place(folded, existing, target) %}
  {{- return(adapter.dispatch('put_in_place', 'statsig_sync')(folded, existing, target)) -}}
{% endmacro %}

{% macro default__put_in_place(folded, existing, target) %}
  {%- set left_over = none -%}
  {%- if existing is not none -%}
    {%- set left_over = make_backup_relation(target, existing.type) -%}
    {%- do adapter.rename_relation(existing, left_over) -%}
  {%- endif -%}
  {%- do adapter.rename_relation(folded, target) -%}
  {{- return(left_over) -}}
{% endmacro %}

{#- Who reads meanwhile waits, or finds the table empty, which is slow and not wrong: all is read from the ledgers then. -#}
{% macro postgres__put_in_place(folded, existing, target) %}
  {%- if existing is none or not existing.is_table or not statsig_sync.has_columns_of_model(existing) -%}
    {{- return(statsig_sync.default__put_in_place(folded, existing, target)) -}}
  {%- endif -%}
  {%- set columns = [] -%}
  {%- for column in model.columns.values() -%}
    {%- do columns.append(adapter.quote(column['name']) if column.get('quote') else column['name']) -%}
  {%- endfor -%}
  {%- call statement('empty') -%}
    truncate table {{ target.render() }}
  {%- endcall -%}
  {%- call statement('fill') -%}
    insert into {{ target.render() }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ folded.render() }}
  {%- endcall -%}
  {{- return(folded) -}}
{% endmacro %}


{% macro has_columns_of_model(relation) %}
  {%- set found = adapter.get_columns_in_relation(relation) | map(attribute='name') | map('lower') | list | sort -%}
  {{- return(found == model.columns.keys() | map('lower') | list | sort) -}}
{% endmacro %}
