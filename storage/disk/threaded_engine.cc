// The engine for kernels and sandboxes without io_uring.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "storage/disk/io_engine.h"

namespace larder {
namespace {

constexpr uint32_t kThreadsMax = 256;
constexpr uint32_t kDepthMax = 4096;

IoCompletion Perform(int file, const IoOperation& operation) {
  ssize_t moved = 0;
  switch (operation.kind) {
    case IoOperation::Kind::kRead:
      moved = pread(file, operation.memory.data(), operation.memory.size(),
                    static_cast<off_t>(operation.offset));
      break;
    case IoOperation::Kind::kWrite:
      moved = pwrite(file, operation.memory.data(), operation.memory.size(),
                     static_cast<off_t>(operation.offset));
      break;
    case IoOperation::Kind::kSync:
      moved = fdatasync(file);
      break;
  }
  if (moved < 0) return {operation.token, errno, 0};
  return {operation.token, 0, static_cast<uint64_t>(moved)};
}

class ThreadedEngine final : public IoEngine {
 public:
  ThreadedEngine(int file, uint32_t depth, uint32_t threads) : file_(file), depth_(depth) {
    for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }

  ~ThreadedEngine() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  size_t Submit(std::span<const IoOperation> operations) override {
    size_t taken = 0;
    {
      std::lock_guard lock(mutex_);
      taken = std::min(operations.size(), depth_ - in_flight_);
      waiting_.insert(waiting_.end(), operations.begin(), operations.begin() + taken);
      in_flight_ += taken;
    }
    for (size_t i = 0; i < taken; ++i) work_.notify_one();
    return taken;
  }

  absl::Status Wait(absl::Duration timeout, std::vector<IoCompletion>* completions) override {
    std::unique_lock lock(mutex_);
    something_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                        [this] { return woken_ || !done_.empty(); });
    woken_ = false;
    completions->insert(completions->end(), done_.begin(), done_.end());
    in_flight_ -= done_.size();
    done_.clear();
    return absl::OkStatus();
  }

  void Wake() override {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    something_.notify_one();
  }

  size_t in_flight() const override {
    std::lock_guard lock(mutex_);
    return in_flight_;
  }
  size_t depth() const override { return depth_; }
  absl::string_view name() const override { return "threads"; }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      // What was accepted is performed even when the engine ends.
      if (waiting_.empty()) return;
      const IoOperation operation = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const IoCompletion completion = Perform(file_, operation);
      lock.lock();
      done_.push_back(completion);
      something_.notify_one();
    }
  }

  const int file_;
  const size_t depth_;
  mutable std::mutex mutex_;
  std::condition_variable work_, something_;
  // Guarded by mutex_; waiting_, done_ and what is being performed are at most depth_ together.
  std::deque<IoOperation> waiting_;
  std::vector<IoCompletion> done_;
  size_t in_flight_ = 0;
  bool woken_ = false;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<IoEngine>> MakeThreadedEngine(int file,
                                                             const IoEngineOptions& options,
                                                             uint32_t threads) {
  if (options.depth == 0 || options.depth > kDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("depth ", options.depth, ", possible are 1 to ", kDepthMax));
  }
  if (threads == 0 || threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(threads, " threads, possible are 1 to ", kThreadsMax));
  }
  return std::make_unique<ThreadedEngine>(file, options.depth, threads);
}

}  // namespace larder
