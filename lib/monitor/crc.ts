/** A cyclic redundancy check of 32 bits, reflected, with all ones before and after. */
function crc(polynomial: number): (data: Uint8Array) => number {
  const table = Uint32Array.from({ length: 256 }, (_, byte) => {
    let c = byte;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ polynomial : c >>> 1;
    return c;
  });
  return (data) => {
    let c = 0xffffffff;
    for (let i = 0; i < data.length; i++) c = (table[(c ^ (data[i] as number)) & 255] as number) ^ (c >>> 8);
    return ~c >>> 0;
  };
}

/** PNG's and zip's (ISO 3309). Node has it since 20.15. */
export const crc32 = crc(0xedb88320);
/** Castagnoli's, of iSCSI (RFC 3720) and of TensorFlow's records. */
export const crc32c = crc(0x82f63b78);
