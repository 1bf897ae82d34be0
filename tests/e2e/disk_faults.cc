// Preloaded into a daemon (LD_PRELOAD), lets the disk of a device fail or fall silent while a test
// wants it to: what is said in DEVICE.fault happens to reads and writes of DEVICE/segments, "fail"
// or "wait". Only for daemons with disk.engine=threads, which call pread and pwrite.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

constexpr char kSegments[] = "/segments";
constexpr size_t kPathMax = 4096;

// What is to happen to the file now: 'f', 'w' or, mostly, 0.
char FaultOf(int file) {
  char link[64], path[kPathMax];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t bytes = readlink(link, path, sizeof path - sizeof ".fault");
  const ssize_t name_bytes = sizeof kSegments - 1;
  if (bytes < name_bytes) return 0;
  if (std::memcmp(path + bytes - name_bytes, kSegments, name_bytes) != 0) return 0;
  std::strcpy(path + bytes - name_bytes, ".fault");
  const int fault = open(path, O_RDONLY | O_CLOEXEC);
  if (fault < 0) return 0;
  char what = 0;
  if (read(fault, &what, 1) != 1) what = 0;
  close(fault);
  return what;
}

// False when the call has to fail. Does not return while the disk is silent.
bool MayGoOn(int file) {
  constexpr timespec kPause = {0, 2'000'000};
  for (;;) {
    const char fault = FaultOf(file);
    if (fault != 'w') return fault != 'f';
    nanosleep(&kPause, nullptr);
  }
}

template <typename Function>
Function RealOf(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" ssize_t pread(int file, void* data, size_t bytes, off_t offset) {
  static const auto real = RealOf<decltype(&pread)>("pread");
  if (MayGoOn(file)) return real(file, data, bytes, offset);
  errno = EIO;
  return -1;
}

extern "C" ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  static const auto real = RealOf<decltype(&pwrite)>("pwrite");
  if (MayGoOn(file)) return real(file, data, bytes, offset);
  errno = EIO;
  return -1;
}
