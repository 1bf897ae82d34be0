// Device memory of the bench and the self-test, which alone allocate it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace larder {

// Owns device memory; empty when there was none to have. Not thread-safe.
class DeviceBytes {
 public:
  explicit DeviceBytes(size_t bytes) : bytes_(bytes) {
    if (cudaMalloc(&memory_, bytes == 0 ? 1 : bytes) != cudaSuccess) memory_ = nullptr;
  }
  template <typename T>
  explicit DeviceBytes(std::span<const T> values) : DeviceBytes(values.size_bytes()) {
    if (memory_ != nullptr) {
      cudaMemcpy(memory_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice);
    }
  }
  template <typename T>
  explicit DeviceBytes(const std::vector<T>& values)
      : DeviceBytes(std::span<const T>(values.data(), values.size())) {}
  ~DeviceBytes() { cudaFree(memory_); }
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  DeviceBytes(DeviceBytes&& other) noexcept : memory_(other.memory_), bytes_(other.bytes_) {
    other.memory_ = nullptr;
  }
  DeviceBytes& operator=(DeviceBytes&&) = delete;

  bool ok() const { return memory_ != nullptr; }
  template <typename T = uint8_t>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  std::span<const uint8_t> span() const { return {as<uint8_t>(), bytes_}; }

  // Waits for all work, then copies back.
  template <typename T>
  cudaError_t Read(std::vector<T>& values) const {
    const cudaError_t error = cudaDeviceSynchronize();
    if (error != cudaSuccess) return error;
    return cudaMemcpy(values.data(), memory_, values.size() * sizeof(T), cudaMemcpyDeviceToHost);
  }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace larder
