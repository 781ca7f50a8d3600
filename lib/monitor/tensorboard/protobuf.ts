/** Writes the few kinds of protobuf fields that event files need (protobuf.dev/programming-guides/encoding). Fields left out have their defaults. */
export class Message {
  readonly #parts: Uint8Array[] = [];

  /** A whole number from 0 to 2^53. */
  int(field: number, value: number): this {
    this.#tag(field, 0);
    this.#varint(value);
    return this;
  }
  double(field: number, value: number): this {
    this.#tag(field, 1);
    const part = Buffer.alloc(8);
    part.writeDoubleLE(value);
    return this.#put(part);
  }
  float(field: number, value: number): this {
    this.#tag(field, 5);
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    return this.#put(part);
  }
  bytes(field: number, value: Uint8Array | string): this {
    const data = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
    this.#tag(field, 2);
    this.#varint(data.length);
    return this.#put(data);
  }
  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }
  /** A packed list. */
  doubles(field: number, values: readonly number[]): this {
    const part = Buffer.alloc(8 * values.length);
    values.forEach((v, i) => void part.writeDoubleLE(v, 8 * i));
    return this.bytes(field, part);
  }
  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  #tag(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }
  #varint(value: number): void {
    const bytes: number[] = [];
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
    bytes.push(rest);
    this.#parts.push(Uint8Array.from(bytes));
  }
  #put(part: Uint8Array): this {
    this.#parts.push(part);
    return this;
  }
}
