pytest storage_sqlite --eventserver-report=report.json
