{% macro ledger_columns() %}
  {#- Columns come from YAML, which dbt has read only once execution begins. -#}
  {%- if execute -%}
    {%- do statsig_sync.check_materialized('ledger') -%}
    {{ get_empty_subquery_sql(get_empty_schema_sql(model.columns)) }}
  {%- endif -%}
{% endmacro %}


{% macro ledger_rows(relation, materialized='view') %}
  {%- if execute -%}
    {%- do statsig_sync.check_materialized(materialized) -%}
  {%- endif -%}
  {#- Rendered without what `--empty` puts around a relation: the view would stay empty after that build. -#}
  {{- relation.render() -}}
{% endmacro %}


{#- A project's `models: +materialized:` without a project's name beats what the models of a package say. As a table
    made anew at each build, a ledger forgets what was sent, and a view of the ledgers is old by the next run. -#}
{% macro check_materialized(expected) %}
  {%- if model.resource_type == 'model' and model.config.materialized != expected -%}
    {%- do exceptions.raise_compiler_error(
      model.name ~ " has to be materialized as a " ~ expected ~ ", but dbt_project.yml makes it a "
      ~ model.config.materialized ~ ". Write +materialized below your project's own name in dbt_project.yml, so that "
      ~ "it does not count for the models of statsig_sync."
    ) -%}
  {%- endif -%}
{% endmacro %}


{% materialization ledger, default %}
  {%- set target_relation = this.incorporate(type='table') -%}
  {%- set existing_relation = load_cached_relation(this) -%}
  {%- set grant_config = config.get('grants') -%}

  {%- do statsig_sync.check_ledger_model(sql) -%}
  {%- set missing_columns = [] -%}
  {%- if existing_relation is not none -%}
    {%- do statsig_sync.check_ledger_relation(existing_relation) -%}
    {%- set missing_columns = statsig_sync.missing_ledger_columns(existing_relation) -%}
    {%- if should_full_refresh() -%}
      {%- do statsig_sync.log_kept_rows(existing_relation) -%}
    {%- endif -%}
  {%- endif -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}

  -- `BEGIN` happens here:
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {% for column in missing_columns %}
    {% call statement('add_column_' ~ loop.index) -%}
      {{ statsig_sync.add_ledger_column_sql(target_relation, column) }}
    {%- endcall %}
    {% do statsig_sync.log_added_column(target_relation, column) %}
  {% endfor %}

  {% call statement('main') -%}
    {{ statsig_sync.create_ledger_sql(target_relation) }}
  {%- endcall %}

  {% if existing_relation is none %}
    {% do create_indexes(target_relation) %}
  {% endif %}

  {{ run_hooks(post_hooks, inside_transaction=True) }}

  {#- The table is never replaced, so grants that it already has are still there to be revoked. -#}
  {% set should_revoke = should_revoke(existing_relation, full_refresh_mode=False) %}
  {% do apply_grants(target_relation, grant_config, should_revoke=should_revoke) %}

  {% do persist_docs(target_relation, model) %}

  -- `COMMIT` happens here
  {{ adapter.commit() }}

  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{% macro create_ledger_sql(relation) %}
  {{- return(adapter.dispatch('create_ledger_sql', 'statsig_sync')(relation)) -}}
{% endmacro %}

{#- Not dbt's create_table_as: some warehouses render that as `create or replace`. -#}
{% macro default__create_ledger_sql(relation) %}
  create table if not exists {{ relation.render() }} {{ get_table_columns_and_constraints() }}
{% endmacro %}


{% macro add_ledger_column_sql(relation, column) %}
  {{- return(adapter.dispatch('add_ledger_column_sql', 'statsig_sync')(relation, column)) -}}
{% endmacro %}

{% macro default__add_ledger_column_sql(relation, column) %}
  {%- set name = adapter.quote(column['name']) if column.get('quote') else column['name'] -%}
  alter table {{ relation.render() }} add column {{ name }} {{ column['data_type'] }}
{% endmacro %}


{% macro check_ledger_model(sql) %}
  {%- if not config.get('contract').enforced -%}
    {%- do exceptions.raise_compiler_error(
      "The ledger " ~ this ~ " needs an enforced contract: set `config: {contract: {enforced: true}}` and give "
      ~ "every column a data_type. Its table is made from the columns in YAML."
    ) -%}
  {%- endif -%}
  {%- if sql | trim != statsig_sync.ledger_columns() | trim -%}
    {%- do exceptions.raise_compiler_error(
      "The ledger " ~ this ~ " is never filled by dbt, so its model must be a call of ledger_columns() and nothing "
      ~ "else. Its columns belong in YAML."
    ) -%}
  {%- endif -%}
{% endmacro %}


{% macro check_ledger_relation(relation) %}
  {%- if not relation.is_table -%}
    {%- do exceptions.raise_compiler_error(
      "There is a " ~ relation.type ~ " where the ledger " ~ relation ~ " should be. A ledger is a table and dbt "
      ~ "replaces nothing to make room for it: rename or drop the " ~ relation.type ~ " yourself, or build into "
      ~ "another schema."
    ) -%}
  {%- endif -%}
  {%- set types_in_table = {} -%}
  {%- for column in statsig_sync.columns_of('select * from ' ~ relation.render()) -%}
    {%- do types_in_table.update({column['name'] | lower: column['data_type']}) -%}
  {%- endfor -%}
  {%- set differences = [] -%}
  {%- for column in statsig_sync.columns_of(get_empty_schema_sql(model.columns)) -%}
    {%- set name = column['name'] | lower -%}
    {%- if name in types_in_table and types_in_table[name] != column['data_type'] -%}
      {%- do differences.append(
        name ~ " is " ~ types_in_table[name] ~ " in the table and " ~ column['data_type'] ~ " in YAML"
      ) -%}
    {%- endif -%}
  {%- endfor -%}
  {%- if differences -%}
    {%- do exceptions.raise_compiler_error(
      "Columns of the ledger " ~ relation ~ " have another type than its YAML says: " ~ differences | join("; ")
      ~ ". dbt never alters a column of a ledger: set the data_type in YAML back, or change the table yourself."
    ) -%}
  {%- endif -%}
{% endmacro %}


{% macro missing_ledger_columns(relation) %}
  {%- set names_in_table = adapter.get_columns_in_relation(relation) | map(attribute='name') | map('lower') | list -%}
  {%- set missing = [] -%}
  {%- for column in model.columns.values() if column['name'] | lower not in names_in_table -%}
    {%- do missing.append(column) -%}
  {%- endfor -%}
  {{- return(missing) -}}
{% endmacro %}


{#- Both sides of a comparison go through this, because a warehouse has several names for one type. -#}
{% macro columns_of(select_sql) %}
  {{- return(format_columns(get_column_schema_from_query(select_sql))) -}}
{% endmacro %}


{% macro log_kept_rows(relation) %}
  {%- set row_count = run_query('select count(*) from ' ~ relation.render()).columns[0].values()[0] -%}
  {%- do log(
    "Ledger " ~ relation ~ " keeps all of its rows (" ~ row_count ~ "): --full-refresh does not touch a ledger.",
    info=True
  ) -%}
{% endmacro %}


{% macro log_added_column(relation, column) %}
  {%- set not_null = column.get('constraints', []) | selectattr('type', 'equalto', 'not_null') | list -%}
  {%- do log(
    "Ledger " ~ relation ~ " got the column " ~ column['name'] ~ " " ~ column['data_type'] ~ ". Rows that it already "
    ~ "has are null there" ~ (", so the column is nullable although YAML says not null." if not_null else "."),
    info=True
  ) -%}
{% endmacro %}
