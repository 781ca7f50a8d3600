"""Parquet files as pyarrow writes them, and what is in them as JSON: python3 test/golden/tables/write.py (needs pyarrow)."""
import json, math, pathlib
import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
n = 300
columns = {
    "a": [math.sin(i) for i in range(n)],
    "b": [i * 7 % 13 for i in range(n)],
    "flag": [i % 3 == 0 for i in range(n)],
    "big": [i * 2**33 for i in range(n)],
    "half": [None if i % 10 == 4 else i / 2 for i in range(n)],
    "kind": [["cat", "dog", "eel"][i % 3] for i in range(n)],
}
types = {"a": pa.float64(), "b": pa.int32(), "flag": pa.bool_(), "big": pa.int64(), "half": pa.float32(), "kind": pa.string()}
table = pa.table({k: pa.array(v, types[k]) for k, v in columns.items()})
for name, options in {
    "plain": dict(compression="none", use_dictionary=False),
    "snappy": dict(compression="snappy", row_group_size=70),
    "gzip": dict(compression="gzip", data_page_version="2.0", row_group_size=128),
    "brotli": dict(compression="brotli"),
    "zstd": dict(compression="zstd"),
    "delta": dict(compression="snappy", use_dictionary=False, column_encoding={"b": "DELTA_BINARY_PACKED", "a": "BYTE_STREAM_SPLIT"}),
}.items():
    pq.write_table(table, here / f"{name}.parquet", **options)
pq.write_table(pa.table({"x": pa.array([[1, 2], [3]])}), here / "nested.parquet")
pq.write_table(pa.table({"when": pa.array([0, 1], pa.timestamp("ms")), "x": pa.array([1, 2])}), here / "dates.parquet")
(here / "table.json").write_text(json.dumps(columns) + "\n")
