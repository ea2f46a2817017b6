// Reads an epoch from a headrace server and prints its batches: docs/protocol.md as a program, for Node 20.15 or later.
//
//     npm install @msgpack/msgpack
//     node read_stream.mjs http://127.0.0.1:8000 flowers 32

import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { decode } from "@msgpack/msgpack";

const MAX_HEADER = 16 * 2 ** 20;
const MAX_ENTRIES = 2 ** 20;
const ITEM_SIZES = { uint8: 1, bool: 1, float16: 2, int32: 4, float32: 4, int64: 8, float64: 8 };
const ARRAYS = {
  uint8: Uint8Array, bool: Uint8Array, int32: Int32Array, int64: BigInt64Array,
  float16: globalThis.Float16Array ?? Uint16Array, // bits, where the engine has no half floats
  float32: Float32Array, float64: Float64Array,
};

class ProtocolError extends Error {} // bytes that are no frame of this plan: a broken server or a damaged stream
class Interrupted extends Error { // another moment, or another server, may go on from the same position
  constructor(message, seconds = 0) {
    super(message);
    this.seconds = seconds;
  }
}

// Exact reads from a response's body.
class Reader {
  constructor(body) {
    this.chunks = body[Symbol.asyncIterator]();
    this.rest = new Uint8Array(0);
  }

  async fill(target) {
    let filled = 0;
    while (filled < target.length) {
      if (this.rest.length === 0) {
        const { value, done } = await this.chunks.next().catch((error) => {
          throw new Interrupted(`the connection broke: ${error.cause?.message ?? error.message}`);
        });
        if (done) throw new Interrupted("the stream was cut: it has no end frame");
        this.rest = value;
      }
      const part = this.rest.subarray(0, target.length - filled);
      target.set(part, filled);
      this.rest = this.rest.subarray(part.length);
      filled += part.length;
    }
    return target;
  }

  take(length) {
    return this.fill(new Uint8Array(length));
  }
}

// Where a batch's tensors lie, and how long its payload is. Both follow from the plan's answer and the batch's count.
function layout(outputs, count) {
  let length = 0;
  const tensors = outputs.filter((output) => output.dtype !== "str").map(({ name, dtype, shape }) => {
    if (!(dtype in ITEM_SIZES)) throw new ProtocolError(`${name}: a tensor of ${dtype}`);
    const offset = Math.ceil(length / 64) * 64;
    const bytes = shape.reduce((product, side) => product * side, count * ITEM_SIZES[dtype]);
    length = offset + bytes;
    return { name, dtype, shape: [count, ...shape], offset, length: bytes };
  });
  return { tensors, length };
}

function checkBatch(header, outputs, payloadLength) {
  const { tensors, length } = layout(outputs, header.count);
  if (payloadLength !== length) throw new ProtocolError(`a payload of ${payloadLength} bytes, expected ${length}`);
  const known = header.tensors.map(({ name, dtype, shape, offset, length }) => ({ name, dtype, shape, offset, length }));
  if (JSON.stringify(known) !== JSON.stringify(tensors)) throw new ProtocolError("tensors that are not the plan's");
  for (const { name } of outputs.filter((output) => output.dtype === "str")) {
    if (header.strings[name]?.length !== header.count) throw new ProtocolError(`too few strings in ${name}`);
  }
}

function checkSum(headerBytes, header, payload) {
  const sum = crc32(payload, crc32(headerBytes.subarray(0, -4)));
  const stored = new DataView(headerBytes.buffer).getUint32(headerBytes.length - 4);
  if (!(header.crc32 instanceof Uint8Array)) throw new ProtocolError(`a ${header.kind} frame without a checksum`);
  if (sum !== stored) throw new ProtocolError("the frame was damaged on its way");
}

// One frame; nothing is allocated for a payload before its length agrees with the plan.
async function readFrame(reader, outputs, checksum) {
  const prefix = await reader.take(6);
  if (prefix[0] !== 0x92 || prefix[1] !== 0xc6) throw new ProtocolError("these bytes begin no frame");
  const headerLength = new DataView(prefix.buffer).getUint32(2);
  if (headerLength > MAX_HEADER) throw new ProtocolError(`a header of ${headerLength} bytes`);
  const headerBytes = await reader.take(headerLength);
  const header = decode(headerBytes, { maxArrayLength: MAX_ENTRIES, maxMapLength: MAX_ENTRIES });
  if (header?.protocol !== 1) throw new ProtocolError(`protocol ${header?.protocol}, this reader knows 1`);

  const infix = await reader.take(5);
  if (infix[0] !== 0xc6) throw new ProtocolError("these bytes begin no payload");
  const payloadLength = new DataView(infix.buffer).getUint32(1);
  if (header.kind === "batch") checkBatch(header, outputs, payloadLength);
  else if (payloadLength !== 0) throw new ProtocolError(`a payload in a frame of kind ${header.kind}`);
  const payload = await reader.take(payloadLength);
  if (checksum) checkSum(headerBytes, header, payload);
  return { header, payload };
}

