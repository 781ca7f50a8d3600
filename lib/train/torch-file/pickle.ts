// A reader of pickles that runs nothing: of pickle's opcodes (Lib/pickletools.py), protocols 2 to 5, those that make plain values, and calls of
// the few names that ./names.ts knows. Every length, index and depth is checked before it is used; work and memory grow with the pickle at most.
import { CheckpointError } from '../../native/errors.ts';

/** A Python name that the pickle may ask for. */
export class PyName {
  readonly name: string;
  /** What calling it with these arguments gives; absent: it is not called. */
  readonly call: ((args: readonly unknown[], vm: Unpickler) => unknown) | undefined;
  constructor(name: string, call?: (args: readonly unknown[], vm: Unpickler) => unknown) {
    this.name = name;
    this.call = call;
  }
}

/** What the pickle's surroundings decide. */
export interface Resolver {
  /** The value behind `module.name`; undefined: refused. */
  global(name: string): unknown;
  /** The object behind a persistent id: a storage. */
  persistent(id: unknown, vm: Unpickler): unknown;
}

/** Far beyond any checkpoint; they bound the memory that a hostile pickle of 64 MiB makes. */
export const limits = { bytes: 64 << 20, ops: 16_000_000, objects: 2_000_000, memo: 2_000_000, longBytes: 256, nameBytes: 512 };

export type PyKey = string | number | bigint | boolean | null;
const isKey = (v: unknown): v is PyKey =>
  v === null || typeof v === 'string' || typeof v === 'number' || typeof v === 'bigint' || typeof v === 'boolean';

/** The machine: a stack, marks in it, a memo. `run` gives the value and the byte behind it. */
export class Unpickler {
  at: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly memo = new Map<number, unknown>();
  readonly resolver: Resolver;
  readonly #where: string;
  readonly #stack: unknown[] = [];
  readonly #marks: number[] = [];
  #objects = 0;

  /** @param where names the pickle in errors */
  constructor(where: string, bytes: Uint8Array, resolver: Resolver, at = 0) {
    this.#where = where;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.resolver = resolver;
    this.at = at;
  }

  fail(why: string): never {
    throw new CheckpointError(`${this.#where}: not a readable pickle: ${why} (before byte ${this.at}).`);
  }
  refuse(why: string): never {
    throw new CheckpointError(`${this.#where}: ${why}`);
  }

  run(): unknown {
    for (let n = 0; n < limits.ops; n++) {
      const code = this.u8();
      if (code === 0x2e) {
        const value = this.pop();
        if (this.#stack.length || this.#marks.length) this.fail('it ends with values left over');
        return value;
      }
      const op = opcodes.get(code);
      if (op === undefined) this.#refuseOp(code);
      else op(this);
    }
    return this.fail(`it has more than ${limits.ops} operations`);
  }

  #refuseOp(code: number): never {
    const name = refusedOps.get(code);
    if (name === undefined) this.fail(`0x${code.toString(16)} is no opcode of protocols 2 to 5`);
    this.refuse(
      `the pickle's ${name} at byte ${this.at - 1} is nothing that torch.save writes for weights and plain values, and may run code. ` +
        'Nothing was run. In Python, save a state dict: torch.save(model.state_dict(), path).',
    );
  }

  // ---- bytes ----------------------------------------------------------------------------------------------------------------

