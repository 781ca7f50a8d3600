/** What this machine offers Anneal, and for what is missing the remedy. */
import { cpus, totalmem } from 'node:os';
import { native } from '../native/run.ts';
import { cpuInfo, type Device, device } from '../tensor/device.ts';

/** Something that Anneal could use and that is not there. `needed`: nothing runs without it. */
export interface Missing {
  what: 'addon' | 'gpu' | 'kernels' | 'machine code' | 'nccl' | 'bf16';
  needed: boolean;
  /** One sentence or two: what is wrong, and what to do. */
  remedy: string;
}

/** What `anneal doctor --json` prints. Sizes are bytes. */
export interface Installation {
  node: string;
  platform: string;
  processor: string;
  memory: number;
  /** Instruction set of the kernels in use (v2: SSE4, v3: AVX2, v4: AVX-512), features of the processor, threads; undefined without the addon. */
  cpu?: { isa: string; features: string[]; threads: number; available: number; memoryLimit: number };
  driver?: { library: string; version: string };
  gpus: { name: string; computeCapability: number; multiprocessors: number; memory: number; simulated: boolean }[];
  kernels: { count: number; machineCode: boolean };
  nccl: boolean;
  missing: Missing[];
}

const NCCL = 'libnccl.so.2';
const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Every GPU that the driver shows, and why there is none or the next would not open. */
function gpus(missing: Missing[]): Device[] {
  const found: Device[] = [];
  for (;;) {
    try {
      found.push(device(`cuda:${found.length}`));
    } catch (error) {
      const why = words(error);
      if (!/there is no GPU \d/.test(why))
        missing.push({ what: 'gpu', needed: false, remedy: why.replace(/^device\('[^']*'\): /, '') });
      return found;
    }
  }
}

/** Looks at everything; nothing throws. GPUs are opened. */
export function inspect(): Installation {
  const missing: Missing[] = [];
  const report: Installation = {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memory: totalmem(),
    gpus: [],
    kernels: { count: 0, machineCode: false },
    nccl: false,
    missing,
  };
  try {
    native();
  } catch (error) {
    missing.push({ what: 'addon', needed: true, remedy: words(error) });
    return report;
  }
  const { isa, available, ...offered } = cpuInfo();
  const cpu = device('cpu');
  const features = Object.entries(offered).flatMap(([name, there]) => (there ? [name] : []));
  report.cpu = { isa, features, threads: cpu.threads, available, memoryLimit: cpu.memory().limit };
  if (!offered.bf16)
    missing.push({
      what: 'bf16',
      needed: false,
      remedy:
        'this processor has no bf16 dot products: precision bf16 saves memory here and no time. f32 is the faster choice on this CPU.',
    });
  const { count, machineCode, missing: why } = native().kernels();
  report.kernels = { count, machineCode };
  if (why) missing.push({ what: 'kernels', needed: false, remedy: why });
  const opened = gpus(why ? [] : missing);
  report.gpus = opened.map((d) => {
    const { name, computeCapability, multiprocessors, memory, simulated } = d.gpu as NonNullable<Device['gpu']>;
    return { name, computeCapability, multiprocessors, memory, simulated };
  });
  const first = opened[0]?.gpu;
  if (first) report.driver = { library: first.driver, version: first.driverVersion.toFixed(1) };
  if (first && !first.simulated && !machineCode)
    missing.push({
      what: 'machine code',
      needed: false,
      remedy:
        'the driver compiles the kernels at their first use, which takes minutes: npm run build:kernels -- --arch all, or install a package that carries them.',
    });
  const noNccl = native().library(NCCL);
  report.nccl = noNccl === undefined;
  if (noNccl && opened.length > 0)
    missing.push({
      what: 'nccl',
      needed: false,
      remedy: `several GPUs need NCCL (${noNccl}): apt-get install libnccl2, or pip install nvidia-nccl-cu13.`,
    });
  return report;
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** The report for a terminal: a line per thing, then what is missing. */
export function describeInstallation(r: Installation): string {
  const rows: [string, string][] = [
    ['Node', `${r.node}, ${r.platform}`],
    ['processor', `${r.processor}, ${gib(r.memory)} of memory`],
  ];
  if (r.cpu) {
    rows.push(['kernels', `${r.cpu.isa}; the processor has ${r.cpu.features.join(', ') || 'no extensions beyond it'}`]);
    rows.push(['threads', `${r.cpu.threads} of ${r.cpu.available} processors`]);
    rows.push(['tensors', `up to ${gib(r.cpu.memoryLimit)}`]);
    rows.push(['driver', r.driver ? `${r.driver.library}, CUDA ${r.driver.version}` : 'none']);
    for (const [i, g] of r.gpus.entries())
      rows.push([
        `cuda:${i}`,
        `${g.name}${g.simulated ? ' (simulated)' : ''}, compute capability ${g.computeCapability.toFixed(1)}, ${g.multiprocessors} multiprocessors, ${gib(g.memory)}`,
      ]);
    rows.push([
      'CUDA kernels',
      r.kernels.count ? `${r.kernels.count}, ${r.kernels.machineCode ? 'machine code and PTX' : 'PTX'}` : 'none',
    ]);
    rows.push(['NCCL', r.nccl ? 'found' : 'not found; several GPUs need it']);
  }
  const lines = rows.map(([name, text]) => `${name.padEnd(14)}${text}`);
  for (const { what, needed, remedy } of r.missing)
    lines.push('', `${needed ? 'needed' : 'missing'}: ${what}`, `  ${remedy.replace(/\n/g, '\n  ')}`);
  return lines.join('\n');
}

/** `anneal doctor`: 1 where nothing can run. */
export function doctor(options: { json?: boolean }): number {
  const report = inspect();
  console.log(options.json ? JSON.stringify(report, null, 2) : describeInstallation(report));
  return report.missing.some((m) => m.needed) ? 1 : 0;
}
