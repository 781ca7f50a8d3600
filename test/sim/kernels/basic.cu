// Everyday kernels that must run without an alarm and give the right numbers.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

extern "C" __global__ void scaleAdd(float* y, const float* __restrict__ x, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}

extern "C" __global__ void scaleAdd4(float4* y, const float4* __restrict__ x, float a, int n4) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n4; i += gridDim.x * blockDim.x) {
    float4 v = x[i], w = y[i];
    y[i] = make_float4(a * v.x + w.x, a * v.y + w.y, a * v.z + w.z, a * v.w + w.w);
  }
}

// One block a row: shuffles, then one number a warp through shared memory.
extern "C" __global__ void rowSum(float* out, const float* in, int columns) {
  __shared__ float part[32];
  float sum = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += in[size_t(blockIdx.x) * columns + c];
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.f;
    for (int d = 16; d; d >>= 1) sum += __shfl_down_sync(~0u, sum, d);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
}

extern "C" __global__ void transpose(float* out, const float* in, int rows, int columns) {
  __shared__ float tile[32][33];
  int c = blockIdx.x * 32 + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    int r = blockIdx.y * 32 + k;
    if (r < rows && c < columns) tile[k][threadIdx.x] = in[size_t(r) * columns + c];
  }
  __syncthreads();
  int r = blockIdx.y * 32 + threadIdx.x;
  for (int k = threadIdx.y; k < 32; k += blockDim.y) {
    int column = blockIdx.x * 32 + k;
    if (r < rows && column < columns) out[size_t(column) * rows + r] = tile[threadIdx.x][k];
  }
}

