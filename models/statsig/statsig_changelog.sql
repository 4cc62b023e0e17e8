{{ ledger_columns() }}