// A batch's columns by name: tensors as typed arrays on the payload's memory, strings as arrays.
function columns({ header, payload }) {
  const arrays = header.tensors.map(({ name, dtype, shape, offset, length }) => {
    const data = new ARRAYS[dtype](payload.buffer, offset, length / ITEM_SIZES[dtype]);
    return [name, { dtype, shape, data }];
  });
  return { ...Object.fromEntries(arrays), ...header.strings };
}

async function request(url, options) {
  const response = await fetch(url, options).catch((error) => {
    throw new Interrupted(`${url}: ${error.cause?.message ?? error.message}`);
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const message = `${response.status}: ${problem.detail ?? response.statusText}`;
  if (response.status === 503) throw new Interrupted(message, Number(response.headers.get("retry-after")) || 1);
  if (problem.code === "unknown-plan") throw new Interrupted(message);
  throw new Error(message);
}

async function postPlan(server, plan) {
  const body = JSON.stringify(plan);
  const headers = { "content-type": "application/json" };
  return (await request(`${server}/v1/plans`, { method: "POST", headers, body })).json();
}

// The batches of one stream, until its end frame; returns whether the epoch is over.
async function* stream(server, info, { epoch, start, count, checksum }) {
  const query = new URLSearchParams({ epoch, start, count, ...(checksum && { checksum: "crc32" }) });
  const response = await request(`${server}/v1/plans/${encodeURIComponent(info.id)}/stream?${query}`);
  const reader = new Reader(response.body);
  while (true) {
    const { header, payload } = await readFrame(reader, info.outputs, checksum);
    if (header.kind === "batch") yield { header, payload };
    else if (header.kind === "end" && header.reason === "complete") return;
    else if (header.kind === "end") throw new Interrupted(`the server stopped at ${header.next}: ${header.reason}`);
    else if (header.kind === "error" && header.retry) throw new Interrupted(header.message);
    else if (header.kind === "error") throw new Error(`position ${header.position}, ${header.key}: ${header.message}`);
    else if (header.kind !== "ping") throw new ProtocolError(`a frame of kind ${header.kind}`);
  }
}

// Every batch of an epoch, once, whatever happens to streams in between.
export async function* batches(server, plan, { epoch = 0, count = 32, checksum = true, attempts = 5 } = {}) {
  let position = 0, first;
  for (let failures = 0; ; ) {
    try {
      const info = await postPlan(server, plan);
      first ??= info;
      if (info.id !== first.id || info.engine !== first.engine) throw new Error("the server's data or decoders changed");
      for await (const frame of stream(server, info, { epoch, start: position, count, checksum })) {
        const { header } = frame;
        const asked = header.plan === info.id && header.epoch === epoch && header.start === position;
        if (!asked) throw new ProtocolError(`a batch at ${header.start}, expected the one at ${position}`);
        yield { header, columns: columns(frame), info };
        position += header.count;
        failures = 0;
      }
      return;
    } catch (error) {
      if (!(error instanceof Interrupted) || ++failures === attempts) throw error;
      console.error(`at position ${position}: ${error.message}; trying again`);
      await sleep(1000 * error.seconds + 2 ** failures * 250);
    }
  }
}

async function main([server, dataset, count = "32"]) {
  for await (const { header, columns: found } of batches(server, { dataset }, { count: Number(count) })) {
    const shapes = Object.entries(found).map(([name, column]) =>
      Array.isArray(column) ? `${name}: ${column[0]}, ...` : `${name}: ${column.dtype} [${column.shape}]`);
    console.log(`${header.start}-${header.start + header.count}  ${shapes.join("  ")}`);
    for (const { position, key, by, reason } of header.replaced ?? []) {
      console.log(`  position ${position}: ${by} stands for ${key}, which could not be decoded: ${reason}`);
    }
  }
}

if (process.argv[1]?.endsWith("read_stream.mjs")) {
  await main(process.argv.slice(2)).catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}