extern "C" __global__ void histogram(unsigned* bins, const unsigned char* data, int n) {
  __shared__ unsigned local[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[data[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], local[i]);
}

// Loops of different length, a branch inside.
extern "C" __global__ void collatz(int* steps, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  unsigned v = i + 1;
  int count = 0;
  while (v != 1) {
    if (v & 1) v = 3 * v + 1;
    else v >>= 1;
    ++count;
  }
  steps[i] = count;
}

__constant__ int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__device__ int launches = 41;
__device__ __noinline__ float polynomial(float x, const float* c, int n) {
  float scratch[8];
  for (int i = 0; i < n; ++i) scratch[i] = c[i] * (i + 1);
  float r = 0;
  for (int i = n - 1; i >= 0; --i) r = r * x + scratch[i];
  return r;
}
extern "C" __global__ void calls(float* out, const float* c, int n) {
  int i = threadIdx.x;
  float v;
  if (i % 3 == 0) v = polynomial(0.25f * i, c, 1 + i % 8);
  else v = -1;
  switch (i % 8) {
    case 0: v += table[0]; break;
    case 1: v -= table[(i + 1) % 8]; break;
    case 2: v *= 3; break;
    case 3: v = sinf(v * 1e6f); break;
    case 4: v = v * v + 1; break;
    case 5: v = fabsf(v) + table[i & 7]; break;
    case 6: v = 7; break;
    default: v = logf(fabsf(v) + 2);
  }
  out[i] = v + n;
  if (i == 0) launches += 1;
}

extern "C" __global__ void halves(__half2* h, __nv_bfloat162* b, __half* one, float* wide) {
  int i = threadIdx.x;
  __half2 x = h[i];
  h[i] = __hfma2(x, x, __hmul2(x, __float2half2_rn(0.5f)));
  __nv_bfloat162 y = b[i];
  b[i] = __hadd2(y, __hmul2(y, y));
  one[i] = __float2half(wide[i]);
  wide[i] = __half2float(__hadd(one[i], __float2half(1.0f))) + __bfloat162float(__float2bfloat16(wide[i]));
}

extern "C" __global__ void inlineAssembly(uint32_t* out) {
  uint32_t i = threadIdx.x, r, q;
  asm("{\n\t.reg .b32 t;\n\t.reg .pred p;\n\tadd.u32 t, %1, 7;\n\tsetp.gt.u32 p, t, 20;\n\t@p mov.b32 %0, t;\n\t@!p mov.b32 %0, 1;\n\t}" : "=r"(r) : "r"(i));
  asm("{\n\t.reg .b32 t;\n\tmul.lo.u32 t, %1, 3;\n\txor.b32 %0, t, 5;\n\t}" : "=r"(q) : "r"(i));
  out[i] = r * 1000 + q;
}

extern "C" __global__ void votes(uint32_t* out, int n) {
  int i = threadIdx.x;
  uint32_t ballot = __ballot_sync(~0u, i % 3 == 0);
  int any = __any_sync(~0u, i == n), all = __all_sync(~0u, i < 32);
  uint32_t match = __match_any_sync(~0u, i % 5), sum = __reduce_add_sync(~0u, unsigned(i));
  uint32_t branch = 0;
  if (i & 1) branch = __activemask();
  int count = __syncthreads_count(i > 4);
  out[i] = ballot ^ (any << 1) ^ (all << 2) ^ match ^ sum ^ branch ^ count;
}

extern "C" __global__ void mathFunctions(float* out, const float* in, int n) {
  int i = threadIdx.x;
  float x = in[i];
  out[i] = expf(x);
  out[n + i] = tanhf(x);
  out[2 * n + i] = erff(x);
  out[3 * n + i] = logf(fabsf(x) + 0.1f);
  out[4 * n + i] = x / 3.7f;
  out[5 * n + i] = sqrtf(fabsf(x));
  out[6 * n + i] = rsqrtf(fabsf(x) + 1);
  out[7 * n + i] = __expf(x);
  out[8 * n + i] = cosf(x);
  out[9 * n + i] = powf(fabsf(x) + 0.5f, 1.7f);
  out[10 * n + i] = float(int(x)) + floorf(x) * 10 + rintf(x) * 100;
  out[11 * n + i] = float(double(x) * 1.1) + float((long long)(x * 1e6f) % 1000);
}

extern "C" __global__ void integers(unsigned long long* out, const int* in) {
  int i = threadIdx.x, a = in[2 * i], b = in[2 * i + 1];
  unsigned ua = a, ub = b;
  unsigned long long r = 0;
  auto put = [&](unsigned long long v) { r = r * 0x9E3779B97F4A7C15ull + v; };
  put(ua / (ub | 1)); put(a % (b | 1)); put(__mulhi(a, b)); put(__umulhi(ua, ub)); put((long long)a * b);
  put(__popc(a)); put(__clz(a)); put(__ffs(a)); put(__brev(a)); put(__byte_perm(a, b, 0x5173)); put(__funnelshift_l(a, b, b));
  put(a << (b & 31)); put(a >> (b & 31)); put(ua >> (b & 31)); put(min(a, b)); put(max(ua, ub)); put(abs(a)); put((short)a * (short)b);
  put((signed char)a + (unsigned char)b); put(__umul64hi((unsigned long long)ua << 20 | ub, r)); put(__dp4a(a, b, 17)); put(a > b); put(__sad(a, b, 3u));
  out[i] = r;
}

// Fields, packed and unpacked: bfe, bfi at their edges; min and max of NaN and zeros; saturating conversions.
extern "C" __global__ void edges(uint32_t* out, int n) {
  uint32_t i = threadIdx.x, r, word = 0x89ABCDEFu * (i + 1), p = i % 40, l = (i * 7) % 40;
  asm("bfe.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(word), "r"(p), "r"(l));
  out[i] = r;
  asm("bfe.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(word), "r"(p), "r"(l));
  out[n + i] = r;
  asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(r) : "r"(i * 0x01020304u), "r"(word), "r"(p), "r"(l));
  out[2 * n + i] = r;
  float specials[8] = {0.f, -0.f, 1e-40f, 3e9f, -3e9f, __int_as_float(0x7FC00000), __int_as_float(0x7F800000), -2.5f};
  float a = specials[i & 7], b = specials[(i >> 3) & 7];
  out[3 * n + i] = __float_as_uint(fminf(a, b));
  out[4 * n + i] = uint32_t(__float2int_rz(a)) ^ __float2uint_rn(b);
  out[5 * n + i] = __float_as_uint(__saturatef(a)) ^ uint32_t(a < b) ^ uint32_t(!(a >= b)) << 1 ^ uint32_t(a != b) << 2;
  out[6 * n + i] = __half_as_ushort(__float2half(a)) | uint32_t(__bfloat16_as_ushort(__float2bfloat16(b))) << 16;
}
