// What loader threads ask for: synchronous work on host memory, which may be shared between threads.
#include "data/augment.h"

#include "binding/binding.h"
#include "binding/errors.h"
#include "binding/settlement.h"

namespace anneal {
namespace {

/** Numbers of a column, in the order of lib/data/augment/instructions.ts. */
enum { kStep, kShift, kChannels, kHeight, kWidth, kOutSize, kStride, kEncoded, kScale, kHalf, kConstants, kHeader };

/** A typed array's memory. Asked of the array itself: over a SharedArrayBuffer its buffer is none that Node-API would open. */
struct Array {
  napi_typedarray_type type;
  size_t length;
  void* data;
  explicit Array(Napi::Value v) {
    if (napi_get_typedarray_info(v.Env(), v, &type, &length, &data, nullptr, nullptr) != napi_ok) throw std::runtime_error("augment: expected a typed array");
  }
  size_t elementBytes() const { return type == napi_uint8_array ? 1 : type == napi_uint16_array ? 2 : type == napi_float64_array ? 8 : 4; }
  data::Element element() const {
    switch (type) {
      case napi_uint8_array: return data::Element::u8;
      case napi_uint16_array: return data::Element::u16;
      case napi_int32_array: return data::Element::i32;
      case napi_float32_array: return data::Element::f32;
      case napi_float64_array: return data::Element::f64;
      default: throw std::runtime_error("augment: an array of another kind");
    }
  }
};

const double* numbers(const Array& a, size_t least) {
  if (a.type != napi_float64_array || a.length < least) throw std::runtime_error("augment: an array too short");
  return static_cast<const double*>(a.data);
}

}  // namespace

/** augment(data, positions, out, header, program, from, to); header: the numbers above, mean and std per channel, constants. */
Napi::Value Binding::augment(const Napi::CallbackInfo& info) {
  const Array column(info[0]), positions(info[1]), out(info[2]), header(info[3]), program(info[4]);
  const double* h = numbers(header, kHeader);
  const int channels = static_cast<int>(h[kChannels]);
  const int64_t constants = static_cast<int64_t>(h[kConstants]);
  if (channels < 1 || constants < 0) throw std::runtime_error("augment: header");
  h = numbers(header, kHeader + 2 * channels + constants);
  data::Work w{};
  w.data = column.data;
  w.element = column.element();
  w.elements = static_cast<int64_t>(column.length);
  w.samples = static_cast<int64_t>(positions.length);
  if (positions.type != napi_uint32_array) throw std::runtime_error("augment: positions");
  w.positions = static_cast<const uint32_t*>(positions.data);
  w.step = static_cast<int64_t>(h[kStep]);
  w.shift = static_cast<int64_t>(h[kShift]);
  w.channels = channels;
  w.height = static_cast<int>(h[kHeight]);
  w.width = static_cast<int>(h[kWidth]);
  w.out = out.data;
  w.outSize = static_cast<int64_t>(h[kOutSize]);
  w.encoded = h[kEncoded] != 0;
  w.scale = h[kScale];
  w.mean = h + kHeader;
  w.std = w.mean + channels;
  w.constants = w.std + channels;
  w.constantCount = constants;
  w.stride = static_cast<int64_t>(h[kStride]);
  w.program = numbers(program, w.samples * w.stride);
  if (out.element() != (w.encoded ? data::Element::f32 : w.element) || static_cast<int64_t>(out.length) != w.samples * w.outSize)
    throw std::runtime_error("augment: the batch's array");
  data::augment(w, static_cast<int64_t>(number(info, 5)), static_cast<int64_t>(number(info, 6)));
  return info.Env().Undefined();
}

/** mixup(batch, rows, lambda) in f32, in place. */
Napi::Value Binding::mixup(const Napi::CallbackInfo& info) {
  const Array batch(info[0]);
  const int64_t rows = static_cast<int64_t>(number(info, 1)), size = rows > 0 ? static_cast<int64_t>(batch.length) / rows : 0;
  if (batch.element() != data::Element::f32 || size * rows != static_cast<int64_t>(batch.length)) throw std::runtime_error("mixup: the batch");
  data::mixup(static_cast<float*>(batch.data), rows, size, number(info, 2));
  return info.Env().Undefined();
}

/** cutmix(batch, rows, height, width, box) in place; box: x1, y1, x2, y2. */
Napi::Value Binding::cutmix(const Napi::CallbackInfo& info) {
  const Array batch(info[0]);
  const int64_t rows = static_cast<int64_t>(number(info, 1)), size = rows > 0 ? static_cast<int64_t>(batch.length) / rows : 0;
  if (size * rows != static_cast<int64_t>(batch.length)) throw std::runtime_error("cutmix: the batch");
  data::cutmix(static_cast<char*>(batch.data), rows, size, batch.elementBytes(), static_cast<int>(number(info, 2)), static_cast<int>(number(info, 3)), numbers(Array(info[4]), 4));
  return info.Env().Undefined();
}

}  // namespace anneal