  /** Passes over `n` bytes, which must be there; gives where they begin. */
  take(n: number): number {
    if (n > this.bytes.length - this.at) this.fail(`${n} bytes are wanted where ${this.bytes.length - this.at} are left`);
    this.at += n;
    return this.at - n;
  }
  u8(): number {
    return this.bytes[this.take(1)] as number;
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  u64(): number {
    const value = this.view.getBigUint64(this.take(8), true);
    if (value > BigInt(this.bytes.length)) this.fail(`a length of ${value} bytes is beyond its end`);
    return Number(value);
  }
  slice(n: number): Uint8Array {
    const from = this.take(n);
    return this.bytes.subarray(from, from + n);
  }
  text(n: number): string {
    try {
      return utf8.decode(this.slice(n));
    } catch (error) {
      if (error instanceof CheckpointError) throw error;
      return this.fail('a string is not UTF-8');
    }
  }
  line(): string {
    const end = this.bytes.subarray(this.at, this.at + limits.nameBytes).indexOf(10);
    if (end < 0) this.fail('a name has no end');
    const text = this.text(end);
    this.at++;
    return text;
  }
  /** A little-endian two's complement number. */
  long(n: number): number | bigint {
    if (n > limits.longBytes) this.fail(`an integer of ${n} bytes is too long`);
    let value = 0n;
    const bytes = this.slice(n);
    for (let i = n - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    if (n > 0 && (bytes[n - 1] as number) > 127) value -= 1n << BigInt(8 * n);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  // ---- stack ----------------------------------------------------------------------------------------------------------------

  push(value: unknown): void {
    this.#stack.push(value);
  }
  /** Pushes a new list, dict, set or tuple, which count. */
  make(value: unknown): void {
    if (++this.#objects > limits.objects) this.fail(`it makes more than ${limits.objects} objects`);
    this.#stack.push(value);
  }
  /** Copies of values already there are paid for, so that nothing grows faster than the pickle. */
  charge(copied: number): void {
    this.#objects += Math.ceil(copied / 64);
    if (this.#objects > limits.objects) this.fail('it copies too much');
  }
  top(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.fail('its stack is empty');
    return this.#stack.at(-1);
  }
  pop(): unknown {
    const value = this.top();
    this.#stack.pop();
    return value;
  }
  mark(): void {
    if (this.#marks.length >= limits.objects) this.fail('it has too many marks');
    this.#marks.push(this.#stack.length);
  }
  /** What was pushed since the last mark, which goes. */
  sinceMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.fail('a mark is missing');
    return this.#stack.splice(mark);
  }
  /** POP takes a mark away where one lies on top. */
  drop(): void {
    if (this.#marks.length && this.#marks.at(-1) === this.#stack.length) this.#marks.pop();
    else this.pop();
  }

  // ---- what opcodes share ---------------------------------------------------------------------------------------------------

  get(index: number): void {
    if (!this.memo.has(index)) this.fail(`it asks for memo ${index}, which is not there`);
    this.push(this.memo.get(index));
  }
  put(index: number): void {
    if (this.memo.size >= limits.memo) this.fail(`it keeps more than ${limits.memo} values`);
    this.memo.set(index, this.top());
  }
  list(): unknown[] {
    const to = this.top();
    return Array.isArray(to) ? to : this.fail('it appends to what is no list');
  }
  dict(): Map<unknown, unknown> {
    const to = this.top();
    return to instanceof Map ? to : this.fail('it sets items of what is no dict');
  }
  append(items: readonly unknown[]): void {
    const to = this.list();
    for (const item of items) to.push(item);
  }
  set(items: readonly unknown[]): void {
    const to = this.dict();
    if (items.length % 2) this.fail('a dict has a key without a value');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (!isKey(key)) this.fail('a dict has a key that is no string, number, bool or None');
      to.set(key, items[i + 1]);
    }
  }
  global(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string') this.fail('the name of a global is no string');
    const full = `${module}.${name}`;
    const value = this.resolver.global(full);
    if (value === undefined)
      this.refuse(
        `the pickle asks for the Python object ${JSON.stringify(full.slice(0, 200))}, which would have been code to run. Nothing was run: only tensors and ` +
          'plain values are read. In Python, save a state dict: torch.save(model.state_dict(), path).',
      );
    this.push(value);
  }
  reduce(): void {
    const args = this.pop();
    const fn = this.pop();
    if (!Array.isArray(args)) this.fail('the arguments of a call are no tuple');
    if (!(fn instanceof PyName) || !fn.call)
      this.refuse(`the pickle calls ${fn instanceof PyName ? fn.name : 'what is no function'}. Nothing was run.`);
    this.make(fn.call(args, this));
  }
  /** `_metadata` of an OrderedDict and attributes of a Parameter: nothing here reads them. On anything else state may be code. */
  build(): void {
    this.pop();
    if (!(this.top() instanceof Map)) this.refuse('the pickle sets the state of an object that is no dict. Nothing was run.');
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

type Op = (vm: Unpickler) => void;
const tuple = (n: number): Op => {
  return (vm) => {
    const items = Array.from({ length: n }, () => vm.pop());
    vm.make(items.reverse());
  };
};
const copied = (vm: Unpickler, bytes: Uint8Array): Uint8Array => {
  vm.charge(bytes.length);
  return Uint8Array.from(bytes);
};

const opcodes = new Map<number, Op>([
  // protocol and framing
  [0x80, (vm) => vm.u8() > 5 && vm.fail('its protocol is newer than 5')], // PROTO
  [0x95, (vm) => vm.u64() > vm.bytes.length - vm.at && vm.fail('a frame is cut off')], // FRAME
  // plain values
  [0x4e, (vm) => vm.push(null)], // NONE
  [0x88, (vm) => vm.push(true)], // NEWTRUE
  [0x89, (vm) => vm.push(false)], // NEWFALSE
  [0x4a, (vm) => vm.push(vm.view.getInt32(vm.take(4), true))], // BININT
  [0x4b, (vm) => vm.push(vm.u8())], // BININT1
  [0x4d, (vm) => vm.push(vm.view.getUint16(vm.take(2), true))], // BININT2
  [0x8a, (vm) => vm.push(vm.long(vm.u8()))], // LONG1
  [0x8b, (vm) => vm.push(vm.long(vm.u32()))], // LONG4; a negative length reads as one that is too long
  [0x47, (vm) => vm.push(vm.view.getFloat64(vm.take(8), false))], // BINFLOAT
  [0x58, (vm) => vm.push(vm.text(vm.u32()))], // BINUNICODE
  [0x8c, (vm) => vm.push(vm.text(vm.u8()))], // SHORT_BINUNICODE
  [0x8d, (vm) => vm.push(vm.text(vm.u64()))], // BINUNICODE8
  [0x54, (vm) => vm.push(vm.text(vm.u32()))], // BINSTRING
  [0x55, (vm) => vm.push(vm.text(vm.u8()))], // SHORT_BINSTRING
  [0x42, (vm) => vm.push(copied(vm, vm.slice(vm.u32())))], // BINBYTES
  [0x43, (vm) => vm.push(copied(vm, vm.slice(vm.u8())))], // SHORT_BINBYTES
  [0x8e, (vm) => vm.push(copied(vm, vm.slice(vm.u64())))], // BINBYTES8
  [0x96, (vm) => vm.push(copied(vm, vm.slice(vm.u64())))], // BYTEARRAY8
  // containers
  [0x28, (vm) => vm.mark()], // MARK
  [0x5d, (vm) => vm.make([])], // EMPTY_LIST
  [0x7d, (vm) => vm.make(new Map())], // EMPTY_DICT
  [0x8f, (vm) => vm.make(new Set())], // EMPTY_SET
  [0x29, tuple(0)], // EMPTY_TUPLE
  [0x85, tuple(1)], // TUPLE1
  [0x86, tuple(2)], // TUPLE2
  [0x87, tuple(3)], // TUPLE3
  [0x74, (vm) => vm.make(vm.sinceMark())], // TUPLE
  [0x91, (vm) => vm.make(new Set(vm.sinceMark()))], // FROZENSET
  [0x61, (vm) => vm.append([vm.pop()])], // APPEND
  [0x65, (vm) => vm.append(vm.sinceMark())], // APPENDS
  [0x73, (vm) => vm.set([vm.pop(), vm.pop()].reverse())], // SETITEM
  [0x75, (vm) => vm.set(vm.sinceMark())], // SETITEMS
  [
    0x90, // ADDITEMS
    (vm) => {
      const items = vm.sinceMark();
      const to = vm.top();
      if (!(to instanceof Set)) return vm.fail('it adds to what is no set');
      for (const item of items) to.add(item);
    },
  ],
  // stack and memo
  [0x30, (vm) => vm.drop()], // POP
  [0x31, (vm) => void vm.sinceMark()], // POP_MARK
  [0x32, (vm) => vm.push(vm.top())], // DUP
  [0x68, (vm) => vm.get(vm.u8())], // BINGET
  [0x6a, (vm) => vm.get(vm.u32())], // LONG_BINGET
  [0x71, (vm) => vm.put(vm.u8())], // BINPUT
  [0x72, (vm) => vm.put(vm.u32())], // LONG_BINPUT
  [0x94, (vm) => vm.put(vm.memo.size)], // MEMOIZE
  // names and calls
  [0x63, (vm) => vm.global(vm.line(), vm.line())], // GLOBAL
  [0x93, (vm) => vm.global(...([vm.pop(), vm.pop()].reverse() as [unknown, unknown]))], // STACK_GLOBAL
  [0x51, (vm) => vm.push(vm.resolver.persistent(vm.pop(), vm))], // BINPERSID
  [0x52, (vm) => vm.reduce()], // REDUCE
  [0x81, (vm) => vm.reduce()], // NEWOBJ: cls.__new__(cls, *args); of the names known here, a call
  [0x62, (vm) => vm.build()], // BUILD
]);

/** Opcodes that pickle has, and that no torch.save of weights needs. */
const refusedOps = new Map<number, string>(
  Object.entries({
    INST: 0x69,
    OBJ: 0x6f,
    NEWOBJ_EX: 0x92,
    EXT1: 0x82,
    EXT2: 0x83,
    EXT4: 0x84,
    PERSID: 0x50,
    NEXT_BUFFER: 0x97,
    READONLY_BUFFER: 0x98,
    INT: 0x49,
    LONG: 0x4c,
    FLOAT: 0x46,
    STRING: 0x53,
    UNICODE: 0x56,
    LIST: 0x6c,
    DICT: 0x64,
    GET: 0x67,
    PUT: 0x70,
  }).map(([name, code]) => [code, `opcode ${name}`]),
);
