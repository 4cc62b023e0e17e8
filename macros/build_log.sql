{#- The commands that change or test data. Others, such as compile and docs generate, run hooks too. -#}
{% macro is_logged_command() %}
  {{- return(execute and invocation_args_dict.which in ['build', 'run', 'test', 'seed', 'snapshot', 'retry']
    and var('statsig_sync_build_log', true)) -}}
{% endmacro %}


{#- Written before dbt changes anything: a model that was to be built, and of which nothing more is said, may be half built. -#}
{% macro log_build_start() %}
  {%- if statsig_sync.is_logged_command() -%}
    {%- set project = statsig_sync.synced_project() -%}
    {%- set rows = [] -%}
    {%- for unique_id in selected_resources if unique_id in project.nodes -%}
      {%- set node = project.nodes[unique_id] -%}
      {%- if node.resource_type in ['model', 'seed', 'snapshot'] and node.materialized != 'ephemeral' -%}
        {%- do rows.append({
          'record': 'node', 'unique_id': unique_id, 'resource_type': node.resource_type, 'name': node.name,
          'status': 'started', 'relation_name': node.relation,
          'left_out_rows': statsig_sync.left_out_rows(graph.nodes[unique_id])
        }) -%}
      {%- endif -%}
    {%- endfor -%}
    {%- do statsig_sync.append_to_build_log(rows) -%}
  {%- endif -%}
{% endmacro %}


{% macro log_build_end(results) %}
  {%- if statsig_sync.is_logged_command() -%}
    {%- set project = statsig_sync.synced_project() -%}
    {%- set rows = [] -%}
    {%- for result in results -%}
      {%- set row = statsig_sync.build_log_row(result, project) -%}
      {%- if row -%}
        {%- do rows.append(row) -%}
      {%- endif -%}
    {%- endfor -%}
    {%- do rows.append({
      'record': 'invocation',
      'syncs': tojson(project.syncs),
      'graph': tojson({'nodes': project.nodes, 'tests': project.tests}),
      'ledgers': tojson(project.ledgers),
      'lineage_hash': local_md5(project.nodes.keys() | sort | join(' ')),
      'known_syncs': tojson(statsig_sync.known_syncs())
    }) -%}
    {%- do statsig_sync.append_to_build_log(rows) -%}
  {%- endif -%}
{% endmacro %}


{#- What became of a node; none where no sync rests on it. -#}
{% macro build_log_row(result, project) %}
  {%- set node = result.node -%}
  {%- set tested = [] -%}
  {%- if node.resource_type == 'unit_test' -%}
    {#- Its parents are the models whose rows it makes up, too. -#}
    {%- if node.tested_node_unique_id in project.nodes -%}
      {%- do tested.append(node.tested_node_unique_id) -%}
    {%- endif -%}
    {%- set is_wanted = tested | length > 0 -%}
  {%- else -%}
    {%- set is_wanted = node.unique_id in project.nodes or node.unique_id in project.tests -%}
  {%- endif -%}
  {%- if is_wanted -%}
    {%- set times = result.timing | selectattr('name', 'equalto', 'execute') | list -%}
    {{- return({
      'record': 'node',
      'unique_id': node.unique_id,
      'resource_type': node.resource_type,
      'name': node.name,
      'status': result.status | string,
      'relation_name': project.nodes[node.unique_id].relation if node.unique_id in project.nodes else none,
      'started_at': times[0].started_at if times else none,
      'completed_at': times[0].completed_at if times else none,
      'failures': result.failures,
      'left_out_rows': statsig_sync.left_out_rows(node),
      'made_anew': statsig_sync.is_made_anew(node) if node.unique_id in project.nodes else none,
      'parents': tojson(statsig_sync.stored_parents(node.unique_id, project.nodes)) if node.unique_id in project.nodes else none,
      'tests': tojson(tested) if tested else none
    }) -}}
  {%- endif -%}
  {{- return(none) -}}
{% endmacro %}


{#- The option of this command for which a node does not have the rows that the target has; none where it has them all. -#}
{% macro left_out_rows(node) %}
  {%- if invocation_args_dict.get('empty') -%}
    {{- return('--empty') -}}
  {%- elif invocation_args_dict.get('sample') -%}
    {{- return('--sample') -}}
  {%- elif invocation_args_dict.get('event_time_start') and node.config.get('materialized') == 'incremental'
      and node.config.get('incremental_strategy') == 'microbatch' and statsig_sync.is_made_anew(node) -%}
    {{- return('--event-time-start') -}}
  {%- elif invocation_args_dict.get('defer') and node.resource_type != 'unit_test' -%}
    {%- set waiting = node.depends_on.nodes | list -%}
    {#- The list grows while it is read: an ephemeral model is read as a part of the node. -#}
    {%- for unique_id in waiting if unique_id in graph.nodes and unique_id not in selected_resources -%}
      {%- set parent = graph.nodes[unique_id] -%}
      {%- if parent.config.get('materialized') == 'ephemeral' -%}
        {%- do waiting.extend(parent.depends_on.nodes) -%}
      {%- elif statsig_sync.is_deferred(parent) -%}
        {{- return('--defer') -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- return(none) -}}
{% endmacro %}


{#- Whether a run throws away the rows that the relation has had: what an incremental model keeps, it keeps of every run. -#}
{% macro is_made_anew(node) %}
  {%- if node.config.get('materialized') != 'incremental' -%}
    {{- return(true) -}}
  {%- endif -%}
  {%- set own = node.config.get('full_refresh') -%}
  {{- return((flags.FULL_REFRESH if own is none else own) is true) -}}
{% endmacro %}


{#- The relations that a node reads, through the ephemeral models between them. -#}
{% macro stored_parents(unique_id, nodes) %}
  {%- set found = [] -%}
  {%- set waiting = nodes[unique_id].parents | list -%}
  {#- The list grows while it is read. -#}
  {%- for parent in waiting if parent in nodes -%}
    {%- if nodes[parent].materialized == 'ephemeral' -%}
      {%- do waiting.extend(nodes[parent].parents) -%}
    {%- elif parent not in found -%}
      {%- do found.append(parent) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return(found | sort) -}}
{% endmacro %}


{#- Whether --defer makes dbt read another relation than the target's own: as dbt decides it in ref(). -#}
{% macro is_deferred(node) %}
  {%- set other = node.get('defer_relation') -%}
  {%- if not other or other.relation_name == node.relation_name -%}
    {{- return(false) -}}
  {%- endif -%}
  {{- return(
    invocation_args_dict.get('favor_state') or adapter.get_relation(node.database, node.schema, node.alias) is none
  ) -}}
{% endmacro %}


{#- The syncs of the project, and the nodes and tests that they rest on; `graph` has many more. -#}
{% macro synced_project() %}
  {%- set syncs = [] -%}
  {%- set waiting = [] -%}
  {%- for exposure in graph.exposures.values() -%}
    {%- set meta = {} -%}
    {%- do meta.update(exposure.get('meta') or {}) -%}
    {%- do meta.update(exposure.config.get('meta') or {}) -%}
    {%- if 'statsig' in meta -%}
      {%- do syncs.append({
        'name': exposure.name,
        'file': exposure.original_file_path,
        'depends_on': exposure.depends_on.nodes,
        'meta': statsig_sync.with_odd_keys(meta['statsig']),
        'description': exposure.description or '',
        'tags': exposure.tags or [],
        'owner_email': (exposure.owner or {}).get('email')
      }) -%}
      {%- do waiting.extend(exposure.depends_on.nodes) -%}
    {%- endif -%}
  {%- endfor -%}

  {%- set nodes = {} -%}
  {#- The list grows while it is read. -#}
  {%- for unique_id in waiting if unique_id not in nodes -%}
    {%- set node = graph.nodes.get(unique_id) or graph.sources.get(unique_id) -%}
    {%- if node -%}
      {%- set parents = node.get('depends_on', {}).get('nodes', []) | list -%}
      {%- do nodes.update({unique_id: {
        'name': node.name ~ ('.v' ~ node.version if node.get('version') is not none else ''),
        'resource_type': node.resource_type | string,
        'relation': node.relation_name,
        'materialized': node.config.get('materialized'),
        'parents': parents
      }}) -%}
      {%- do waiting.extend(parents) -%}
    {%- endif -%}
  {%- endfor -%}

  {%- set tests = {} -%}
  {%- set ledgers = {} -%}
  {%- for unique_id, node in graph.nodes.items() -%}
    {%- if node.resource_type == 'test' -%}
      {%- set tested = statsig_sync.tested_nodes(node, nodes) -%}
      {%- if tested -%}
        {%- do tests.update({unique_id: {
          'name': node.name,
          'on': tested,
          'test': (node.get('test_metadata') or {}).get('name'),
          'column': node.get('column_name')
        }}) -%}
      {%- endif -%}
    {%- elif node.package_name == 'statsig_sync' and node.resource_type == 'model' and node.fqn[1] == 'statsig' -%}
      {%- do ledgers.update({
        node.name: {'relation': node.relation_name, 'materialized': node.config.get('materialized')}
      }) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return({'syncs': syncs, 'nodes': nodes, 'tests': tests, 'ledgers': ledgers}) -}}
{% endmacro %}


{#- A generic test stands on one node, a singular one on all that it reads. -#}
{% macro tested_nodes(test, nodes) %}
  {%- if test.get('attached_node') -%}
    {{- return([test.attached_node] if test.attached_node in nodes else []) -}}
  {%- endif -%}
  {%- set found = [] -%}
  {%- for unique_id in test.depends_on.nodes if unique_id in nodes -%}
    {%- do found.append(unique_id) -%}
  {%- endfor -%}
  {{- return(found) -}}
{% endmacro %}


{#-
  JSON makes a text of every key, so a key that YAML reads as a number would not be seen: such mappings become pairs. JSON
  does not know .nan and .inf either: they become texts.
-#}
{% macro with_odd_keys(value) %}
  {%- if value is mapping -%}
    {%- set pairs = [] -%}
    {%- for key, inner in value.items() -%}
      {%- do pairs.append([key, statsig_sync.with_odd_keys(inner)]) -%}
    {%- endfor -%}
    {%- set odd = value.keys() | reject('string') | list -%}
    {{- return({'!pairs': pairs} if odd or '!pairs' in value else dict(pairs)) -}}
  {%- elif value is iterable and value is not string -%}
    {%- set items = [] -%}
    {%- for item in value -%}
      {%- do items.append(statsig_sync.with_odd_keys(item)) -%}
    {%- endfor -%}
    {{- return(items) -}}
  {%- elif value is float and value - value != 0 -%}
    {{- return(value | string) -}}
  {%- endif -%}
  {{- return(value) -}}
{% endmacro %}


{#- The syncs that have run: should their ledger be lost, this one still knows. -#}
{% macro known_syncs() %}
  {%- set run_log = statsig_sync.ledger_relation('statsig_run_log') -%}
  {%- if run_log -%}
    {{- return(run_query(
      "select distinct sync_name from " ~ run_log.render()
      ~ " where state = 'finished' and rows_read is not null order by sync_name"
    ).columns[0].values() | list) -}}
  {%- endif -%}
  {{- return([]) -}}
{% endmacro %}


{#- The ledger in the warehouse; none before dbt has created it. -#}
{% macro ledger_relation(name) %}
  {%- set node = graph.nodes.get('model.statsig_sync.' ~ name) -%}
  {%- if node -%}
    {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
    {{- return(relation if relation and relation.is_table else none) -}}
  {%- endif -%}
  {{- return(none) -}}
{% endmacro %}


{#- Nothing where there is no build log yet. A column that a newer version adds is there only after its next build. -#}
{% macro append_to_build_log(rows) %}
  {%- set relation = statsig_sync.ledger_relation('statsig_build_log') -%}
  {%- if relation and rows -%}
    {%- set common = {
      'invocation_id': invocation_id,
      'project_name': project_name,
      'profile_name': target.profile_name,
      'target_name': target.name,
      'target_database': target.get('database'),
      'target_schema': target.schema,
      'command': invocation_args_dict.which,
      'dbt_version': dbt_version,
      'package_version': statsig_sync.package_version(),
      'logged_at': modules.datetime.datetime.now(modules.pytz.utc).replace(tzinfo=none)
    } -%}
    {%- set columns = [] -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
      {%- do columns.append(column.name) -%}
    {%- endfor -%}
    {%- call statement('append_to_build_log', auto_begin=true) %}
insert into {{ relation.render() }} ({{ columns | join(', ') }})
values
    {%- for row in rows -%}
      {%- do row.update(common) %}
    (
      {%- for column in columns -%}
        {{ statsig_sync.sql_value(row.get(column | lower)) }}{{ ', ' if not loop.last }}
      {%- endfor -%}
    ){{ ',' if not loop.last }}
    {%- endfor -%}
    {%- endcall -%}
    {%- do adapter.commit() -%}
  {%- endif -%}
{% endmacro %}


{% macro sql_value(value) %}
  {%- if value is none -%}
    {{- return('null') -}}
  {%- elif value is boolean -%}
    {{- return('true' if value else 'false') -}}
  {%- elif value is number -%}
    {{- return(value | string) -}}
  {%- elif value is string -%}
    {{- return("'" ~ dbt.escape_single_quotes(value) ~ "'") -}}
  {%- endif -%}
  {{- return("cast('" ~ value.strftime('%Y-%m-%d %H:%M:%S.%f') ~ "' as " ~ dbt.type_timestamp() ~ ")") -}}
{% endmacro %}


{#- The version of the two halves: this package and the Python package are released together. -#}
{% macro package_version() %}{{ return('0.2.0') }}{% endmacro %}
