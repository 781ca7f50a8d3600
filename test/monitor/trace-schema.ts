/** Chrome's Trace Event Format, as far as complete events and metadata go: what its document asks for, and what Perfetto's importer needs. */
interface Given {
  [field: string]: unknown;
}
const isCount = (v: unknown): boolean => Number.isSafeInteger(v) && (v as number) >= 0;
const isTime = (v: unknown): boolean => typeof v === 'number' && Number.isFinite(v) && v >= 0;
const isObject = (v: unknown): v is Given => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Metadata events that the format knows, and the argument that each must have. */
const metadata: Record<string, string> = {
  process_name: 'name',
  process_labels: 'labels',
  process_sort_index: 'sort_index',
  thread_name: 'name',
  thread_sort_index: 'sort_index',
};

function faultsOf(e: Given, at: number): string[] {
  const faults: string[] = [];
  const need = (ok: boolean, what: string) => {
    if (!ok) faults.push(`event ${at} (${String(e.name)}): ${what}`);
  };
  need(typeof e.name === 'string' && e.name !== '', 'name must be a string');
  need(e.ph === 'X' || e.ph === 'M', 'ph must be X or M');
  need(isCount(e.pid) && isCount(e.tid), 'pid and tid must be whole numbers');
  need(e.args === undefined || isObject(e.args), 'args must be an object');
  if (e.ph === 'X') {
    need(isTime(e.ts), 'ts must be microseconds');
    need(isTime(e.dur), 'dur must be microseconds');
    need(typeof e.cat === 'string', 'cat must be a string');
  } else if (e.ph === 'M') {
    const argument = metadata[e.name as string];
    need(argument !== undefined, 'unknown metadata');
    need(isObject(e.args) && argument !== undefined && argument in e.args, `needs args.${argument}`);
  }
  const known = ['name', 'cat', 'ph', 'ts', 'dur', 'pid', 'tid', 'args', 'tts', 'tdur', 'cname', 'id'];
  need(
    Object.keys(e).every((k) => known.includes(k)),
    'a field that the format does not know',
  );
  return faults;
}

/** On one track complete events lie beside or inside each other; overlap by half is what viewers cannot draw. */
function overlaps(events: readonly Given[]): string[] {
  const faults: string[] = [];
  const tracks = new Map<string, { from: number; to: number; name: unknown }[]>();
  for (const e of events) {
    if (e.ph !== 'X') continue;
    const track = `${e.pid}:${e.tid}`;
    const all = tracks.get(track) ?? [];
    all.push({ from: e.ts as number, to: (e.ts as number) + (e.dur as number), name: e.name });
    tracks.set(track, all);
  }
  const slack = 0.002; // microseconds: times are rounded to nanoseconds
  for (const [track, all] of tracks) {
    const open: { to: number; name: unknown }[] = [];
    for (const e of all.sort((a, b) => a.from - b.from || b.to - a.to)) {
      while (open.length && (open[open.length - 1] as { to: number }).to <= e.from + slack) open.pop();
      const outer = open[open.length - 1];
      if (outer && e.to > outer.to + slack) faults.push(`track ${track}: ${String(e.name)} reaches past ${String(outer.name)}`);
      open.push(e);
    }
  }
  return faults;
}

/** What is wrong with a trace, as JSON text; nothing where it may be opened. */
export function traceFaults(text: string): string[] {
  const trace: unknown = JSON.parse(text);
  if (!isObject(trace) || !Array.isArray(trace.traceEvents)) return ['traceEvents must be an array'];
  const events = trace.traceEvents as unknown[];
  if (!events.every(isObject)) return ['events must be objects'];
  const unit = trace.displayTimeUnit;
  const units = unit === undefined || unit === 'ms' || unit === 'ns' ? [] : ['displayTimeUnit must be ms or ns'];
  const named = new Set(events.filter((e) => e.ph === 'M' && e.name === 'thread_name').map((e) => e.tid));
  const nameless = [
    ...new Set(events.filter((e) => e.ph === 'X' && !named.has(e.tid)).map((e) => `thread ${e.tid} has no name`)),
  ];
  return [...units, ...events.flatMap(faultsOf), ...nameless, ...overlaps(events)];
}
