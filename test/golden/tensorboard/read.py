"""What TensorBoard's own reader finds in a folder of event files, as JSON: python test/golden/tensorboard/read.py DIR > test/golden/tensorboard/read.json

    python -m pip install tensorboard==2.21.0

Every checksum is verified by the reader (tensorboard.compat's, which raises DataLossError on a wrong one). test/monitor/tensorboard.test.ts holds the
files that TensorBoardSink writes to the bytes that were read here, and runs this itself where tensorboard is installed.
"""

import base64
import json
import math
import sys

from tensorboard.backend.event_processing import event_accumulator as ea

everything = {k: 0 for k in (ea.SCALARS, ea.HISTOGRAMS, ea.IMAGES, ea.TENSORS, ea.COMPRESSED_HISTOGRAMS)}
acc = ea.EventAccumulator(sys.argv[1], size_guidance=everything)
acc.Reload()
tags = acc.Tags()


def number(v):
    return v if math.isfinite(v) else {'nan': 'NaN', 'inf': 'Infinity', '-inf': '-Infinity'}[str(v)]


def histogram(h):
    fields = {k: number(getattr(h, k)) for k in ('min', 'max', 'num', 'sum', 'sum_squares')}
    return {**fields, 'limits': list(h.bucket_limit), 'counts': list(h.bucket)}


out = {
    'scalars': {t: [[e.wall_time, e.step, number(e.value)] for e in acc.Scalars(t)] for t in tags['scalars']},
    'histograms': {t: [[e.step, histogram(e.histogram_value)] for e in acc.Histograms(t)] for t in tags['histograms']},
    'images': {
        t: [[e.step, e.width, e.height, base64.b64encode(e.encoded_image_string).decode()] for e in acc.Images(t)]
        for t in tags['images']
    },
    'texts': {
        t: [[e.step, [s.decode() for s in e.tensor_proto.string_val]] for e in acc.Tensors(t)]
        for t in tags['tensors']
        if acc.SummaryMetadata(t).plugin_data.plugin_name == 'text'
    },
}
json.dump(out, sys.stdout, sort_keys=True)
print()
