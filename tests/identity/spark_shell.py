"""Spark in a process of its own: one statement a line of JSON comes in, its rows go out as one line of JSON.

Run by the Python that has pyspark: pandera looks into it where both are installed, which takes seconds at every start.
"""

from __future__ import annotations

import json
import sys

from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]

SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.warehouse.dir": sys.argv[1],
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
}

builder = SparkSession.builder.master("local[1]")
for name, value in SETTINGS.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
for line in sys.stdin:
    rows = [row.asDict() for row in spark.sql(json.loads(line)).collect()]
    print(json.dumps(rows), flush=True)
spark.stop()
